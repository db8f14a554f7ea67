"""The attestation key: made from a fixed template every time, the same after every restart.

It is of the endorsement hierarchy, for two reasons: clearing the TPM does not change it, and in
what it signs the TPM's reset counter is plain, where other hierarchies' keys see it blurred
(Part 1, section 36.7).
"""

from __future__ import annotations

from fedenclave.enclave.tpm.connection import ENDORSEMENT, Connection
from fedenclave.enclave.tpm.objects import Key, create_primary
from fedenclave.enclave.tpm.templates import ATTESTATION_KEY


def create(tpm: Connection) -> Key:
    """Load the attestation key.

    Raises:
        TpmError: the endorsement hierarchy is disabled or wants a password, or there is no P-256.
    """
    return create_primary(tpm, ENDORSEMENT, ATTESTATION_KEY)
