"""The sealed index: salt, count, and each file's name, size and digest, a page at a time.

    "FSI1" ‖ dataset id ‖ u32 length ‖ page 0 ‖ u32 length ‖ page 1 ‖ ...

Page 0 is `Contents`; the others are `Page`. Each is sealed by itself, its number and whether it is
the last in the nonce.

Rules:
  * A length is looked at before anything is allocated for it.
  * Names come in ascending order of their bytes, each once, and none leads out of a folder.
  * The pages hold as many files as page 0 says, and their sizes add up to the body.

FORMAT.md, section 3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from cryptography.exceptions import InvalidTag

from fedenclave.datasets.digest import SALT_SIZE, ContentsDigest
from fedenclave.datasets.errors import DatasetDamaged
from fedenclave.datasets.head import Head
from fedenclave.datasets.layout import (
    INDEX_MAGIC,
    MAX_FILE_SIZE,
    MAX_FILES,
    PREFIX_SIZE,
    TAG_SIZE,
    DatasetKeys,
    chunk_nonce,
    sealed_size,
)
from fedenclave.datasets.names import name_problem
from fedenclave.datasets.store import RangeReader, check_prefix
from fedenclave.protocol.digests import Digest, equal
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record

MAX_PAGE = 1 << 20
_PAGE_FILES, _PAGE_NAMES = 4096, 256 << 10
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents(Record):
    """Page 0: what salts the digest, and how many files there are."""

    salt: bytes
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(Record):
    """One file."""

    name: str
    size: int
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Record):
    """Some files, in the order of their names."""

    MAX_SIZE: ClassVar[int] = MAX_PAGE

    files: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of a dataset, and where it lies.

    Attributes:
        name: its path, with slashes.
        number: from 1, in the order of names.
        size: bytes of plaintext.
        digest: of its contents.
        offset: of its first chunk in the body.
    """

    name: str
    number: int
    size: int
    digest: Digest
    offset: int


def write_index(salt: bytes, entries: Iterable[Entry], count: int, keys: DatasetKeys) -> bytes:
    """Return the index object of `count` entries, sorted by name."""
    plain = [Contents(salt=salt, files=count).to_bytes()]
    plain += [page.to_bytes() for page in _pages(entries)]
    out = bytearray(INDEX_MAGIC + keys.dataset)
    for number, page in enumerate(plain):
        nonce = chunk_nonce(0, number, last=number == len(plain) - 1)
        sealed = keys.index.encrypt(nonce, page, keys.dataset)
        out += _LENGTH.pack(len(sealed)) + sealed
    return bytes(out)


def _pages(entries: Iterable[Entry]) -> Iterator[Page]:
    page: list[Entry] = []
    names = 0
    for entry in entries:
        page.append(entry)
        names += len(entry.name.encode())
        if len(page) == _PAGE_FILES or names >= _PAGE_NAMES:
            yield Page(files=tuple(page))
            page, names = [], 0
    if page:
        yield Page(files=tuple(page))


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What a verified index says."""

    salt: bytes
    members: dict[str, Member]


def read_index(reader: RangeReader, head: Head, keys: DatasetKeys, where: str) -> Index:
    """Return the index of the dataset whose verified head is `head`.

    Raises:
        DatasetDamaged: it is another's, was changed or cut off, or fits neither head nor body.
    """
    check_prefix(reader, INDEX_MAGIC, head, "index", where)
    pages = _opened(reader, keys, where)
    members: dict[str, Member] = {}
    last, offset = b"", PREFIX_SIZE
    try:
        contents = Contents.from_bytes(next(pages))
        whole = ContentsDigest(_checked(contents).salt)
        for page in pages:
            for entry in Page.from_bytes(page).files:
                last = _next_name(entry, last)
                members[entry.name] = Member(
                    name=entry.name,
                    number=len(members) + 1,
                    size=entry.size,
                    digest=entry.digest,
                    offset=offset,
                )
                whole.add(entry.name, entry.size, entry.digest)
                offset += sealed_size(entry.size)
    except MalformedMessage as error:
        raise _unusable(where, head, error.message) from error
    if len(members) != contents.files:
        raise _unusable(where, head, f"{len(members)} files, want {contents.files}")
    if offset != head.body_size:
        raise _unusable(where, head, f"files of {offset} bytes, want {head.body_size}")
    if not equal(whole.digest(), head.digest):
        raise _unusable(where, head, "files whose digest is not the head's")
    return Index(salt=contents.salt, members=members)


def _unusable(where: str, head: Head, why: str) -> DatasetDamaged:
    return DatasetDamaged(
        f"dataset {head.name} at {where}: the index opens, and does not fit: {why}",
        hint="a program that had the key wrote it so: seal the data again",
    )


def _checked(contents: Contents) -> Contents:
    if len(contents.salt) != SALT_SIZE or contents.files > MAX_FILES:
        raise MalformedMessage(f"salt of {len(contents.salt)} bytes, {contents.files} files")
    return contents


def _next_name(entry: Entry, last: bytes) -> bytes:
    if problem := name_problem(entry.name):
        raise MalformedMessage(f"file name {entry.name[:200]!r}: {problem}")
    if entry.size > MAX_FILE_SIZE:
        raise MalformedMessage(f"file {entry.name[:200]!r} of {entry.size} bytes")
    if (encoded := entry.name.encode()) <= last:
        raise MalformedMessage(f"file name {entry.name[:200]!r} is out of order or twice there")
    return encoded


def _opened(reader: RangeReader, keys: DatasetKeys, where: str) -> Iterator[bytes]:
    """Yield the pages' plaintexts up to the last one, which must end the object."""
    at, number, length = PREFIX_SIZE, 0, bytearray(_LENGTH.size)
    last = False
    while not last:
        place = f"dataset {keys.dataset.hex()} at {where}: index page {number}"
        if reader.size - at < _LENGTH.size:
            raise DatasetDamaged(f"{place} is missing: the index was cut off after {at} bytes")
        reader.read_into(at, memoryview(length))
        (size,) = _LENGTH.unpack(length)
        at += _LENGTH.size
        if not TAG_SIZE <= size <= min(MAX_PAGE + TAG_SIZE, reader.size - at):
            raise DatasetDamaged(
                f"{place} has {size} bytes, want {TAG_SIZE} to {MAX_PAGE + TAG_SIZE} and at most "
                f"the {reader.size - at} that are left",
                hint="the index was cut off or changed: put it back from a backup",
            )
        page = bytearray(size)
        reader.read_into(at, memoryview(page))
        at += size
        last = at == reader.size
        try:
            plain = keys.index.decrypt(chunk_nonce(0, number, last=last), page, keys.dataset)
        except InvalidTag as error:
            raise DatasetDamaged(
                f"{place} is not what was sealed there{' as the last one' if last else ''}",
                hint="it was changed, cut off or moved: put the index back from a backup",
            ) from error
        yield plain
        number += 1
