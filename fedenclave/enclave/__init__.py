"""TRUSTED: the only code that ever sees an update.

Runs as its own process (`python -m fedenclave.enclave`), speaks frames over one socket, and loads
nothing but the standard library, numpy, cryptography, cbor2 and `fedenclave.protocol`.
"""
