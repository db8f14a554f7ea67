"""Appraise NVIDIA GPUs (Hopper, Blackwell) and NVSwitches: an addition to a CPU's evidence.

A GPU attests itself, but holds no key of the enclave: its report says nothing about who asked. Only
beside the evidence of a CPU TEE, and with a nonce that is derived from that evidence's report
data, does it speak about the machine that the enclave runs on.
"""
