"""Keep a key outside the enclave so that only this machine, running this code, gets it back.

The key is sealed under the TPM's storage key, to the values that the quoted registers have at that
moment: firmware, operating system and enclave. After one more extend, or a boot into anything
else, the TPM refuses. So it does after an update of any of them: what is sealed must then be
brought over by whoever may.

What is unsealed was also sealed by this code. Anybody who can reach a TPM can seal a key of their
own choice to foreseeable register values; the TPM's own record of the registers at sealing, which
it confirms, tells such a key apart.

Not here: protection against an older sealed key of this same enclave. counter.py is for that.

Source: TPM 2.0 Library, Part 2, section 15.1 (TPMS_CREATION_DATA).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass

from fedenclave.enclave.tpm import objects, pcrs, policy
from fedenclave.enclave.tpm.connection import OWNER, Connection, connected
from fedenclave.enclave.tpm.enclave_pcr import QUOTED
from fedenclave.enclave.tpm.errors import POLICY_FAIL, TpmError
from fedenclave.enclave.tpm.templates import STORAGE_KEY, sealed_data
from fedenclave.enclave.tpm.wire import sized
from fedenclave.protocol.records import Record

KEY_SIZE = 32
_OTHER_STATE = (
    "the machine was started otherwise, or something was measured since: start the machine"
)
_OTHER_STATE += " and the code that it was sealed by"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedKey(Record):
    """A sealed key as it is stored outside; see `objects.Created`."""

    private: bytes
    public: bytes
    creation: bytes
    ticket: bytes


def seal(device: str, key: bytes) -> bytes:
    """Return the encoded `SealedKey` of a 32-byte key.

    Raises:
        TpmError: the TPM refuses.
        ValueError: the key has another length.
    """
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key of {len(key)} bytes, want {KEY_SIZE}")
    with connected(device) as tpm:
        template = sealed_data(policy.pcr_policy(tpm, QUOTED))
        created = objects.create(tpm, _storage_key(tpm), template, key, QUOTED)
        return SealedKey(**asdict(created)).to_bytes()


def unseal(device: str, sealed_key: bytes) -> bytes:
    """Return the key.

    Raises:
        MalformedMessage: `sealed_key` does not decode.
        TpmError: the registers are not those at sealing; it was sealed by another TPM or other
            code; or the TPM refuses.
    """
    stored = SealedKey.from_bytes(sealed_key)
    created = objects.Created(**asdict(stored))
    with connected(device) as tpm:
        handle = objects.load(tpm, _storage_key(tpm), created)
        objects.certify_creation(tpm, handle, created)
        _check_story(tpm, created.creation)
        session = policy.pcr_session(tpm, QUOTED)
        try:
            key = objects.unseal(tpm, handle, session)
        except TpmError as error:
            if error.code != POLICY_FAIL:
                raise
            raise _other_state() from error
    if len(key) != KEY_SIZE:
        raise TpmError(f"the tpm unseals {len(key)} bytes, want {KEY_SIZE}")
    return key


def _storage_key(tpm: Connection) -> objects.Key:
    return objects.create_primary(tpm, OWNER, STORAGE_KEY)


def _check_story(tpm: Connection, creation: bytes) -> None:
    """Refuse a key that was sealed while the registers had other values than now."""
    digest = hashlib.sha256(pcrs.read(tpm, QUOTED)).digest()
    # Creation data begins with the selection and the digest over its registers.
    if not creation.startswith(pcrs.selection(QUOTED) + sized(digest)):
        raise _other_state()


def _other_state() -> TpmError:
    return TpmError("the key was sealed under other register values", hint=_OTHER_STATE)
