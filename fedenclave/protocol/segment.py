"""How the enclave's sealed state lies with the host: a segment, which grows by sealed transitions.

A segment is a file. The host writes what the enclave gives it, and understands nothing of it but
where one entry ends and the next begins.

    "FES1" ‖ u32 length ‖ SegmentHead ‖ u32 length ‖ sealed snapshot ‖ u32 length ‖ transition ‖ ...

SPEC.md, section 11.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record

MAGIC = b"FES1"
MAX_ENTRY = (64 << 20) + 1024
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHead(Record):
    """What stands in the clear: whose state this is, and the wrapped key that opens it."""

    MAX_SIZE: ClassVar[int] = 16 << 10

    version: int
    federation: str
    manifest: Digest
    sealer: str
    wrapped_key: bytes


def frame(entry: bytes) -> bytes:
    """Return an entry as it stands in a segment."""
    return _LENGTH.pack(len(entry)) + entry


def begins_segment(written: bytes) -> bool:
    """Return whether what the enclave gives begins a new segment; otherwise it goes on with one."""
    # A length is below 2**27: it never begins with these letters.
    return written.startswith(MAGIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry, and where it ends in the segment."""

    data: bytes
    end: int


def entries(segment: bytes) -> Iterator[Entry]:
    """Yield a segment's whole entries, the head first.

    What is left behind the last one is the beginning of an entry that was never written whole: the
    host died first, and nobody was told of it.

    Raises:
        MalformedMessage: it is no segment, or an entry is longer than any.
    """
    if not begins_segment(segment):
        raise MalformedMessage("a segment does not begin with FES1")
    at = len(MAGIC)
    while at + _LENGTH.size <= len(segment):
        (size,) = _LENGTH.unpack_from(segment, at)
        if size > MAX_ENTRY:
            raise MalformedMessage(f"a segment's entry has {size} bytes, want at most {MAX_ENTRY}")
        start, at = at + _LENGTH.size, at + _LENGTH.size + size
        if at > len(segment):
            return
        yield Entry(data=segment[start:at], end=at)
