"""Keep a key outside the enclave so that only this machine, running this code, gets it back.

The key is sealed under the TPM's storage key, to the values that the quoted registers have at that
moment: firmware, operating system and enclave. After one more extend, or a boot into anything
else, the TPM refuses. So it does after an update of any of them: what is sealed must then be
brought over by whoever may. Both ways, the enclave names its measurement and PCR 11 must hold it:
nothing is sealed to registers that have moved, and nothing is taken from other code.

What is unsealed was also sealed by this code. Anybody who can reach a TPM can seal a key of their
own choice to foreseeable register values; the TPM's own record of the registers at sealing, which
it confirms, tells such a key apart.

Not here: protection against an older sealed key of this same enclave. anchor.py is for that.

Source: TPM 2.0 Library, Part 2, section 15.1 (TPMS_CREATION_DATA).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import ClassVar

from fedenclave.enclave.tpm import enclave_pcr, objects, pcrs, policy
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
    """A sealed key as it is stored outside; see `objects.Created`.

    It comes from the host. A TPM gives some 500 bytes, and takes a command of this many.
    """

    MAX_SIZE: ClassVar[int] = 2 << 10

    private: bytes
    public: bytes
    creation: bytes
    ticket: bytes


def seal(device: str, key: bytes, measurement: bytes) -> bytes:
    """Return the encoded `SealedKey` of a 32-byte key, for the code with this measurement.

    Raises:
        TpmError: PCR 11 does not hold the measurement, the registers move, or the TPM refuses.
        ValueError: the key has another length.
    """
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key of {len(key)} bytes, want {KEY_SIZE}")
    with connected(device) as tpm:
        values = _registers(tpm, measurement)
        template = sealed_data(policy.pcr_policy(QUOTED, values))
        created = objects.create(tpm, _storage_key(tpm), template, key, QUOTED)
        _check_story(created.creation, values)
        return SealedKey(**asdict(created)).to_bytes()


def unseal(device: str, sealed_key: bytes, measurement: bytes) -> bytes:
    """Return the key that the code with this measurement has sealed.

    Raises:
        MalformedMessage: `sealed_key` does not decode, or is longer than any.
        TpmError: PCR 11 does not hold the measurement; the registers are not those at sealing; it
            was sealed by another TPM or other code; or the TPM refuses.
    """
    stored = SealedKey.from_bytes(sealed_key)
    created = objects.Created(**asdict(stored))
    with connected(device) as tpm:
        values = _registers(tpm, measurement)
        handle = objects.load(tpm, _storage_key(tpm), created)
        objects.certify_creation(tpm, handle, created)
        _check_story(created.creation, values)
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


def _registers(tpm: Connection, measurement: bytes) -> bytes:
    """Return the values of `QUOTED`, among which is this measurement."""
    values = pcrs.read(tpm, QUOTED)
    enclave_pcr.check(values, measurement)
    return values


def _check_story(creation: bytes, values: bytes) -> None:
    """Refuse a key that was sealed while the registers had other values than these."""
    digest = hashlib.sha256(values).digest()
    # Creation data begins with the selection and the digest over its registers.
    if not creation.startswith(pcrs.selection(QUOTED) + sized(digest)):
        raise _other_state()


def _other_state() -> TpmError:
    return TpmError("the key was sealed under other register values", hint=_OTHER_STATE)
