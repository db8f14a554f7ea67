"""The log as a file: every statement that the enclave signed, in order, to be kept and mirrored.

Only the frames are read here; what is in them is for whoever verifies the log (fedenclave.audit).

Rules:
  * The file only grows: the longer of two files of one log begins with the shorter.
  * It is read as a stream, one entry at a time.
  * A last entry that is cut, as a crash in the middle of a write leaves it, is told apart from
    damage. Neither is passed over: everything before it has been handed out, then it is an error.

SPEC.md, section 7.1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.signing import SIGNATURE_SIZE, Signed

MAGIC = b"FEL1"
MAX_ENTRY = Signed.MAX_SIZE

_LENGTH = struct.Struct(">I")
_TYPE = b"\xa3\x64type"
_PAYLOAD = b"\x67payload"
_SIGNATURE_HEAD = b"\x69signature\x58\x40"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """One entry: its number from 0, where its frame begins, and the unverified statement."""

    index: int
    offset: int
    unverified: bytes


class LogDamaged(MalformedMessage):
    """The file is no log from `offset` on; the `entries` before it have been read."""

    def __init__(self, message: str, *, entries: int, offset: int, hint: str = "") -> None:
        """Keep how far the file could be read."""
        super().__init__(message, hint=hint)
        self.entries, self.offset = entries, offset


class LogTorn(LogDamaged):
    """The last entry is cut, and nothing else is wrong: cut the file at `offset`, and go on."""


def frame(signed: bytes) -> bytes:
    """Return the bytes that add one signed statement to a log file.

    Raises:
        ValueError: it is empty, or longer than a `Signed` may be (a caller's bug).
    """
    if not 0 < len(signed) <= MAX_ENTRY:
        raise ValueError(f"entry has {len(signed)} bytes, want 1 to {MAX_ENTRY}")
    return _LENGTH.pack(len(signed)) + signed


def unframed(framed: bytes) -> bytes:
    """Return the signed statement that `frame` has made an entry of."""
    return framed[_LENGTH.size :]


def read_log(stream: BinaryIO) -> Iterator[LogEntry]:
    """Yield the entries of a log file, from its beginning.

    Raises:
        LogTorn: the file ends within an entry, after all that is before it was yielded.
        LogDamaged: it is no log file, or an entry's frame cannot be one.
    """
    magic = _read(stream, len(MAGIC))
    if magic != MAGIC:
        if MAGIC.startswith(magic):
            raise _torn(0, 0)
        raise LogDamaged(
            f"file begins with {magic.hex()}, want {MAGIC.hex()}",
            entries=0,
            offset=0,
            hint="it is not a log file, or its beginning is damaged",
        )
    index, offset = 0, len(MAGIC)
    while head := _read(stream, _LENGTH.size):
        if len(head) < _LENGTH.size:
            raise _torn(index, offset)
        (length,) = _LENGTH.unpack(head)
        if not 0 < length <= MAX_ENTRY:
            raise _damaged(f"has {length} bytes, want 1 to {MAX_ENTRY}", index, offset)
        signed = _read(stream, length)
        if len(signed) < length:
            if not _may_begin(signed, length):
                raise _damaged(
                    f"should have {length} bytes, and is not the beginning of such a one",
                    index,
                    offset,
                )
            raise _torn(index, offset)
        yield LogEntry(index=index, offset=offset, unverified=signed)
        index, offset = index + 1, offset + len(head) + length


def _read(stream: BinaryIO, size: int) -> bytes:
    """Return the next `size` bytes; fewer only where the stream ends."""
    data = stream.read(size)
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data


def _may_begin(part: bytes, length: int) -> bool:
    """Return whether `part` may be the beginning of a `Signed` of `length` bytes.

    A damaged length in the middle of a file reaches beyond its end as a cut entry does. Whoever
    took it for one would cut off every entry behind it; but a `Signed` says itself how long it is.
    """
    if not part.startswith(_TYPE):
        return _TYPE.startswith(part)
    place = len(_TYPE)
    if place == len(part):
        return True
    # A short text's head is 0x60 and its length; no type has a name of 24 characters.
    if not 0x60 <= part[place] < 0x78:
        return False
    place += 1 + part[place] - 0x60
    if not part[place:].startswith(_PAYLOAD):
        return _PAYLOAD.startswith(part[place:])
    place += len(_PAYLOAD)
    if place == len(part):
        return True
    width = {0x58: 1, 0x59: 2, 0x5A: 4}.get(part[place], 0)
    place += 1 + width
    if place > len(part):
        return True
    payload = (
        int.from_bytes(part[place - width : place], "big") if width else part[place - 1] - 0x40
    )
    return place + payload + len(_SIGNATURE_HEAD) + SIGNATURE_SIZE == length


def _torn(entries: int, offset: int) -> LogTorn:
    return LogTorn(
        f"log ends within entry {entries}, at byte {offset}",
        entries=entries,
        offset=offset,
        hint="a write was interrupted, or a copy: the entries before it are whole",
    )


def _damaged(what: str, entries: int, offset: int) -> LogDamaged:
    return LogDamaged(
        f"entry {entries}, at byte {offset}, {what}",
        entries=entries,
        offset=offset,
        hint="the file is damaged: compare another copy of the log",
    )
