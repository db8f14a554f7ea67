"""A counter that only grows, in the TPM's non-volatile memory.

Its identity is the index's name: a digest over index, attributes, policy and size. An index of the
same number that can be written otherwise has another name; removed and defined again with the
same, it goes on above the highest value that any counter of this TPM ever had.

Rules:
  * What stands at the index is this counter, or nothing here uses it.
  * Whoever controls the machine can increment it, which stops the service and opens nothing.

Source: TPM 2.0 Library, Part 1, section 37.2.4 (counters), Part 2, section 13.4 (TPMA_NV).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from fedenclave.enclave.tpm import nv
from fedenclave.enclave.tpm.connection import Connection
from fedenclave.enclave.tpm.errors import TpmError
from fedenclave.enclave.tpm.objects import Key
from fedenclave.enclave.tpm.templates import SHA256
from fedenclave.enclave.tpm.wire import u16

INDEX = 0x0180FED0
"""In the range that is left to a machine's owner (TCG registry of reserved handles)."""

_NEW = nv.unwritten(INDEX, nv.COUNTER, 8)
_IN_USE = replace(_NEW, attributes=_NEW.attributes | nv.WRITTEN)

NAME = u16(SHA256) + hashlib.sha256(nv.area(_IN_USE)).digest()
"""What the index is called in a certificate of it, whichever TPM it is in."""


def exists(tpm: Connection) -> bool:
    """Return whether something is defined at the index.

    Raises:
        TpmError: the TPM refuses.
    """
    return bool(nv.defined(tpm, INDEX, INDEX))


def establish(tpm: Connection) -> None:
    """Define the counter if there is none; it then has a value.

    Raises:
        TpmError: the index is something else, there is no room, or the owner has a password.
    """
    if not exists(tpm):
        nv.define(tpm, _NEW)
    if nv.read_public(tpm, INDEX).attributes == _NEW.attributes:
        # A counter has no value before it is incremented for the first time.
        nv.increment(tpm, INDEX)
    _check(tpm)


def increment(tpm: Connection) -> int:
    """Add 1 and return the new value.

    Raises:
        TpmError: there is no counter.
    """
    _check(tpm)
    nv.increment(tpm, INDEX)
    return read(tpm)


def read(tpm: Connection) -> int:
    """Return the value.

    Raises:
        TpmError: there is no counter.
    """
    _check(tpm)
    return int.from_bytes(nv.read(tpm, INDEX), "big")


def certify(tpm: Connection, key: Key, qualifying: bytes) -> tuple[bytes, bytes]:
    """Return the TPM's word on name and value (TPMS_ATTEST), and its signature by `key`.

    Raises:
        TpmError: there is no counter.
    """
    _check(tpm)
    return nv.certify(tpm, key.handle, _IN_USE, qualifying)


def _check(tpm: Connection) -> None:
    found = nv.read_public(tpm, INDEX)
    if found != replace(_IN_USE, name=NAME):
        raise TpmError(
            f"nv index {INDEX:#010x} is not the counter of this program",
            hint=f"if nothing needs it, remove it: `tpm2_nvundefine {INDEX:#010x}`",
        )
