"""Produce evidence that binds 64 bytes of report data: one small file per interface to hardware.

Nothing here judges evidence; that is `fedenclave.attestation`, which the enclave never loads.
"""
