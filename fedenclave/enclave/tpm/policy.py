"""Sessions that satisfy a policy: these PCR values, or the right to use an endorsement key.

Source: TPM 2.0 Library, Part 1, section 19.7 (enhanced authorisation); Part 3,
TPM2_StartAuthSession, TPM2_PolicyPCR, TPM2_PolicySecret.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from fedenclave.enclave.tpm.connection import ENDORSEMENT, NULL, PASSWORD, Command, Connection
from fedenclave.enclave.tpm.pcrs import ZERO, selection
from fedenclave.enclave.tpm.templates import NO_ALGORITHM, SHA256
from fedenclave.enclave.tpm.wire import sized, u8, u16, u32

_POLICY = 0x01
_NONCE_SIZE = 16


def pcr_session(tpm: Connection, pcrs: Sequence[int]) -> int:
    """Return a session that holds as long as `pcrs` keep the values they have now.

    Raises:
        TpmError: the TPM refuses.
    """
    session = _start(tpm)
    tpm.run(Command.POLICY_PCR, handles=[session], parameters=sized(b"") + selection(pcrs)).finish()
    return session


def pcr_policy(pcrs: Sequence[int], values: bytes) -> bytes:
    """Return the policy digest that `pcrs` satisfy only with these values, 32 bytes.

    As TPM2_PolicyPCR extends an empty policy. It is not asked of the TPM, whose registers may have
    moved since `values` were read.
    """
    command, digest = u32(Command.POLICY_PCR), hashlib.sha256(values).digest()
    return hashlib.sha256(ZERO + command + selection(pcrs) + digest).digest()


def endorsement_session(tpm: Connection) -> int:
    """Return a session that may use an endorsement key.

    Raises:
        TpmError: the endorsement hierarchy is disabled, or wants a password.
    """
    session = _start(tpm)
    fields = tpm.run(
        Command.POLICY_SECRET,
        handles=[ENDORSEMENT, session],
        sessions=[PASSWORD],
        # No nonce, no command, no reference, no expiry: for this session, whatever it does.
        parameters=sized(b"") + sized(b"") + sized(b"") + u32(0),
    )
    fields.sized()  # a ticket for later sessions; there are none
    fields.rest()
    return session


def _start(tpm: Connection) -> int:
    # Neither salted nor bound: nothing is kept secret by it, and its nonce guards nothing.
    session, fields = tpm.load(
        Command.START_AUTH_SESSION,
        handles=[NULL, NULL],
        parameters=sized(os.urandom(_NONCE_SIZE))
        + sized(b"")
        + u8(_POLICY)
        + u16(NO_ALGORITHM)
        + u16(SHA256),
    )
    fields.sized()  # the TPM's nonce
    fields.finish()
    return session
