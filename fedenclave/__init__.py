"""FedEnclave: federated learning with attested, encrypted aggregation.

This module imports nothing: the enclave loads it, and what the enclave loads is measured.
"""

__version__ = "0.1.0"
