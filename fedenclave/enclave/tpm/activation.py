"""Answer a credential challenge: show that attestation and endorsement key are in one TPM.

A verifier that trusts the endorsement key's certificate encrypts a secret so that this TPM gives it
out only if the key with a certain name is loaded beside it. Done once for a machine, when it is
enrolled; the answer has no use later.

Source: TPM 2.0 Library, Part 1, section 24 (credential protection); Part 3,
TPM2_ActivateCredential.
"""

from __future__ import annotations

from fedenclave.enclave.tpm import attestation_key, endorsement
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.objects import activate_credential
from fedenclave.enclave.tpm.policy import endorsement_session
from fedenclave.enclave.tpm.wire import Fields

_FILE_HEADER = bytes.fromhex("badcc0de00000001")
"""Magic and version of the files of the tpm2-tools, which challengers write too."""


def answer_challenge(device: str, challenge: bytes) -> bytes:
    """Return what the challenge hides.

    Args:
        device: path of the TPM.
        challenge: the file as `tpm2_makecredential` writes it: header, TPM2B_ID_OBJECT,
            TPM2B_ENCRYPTED_SECRET.

    Raises:
        TpmError: the challenge is none, or for another key or another TPM, or the TPM refuses.
    """
    fields = Fields(challenge, "the challenge")
    fields.want(_FILE_HEADER, "header")
    credential, secret = fields.sized(), fields.sized()
    fields.finish()
    with connected(device) as tpm:
        key = attestation_key.create(tpm)
        endorser = endorsement.create(tpm)
        session = endorsement_session(tpm)
        return activate_credential(tpm, key, endorser, session, credential, secret)
