"""UNTRUSTED: starts the enclave, keeps ciphertext and released models, serves gRPC.

Nothing here can open an update: this package imports neither `fedenclave.enclave` nor what opens.
"""
