"""Platform configuration registers, SHA-256 bank: select, read, extend, quote.

Source: TPM 2.0 Library, Part 2, sections 10.6 (selections) and 10.12 (TPMS_ATTEST); Part 3,
TPM2_PCR_Read, TPM2_PCR_Extend, TPM2_Quote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from fedenclave.enclave.tpm.connection import PASSWORD, Command, Connection
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.enclave.tpm.templates import NO_ALGORITHM, SHA256
from fedenclave.enclave.tpm.wire import Fields, sized, u8, u16, u32

DIGEST_SIZE = 32
ZERO = bytes(DIGEST_SIZE)

_BITMAP_SIZE = 3
"""24 registers: what every TPM of a PC has."""

_BITMAP_BITS = 8 * _BITMAP_SIZE
_ATTEMPTS = 5
_NO_BANK = (
    "enable the SHA-256 bank of the tpm, in the machine's firmware or with `tpm2_pcrallocate`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What the TPM signed (TPMS_ATTEST), its signature (TPMT_SIGNATURE), and the PCRs' values."""

    attest: bytes
    signature: bytes
    values: bytes


def selection(pcrs: Sequence[int]) -> bytes:
    """Return TPML_PCR_SELECTION of `pcrs` in the SHA-256 bank, or an empty one."""
    if not pcrs:
        return u32(0)
    bits = sum(1 << pcr for pcr in pcrs)
    return u32(1) + u16(SHA256) + u8(_BITMAP_SIZE) + bits.to_bytes(_BITMAP_SIZE, "little")


def extended(value: bytes, digest: bytes) -> bytes:
    """Return what a register holds after `digest` is extended into `value`."""
    return hashlib.sha256(value + digest).digest()


def read(tpm: Connection, pcrs: Sequence[int]) -> bytes:
    """Return the values of `pcrs`, ascending, 32 bytes each, concatenated.

    They are of one moment only if a quote over them says so.

    Raises:
        TpmError: the TPM has no such bank.
    """
    wanted, values = sorted(pcrs), b""
    while wanted:
        fields = tpm.run(Command.PCR_READ, parameters=selection(wanted))
        fields.u32()  # the update counter
        got = _selected(fields)
        # A TPM returns as many as it likes, at most eight, lowest first.
        if not got or got != wanted[: len(got)] or fields.u32() != len(got):
            raise TpmError("the tpm does not return the registers it was asked for", hint=_NO_BANK)
        for _ in got:
            fields.want(u16(DIGEST_SIZE), "digest size")
            values += fields.take(DIGEST_SIZE)
        fields.finish()
        wanted = wanted[len(got) :]
    return values


def _selected(fields: Fields) -> list[int]:
    """Take a selection in the SHA-256 bank and return its registers, ascending."""
    fields.want(u32(1) + u16(SHA256) + u8(_BITMAP_SIZE), "selection")
    bits = int.from_bytes(fields.take(_BITMAP_SIZE), "little")
    return [pcr for pcr in range(_BITMAP_BITS) if bits >> pcr & 1]


def extend(tpm: Connection, pcr: int, digest: bytes) -> None:
    """Extend a 32-byte `digest` into one register.

    Raises:
        TpmError: the TPM refuses.
    """
    tpm.run(
        Command.PCR_EXTEND,
        handles=[pcr],
        sessions=[PASSWORD],
        parameters=u32(1) + u16(SHA256) + digest,
    ).finish()


def quote(tpm: Connection, key: int, qualifying: bytes, pcrs: Sequence[int]) -> Quote:
    """Return a quote by the key with handle `key`, and exactly the values that it is over.

    Raises:
        TpmError: the TPM refuses, or its registers change all the time.
    """
    parameters = sized(qualifying) + u16(NO_ALGORITHM) + selection(pcrs)
    for _ in range(_ATTEMPTS):
        values = read(tpm, pcrs)
        fields = tpm.run(Command.QUOTE, handles=[key], sessions=[PASSWORD], parameters=parameters)
        attest, signature = fields.sized(), fields.rest()
        # The attested structure ends with the digest over the registers. If it is another, one of
        # them moved between reading and quoting.
        if attest.endswith(sized(hashlib.sha256(values).digest())):
            return Quote(attest=attest, signature=signature, values=values)
    raise TpmError("the tpm's registers change between reading and quoting, again and again")
