"""Rules of a federation's own, one file each; none comes with the package.

What a file must define: `fedenclave/enclave/rules/own.py`. An example, and how to build an image
with it: `aggregator/own-rules/README.md`.
"""
