"""Non-volatile memory: what is defined, read it; define, increment, extend and certify an index.

Source: TPM 2.0 Library, Part 2, section 13 (TPMS_NV_PUBLIC, TPMA_NV); Part 3, section 31 and
TPM2_GetCapability.
"""

from __future__ import annotations

from dataclasses import dataclass

from fedenclave.enclave.tpm.connection import OWNER, PASSWORD, Command, Connection
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.enclave.tpm.templates import NO_ALGORITHM, SHA256
from fedenclave.enclave.tpm.wire import Fields, sized, u16, u32

AUTH_READ = 1 << 18
WRITTEN = 1 << 29
COUNTER, EXTEND = 1 << 4, 4 << 4

_OWNER_WRITE, _AUTH_WRITE, _OWNER_READ = 1 << 1, 1 << 2, 1 << 17

_CAP_HANDLES = 0x00000001
_MAX_HANDLES = 254
"""What fits into one answer (MAX_CAP_HANDLES)."""

_CHUNK = 512
"""Bytes a TPM of a PC reads at once, at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NvPublic:
    """An index's public area: TPMS_NV_PUBLIC, and its name, which is a digest of it."""

    index: int
    algorithm: int
    attributes: int
    policy: bytes
    size: int
    name: bytes


def unwritten(index: int, kind: int, size: int) -> NvPublic:
    """Return an index of our own, as it is defined: COUNTER or EXTEND, of `size` bytes.

    The owner and whoever knows its password, which is empty, read and write it.
    """
    return NvPublic(
        index=index,
        algorithm=SHA256,
        attributes=kind | _OWNER_WRITE | _AUTH_WRITE | _OWNER_READ | AUTH_READ,
        policy=b"",
        size=size,
        name=b"",
    )


def defined(tpm: Connection, first: int, last: int) -> list[int]:
    """Return the indices from `first` to `last` that exist, ascending.

    Raises:
        TpmError: the TPM refuses.
    """
    fields = tpm.run(
        Command.GET_CAPABILITY, parameters=u32(_CAP_HANDLES) + u32(first) + u32(_MAX_HANDLES)
    )
    fields.u8()  # whether there are more, beyond those that are of interest
    fields.want(u32(_CAP_HANDLES), "capability")
    found = [fields.u32() for _ in range(fields.u32())]
    fields.finish()
    return [index for index in found if first <= index <= last]


def read_public(tpm: Connection, index: int) -> NvPublic:
    """Return the public area of an index.

    Raises:
        TpmError: it is not defined.
    """
    fields = tpm.run(Command.NV_READ_PUBLIC, handles=[index])
    area = Fields(fields.sized(), f"nv index {index:#010x}")
    name = fields.sized()
    fields.finish()
    public = NvPublic(
        index=area.u32(),
        algorithm=area.u16(),
        attributes=area.u32(),
        policy=area.sized(),
        size=area.u16(),
        name=name,
    )
    area.finish()
    return public


def read(tpm: Connection, index: int) -> bytes:
    """Return everything that an index holds.

    Raises:
        TpmError: it is not defined, was never written, or wants a password.
    """
    public = read_public(tpm, index)
    # With its own empty password where that is allowed: a machine's owner may have set another.
    reader = index if public.attributes & AUTH_READ else OWNER
    data = b""
    while len(data) < public.size:
        size = min(_CHUNK, public.size - len(data))
        fields = tpm.run(
            Command.NV_READ,
            handles=[reader, index],
            sessions=[PASSWORD],
            parameters=u16(size) + u16(len(data)),
        )
        fields.want(u16(size), "size")
        data += fields.take(size)
        fields.finish()
    return data


def define(tpm: Connection, public: NvPublic) -> None:
    """Define an index in the owner's hierarchy, with an empty password.

    Raises:
        TpmError: it exists, there is no room, or the owner hierarchy wants a password.
    """
    tpm.run(
        Command.NV_DEFINE_SPACE,
        handles=[OWNER],
        sessions=[PASSWORD],
        parameters=sized(b"") + sized(area(public)),
    ).finish()


def area(public: NvPublic) -> bytes:
    """Return TPMS_NV_PUBLIC."""
    return (
        u32(public.index)
        + u16(public.algorithm)
        + u32(public.attributes)
        + sized(public.policy)
        + u16(public.size)
    )


def increment(tpm: Connection, index: int) -> None:
    """Add 1 to a counter.

    Raises:
        TpmError: it is none, or the owner hierarchy wants a password.
    """
    tpm.run(Command.NV_INCREMENT, handles=[OWNER, index], sessions=[PASSWORD]).finish()


def extend(tpm: Connection, index: int, data: bytes) -> None:
    """Extend `data` into an extend index.

    Raises:
        TpmError: it is none, or the owner hierarchy wants a password.
    """
    tpm.run(
        Command.NV_EXTEND, handles=[OWNER, index], sessions=[PASSWORD], parameters=sized(data)
    ).finish()


def certify(tpm: Connection, key: int, public: NvPublic, qualifying: bytes) -> tuple[bytes, bytes]:
    """Return TPMS_ATTEST over the whole index, and the signature of the key with handle `key`.

    Raises:
        TpmError: the index was never written, or the owner hierarchy wants a password.
    """
    fields = tpm.run(
        Command.NV_CERTIFY,
        handles=[key, OWNER, public.index],
        sessions=[PASSWORD, PASSWORD],
        parameters=sized(qualifying) + u16(NO_ALGORITHM) + u16(public.size) + u16(0),
    )
    attest, signature = fields.sized(), fields.rest()
    if not attest or not signature:
        raise TpmError("the tpm certifies nothing")
    return attest, signature
