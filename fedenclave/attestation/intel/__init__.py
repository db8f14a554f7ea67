"""Intel's quotes: SGX (DCAP quote version 3) and TDX (versions 4 and 5).

`sgx.py` and `tdx.py` are the two formats; everything else here is what they share. `verify.py` has
the list of what is verified, in order.
"""
