"""A register in the TPM's non-volatile memory that can only be extended: which state is the newest.

Its value is a digest over everything that was ever extended into it, as a PCR's, and outlives a
reboot. What the enclave extends it draws at random, and sends to the TPM alone, so nobody can bring
the register to an earlier value: not by removing the index either, which begins again at zero.
Whoever taps the TPM's wires could (attestation/tpm/README.md: out of scope, as for sealed keys).

Rules:
  * What stands at the index is this register, or nothing here uses it.
  * Whoever controls the machine can extend it, which stops the service and opens nothing.

Source: TPM 2.0 Library, Part 1, section 37.2.6 (extend indices), Part 3, TPM2_NV_Extend.
"""

from __future__ import annotations

import os
from dataclasses import replace

from fedenclave.enclave.tpm import nv
from fedenclave.enclave.tpm.connection import Connection
from fedenclave.enclave.tpm.errors import TpmError

INDEX = 0x0180FED1
"""Beside the counter's."""

_SIZE = 32
_NEW = nv.unwritten(INDEX, nv.EXTEND, _SIZE)


def establish(tpm: Connection) -> None:
    """Define the register if there is none; it then has a value that it never had before.

    Raises:
        TpmError: the index is something else, there is no room, or the owner has a password.
    """
    if not nv.defined(tpm, INDEX, INDEX):
        nv.define(tpm, _NEW)
    if nv.read_public(tpm, INDEX).attributes == _NEW.attributes:
        nv.extend(tpm, INDEX, os.urandom(_SIZE))
    _check(tpm)


def read(tpm: Connection) -> bytes:
    """Return the value, 32 bytes; empty where there is no register, or it was never extended.

    Raises:
        TpmError: the index is something else.
    """
    if not nv.defined(tpm, INDEX, INDEX):
        return b""
    if nv.read_public(tpm, INDEX).attributes == _NEW.attributes:
        return b""
    _check(tpm)
    return nv.read(tpm, INDEX)


def extend(tpm: Connection, mark: bytes) -> bytes:
    """Extend `mark`, 32 bytes, and return the new value: SHA-256 of the old one and `mark`.

    Raises:
        TpmError: there is no register.
    """
    _check(tpm)
    nv.extend(tpm, INDEX, mark)
    return nv.read(tpm, INDEX)


def _check(tpm: Connection) -> None:
    found = replace(nv.read_public(tpm, INDEX), name=b"")
    if found != replace(_NEW, attributes=_NEW.attributes | nv.WRITTEN):
        raise TpmError(
            f"nv index {INDEX:#010x} is not the register of this program",
            hint=f"if nothing needs it, remove it: `tpm2_nvundefine {INDEX:#010x}`",
        )
