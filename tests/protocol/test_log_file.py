"""The log as a file: what is whole comes back, what is cut is said to be, what is damaged also."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.log_file import (
    MAGIC,
    MAX_ENTRY,
    LogDamaged,
    LogEntry,
    LogTorn,
    frame,
    read_log,
)
from fedenclave.protocol.signing import Signed, sign
from fedenclave.protocol.statements import Abort, Checkpoint, Start

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BASICS = {"version": 1, "federation": "f", "manifest": Digest(bytes(32))}


def entry(number: int) -> bytes:
    checkpoint = Checkpoint(size=number, root=Digest(bytes(32)))
    return sign(Abort(**BASICS, round=number, checkpoint=checkpoint, time=0), KEY)


START = sign(
    Start(
        **BASICS,
        model=Digest(bytes(32)),
        schema=Digest(bytes(32)),
        measurement=Digest(bytes(32)),
        approved_by=("m",),
        time=0,
    ),
    KEY,
)
# A short payload, one whose length takes one byte, and one whose length takes four.
ENTRIES = [
    START,
    *(entry(number) for number in range(3)),
    Signed(type="abort", payload=b"", signature=bytes(64)).to_bytes(),
    Signed(type="peer-message", payload=bytes(70_000), signature=bytes(64)).to_bytes(),
]
FILE = MAGIC + b"".join(map(frame, ENTRIES))


def whole(data: bytes) -> list[bytes]:
    return [each.unverified for each in read_log(io.BytesIO(data))]


def until_error(data: bytes) -> tuple[list[LogEntry], LogDamaged]:
    found: list[LogEntry] = []
    with pytest.raises(LogDamaged) as caught:
        found.extend(read_log(io.BytesIO(data)))
    return found, caught.value


def test_a_file_gives_its_entries_with_their_numbers_and_places() -> None:
    found = list(read_log(io.BytesIO(FILE)))
    assert [each.unverified for each in found] == ENTRIES
    assert [each.index for each in found] == list(range(len(ENTRIES)))
    for each in found:
        assert FILE[each.offset :].startswith(frame(each.unverified))
    assert whole(MAGIC) == []


@given(st.lists(st.binary(min_size=1, max_size=50)))
def test_what_is_framed_comes_back_whatever_it_is(entries: list[bytes]) -> None:
    assert whole(MAGIC + b"".join(map(frame, entries))) == entries


def test_a_file_cut_anywhere_is_whole_or_torn_and_says_where() -> None:
    ends = [len(MAGIC)]
    for each in ENTRIES:
        ends.append(ends[-1] + len(frame(each)))
    # Of the long last entry the first bytes, and then here and there.
    for size in [*range(ends[-2] + 200), *range(ends[-2] + 200, ends[-1], 997)]:
        if size in ends:
            assert whole(FILE[:size]) == ENTRIES[: ends.index(size)]
            continue
        found: list[LogEntry] = []
        with pytest.raises(LogTorn) as caught:
            found.extend(read_log(io.BytesIO(FILE[:size])))
        before = [end for end in ends if end <= size]
        assert caught.value.offset == (before[-1] if before else 0)
        assert caught.value.entries == len(found) == max(0, len(before) - 1)
        # Cut there, it is whole.
        if before:
            assert whole(FILE[: caught.value.offset]) == ENTRIES[: len(found)]


@pytest.mark.parametrize("place", range(4))
def test_a_damaged_length_in_the_middle_does_not_pass_for_a_cut_entry(place: int) -> None:
    offset = len(MAGIC) + len(frame(ENTRIES[0]))
    for bit in range(8):
        changed = bytearray(FILE)
        changed[offset + place] ^= 1 << bit
        found: list[bytes] = []
        with pytest.raises(LogDamaged) as caught:
            for each in read_log(io.BytesIO(bytes(changed))):
                found.append(each.unverified)
                # A length that still fits gives an entry that does not decode.
                if each.index == 1 and each.unverified != ENTRIES[1]:
                    raise LogDamaged("entry is not the one", entries=1, offset=each.offset)
        assert not isinstance(caught.value, LogTorn)
        assert caught.value.offset == offset
        assert found[0] == ENTRIES[0]


@pytest.mark.parametrize("length", [0, MAX_ENTRY + 1, 0xFFFFFFFF])
def test_a_length_that_no_entry_has_is_damage(length: int) -> None:
    found, error = until_error(FILE + length.to_bytes(4, "big") + b"more")
    assert [each.unverified for each in found] == ENTRIES
    assert not isinstance(error, LogTorn)
    assert f"has {length} bytes" in error.message
    assert error.offset == len(FILE)


@pytest.mark.parametrize(
    "rest",
    [
        b"\xa4",
        b"\xa3\x64typo",
        b"\xa3\x64type\x78",
        b"\xa3\x64type\x45abort",
        b"\xa3\x64type\x65abort\x67payloaf",
        b"\xa3\x64type\x65abort\x67payload\x43abc",
        b"\xa3\x64type\x65abort\x67payload\x58\x40",
        b"\xa3\x64type\x65abort\x67payload\x61",
    ],
)
def test_what_cannot_be_the_beginning_of_an_entry_of_that_length_is_damage(rest: bytes) -> None:
    _, error = until_error(FILE + len(ENTRIES[1]).to_bytes(4, "big") + rest)
    assert not isinstance(error, LogTorn)
    assert error.offset == len(FILE)


@pytest.mark.parametrize("data", [b"FEM1", b"fel1" + FILE[4:], FILE[4:], b"\0"])
def test_another_file_is_no_log(data: bytes) -> None:
    found, error = until_error(data)
    assert not found
    assert not isinstance(error, LogTorn)
    assert "want 46454c31" in error.message


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_entries_or_one_error(data: bytes) -> None:
    for begin in (b"", MAGIC):
        try:
            found = whole(begin + data)
        except LogDamaged:
            continue
        assert begin + data == MAGIC + b"".join(map(frame, found))


@pytest.mark.parametrize("signed", [b"", bytes(MAX_ENTRY + 1)])
def test_what_no_reader_would_take_is_not_framed(signed: bytes) -> None:
    with pytest.raises(ValueError, match="want 1 to"):
        frame(signed)


class Slow(io.RawIOBase):
    """A stream that gives one byte at a time, and counts what it has given."""

    def __init__(self, data: bytes) -> None:
        self.rest: Iterator[int] = iter(data)
        self.given = 0

    def read(self, size: int = -1) -> bytes:
        byte = next(self.rest, None) if size else None
        self.given += byte is not None
        return b"" if byte is None else bytes([byte])


def test_it_is_read_as_a_stream_and_no_further_than_asked() -> None:
    slow = Slow(FILE)
    stream: BinaryIO = slow  # type: ignore[assignment]
    entries = read_log(stream)
    assert next(entries).unverified == ENTRIES[0]
    assert slow.given == len(MAGIC) + len(frame(ENTRIES[0]))
    assert [each.unverified for each in entries] == ENTRIES[1:]
