"""Read a sealed dataset: no byte is given out before the tag of its chunk is checked.

Rules:
  1. The head names the key; the provider unwraps it, or says why not.
  2. The head authenticates under what the data key gives.
  3. The index opens page by page, fits the head, and its digest is the head's.
  4. The body has the size that the index adds up to.
  5. Each chunk opens at its place, and nowhere else; with it what was asked for of it is returned.

What this does not see: a whole dataset put back from an older backup, head and all. Whoever knows
the digest that it should have asks for it: `require_digest`.

FORMAT.md, section 4.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from multiprocessing import context
from typing import Self

from cryptography.exceptions import InvalidTag

from fedenclave.datasets.errors import DatasetDamaged, DatasetMissing
from fedenclave.datasets.head import MAX_HEAD, Head, UnverifiedHead, read_head
from fedenclave.datasets.index import Index, Member, read_index
from fedenclave.datasets.layout import (
    BODY_MAGIC,
    CHUNK,
    HEAD,
    TAG_SIZE,
    DatasetKeys,
    body_name,
    chunk_count,
    chunk_nonce,
    index_name,
)
from fedenclave.datasets.member_file import MemberFile
from fedenclave.datasets.store import Store, check_prefix
from fedenclave.keys.provider import KeyProvider
from fedenclave.protocol.digests import Digest, equal, to_text


class SealedDataset:
    """An open dataset: its files by name, to be read as streams or at offsets.

    Threads may share it. So may forked workers; one that is started afresh is given the data key
    through the pipe that starts it. It cannot be pickled otherwise: the key would be in the pickle.
    """

    def __init__(self, store: Store, head: Head, data_key: bytes) -> None:
        """Open what `head`, verified, says is there. `open_dataset` is how to get one."""
        self._store, self.head, self._data_key = store, head, data_key
        self._keys = DatasetKeys.derive(data_key, head.dataset)
        index = store.reader(index_name(head.dataset))
        try:
            self._index: Index = read_index(index, head, self._keys, store.place)
        finally:
            index.close()
        self._body = store.reader(body_name(head.dataset))
        try:
            check_prefix(self._body, BODY_MAGIC, head, "body", store.place)
        except BaseException:
            self._body.close()
            raise

    @property
    def digest(self) -> Digest:
        """Return the digest of the contents, which can be published."""
        return self.head.digest

    @property
    def salt(self) -> bytes:
        """Return what salts the digest: to be kept as secret as the data."""
        return self._index.salt

    @property
    def members(self) -> dict[str, Member]:
        """Return the files by name, in the order of the names' bytes."""
        return self._index.members

    @property
    def keys(self) -> DatasetKeys:
        """Return the ciphers."""
        return self._keys

    @property
    def place(self) -> str:
        """Return where it lies, for messages."""
        return self._store.place

    def member(self, name: str) -> Member:
        """Return one file's facts.

        Raises:
            DatasetMissing: there is no file of that name.
        """
        if (found := self.members.get(name)) is None:
            raise DatasetMissing(
                f"dataset {self.head.name} at {self.place} has no file {name[:200]!r}",
                hint="fedenclave data open without a file's name lists them",
            )
        return found

    def open(self, name: str) -> io.BufferedReader:
        """Return one file as a stream that can seek; no plaintext is written anywhere.

        Raises:
            DatasetMissing: there is no file of that name.
        """
        return io.BufferedReader(MemberFile(self, self.member(name)), buffer_size=CHUNK)

    def read(self, name: str) -> bytearray:
        """Return one file's bytes.

        Raises:
            DatasetMissing: there is no file of that name.
            DatasetDamaged, StorageFailed: see `open_chunk`.
        """
        member = self.member(name)
        data = bytearray(member.size)
        MemberFile(self, member).fill(0, memoryview(data))
        return data

    def open_chunk(self, member: Member, chunk: int, into: memoryview, scratch: memoryview) -> None:
        """Decrypt one chunk.

        Args:
            member: the file.
            chunk: its chunk's number, from 0.
            into: takes the plaintext; as long as that is.
            scratch: takes the ciphertext; at least CHUNK + TAG_SIZE bytes.

        Raises:
            DatasetDamaged: what lies there is not this chunk. Nothing of it is in `into`.
            StorageFailed: it cannot be read.
        """
        sealed = scratch[: len(into) + TAG_SIZE]
        self._body.read_into(member.offset + chunk * (CHUNK + TAG_SIZE), sealed)
        count = chunk_count(member.size)
        nonce = chunk_nonce(member.number, chunk, last=chunk == count - 1)
        try:
            self._keys.body.decrypt_into(nonce, sealed, self.head.dataset, into)
        except InvalidTag as error:
            into[:] = bytes(len(into))
            raise DatasetDamaged(
                f"dataset {self.head.name} at {self.place}: file {member.name!r}, chunk {chunk} of "
                f"{count} (bytes {chunk * CHUNK} to {chunk * CHUNK + len(into)}): what lies there "
                "is not what was sealed there",
                hint="it was damaged, changed or moved: put the body back from a backup; "
                "fedenclave data verify names every such place",
            ) from error

    def close(self) -> None:
        """Let go of the storage and the keys."""
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[..., SealedDataset], tuple[Store, Head, bytes]]:
        # Raises unless a process is being started: then what is pickled goes to that process alone.
        context.assert_spawning(self)
        return SealedDataset, (self._store, self.head, self._data_key)


def open_dataset(store: Store, provider: KeyProvider, *, purpose: str = "read") -> SealedDataset:
    """Open the dataset in `store`.

    Args:
        store: where it lies.
        provider: has the key that its head names.
        purpose: what for, in the key provider's audit event.

    Raises:
        DatasetMissing: there is none, or a part of it is gone.
        DatasetDamaged: it is not what was sealed.
        KeysRefused: the provider does not unwrap its key.
        StorageFailed: it cannot be read.
    """
    head, data_key = unwrap(store, provider, purpose)
    return SealedDataset(store, head, data_key)


def require_digest(dataset: SealedDataset, wanted: Digest) -> None:
    """Refuse a dataset that is whole, and not the one that is meant: an older one, for instance.

    Raises:
        DatasetDamaged: its digest is another.
    """
    if not equal(dataset.digest, wanted):
        raise DatasetDamaged(
            f"dataset {dataset.head.name} at {dataset.place} has digest {to_text(dataset.digest)}, "
            f"want {to_text(wanted)}",
            hint="it is whole, and another: was an older one put back?",
        )


def unverified_head(store: Store) -> UnverifiedHead:
    """Return the head in `store`, as anybody may have written it.

    Raises:
        DatasetMissing, DatasetDamaged, StorageFailed: see `open_dataset`.
    """
    return read_head(store.read(HEAD, MAX_HEAD), store.place)


def unwrap(store: Store, provider: KeyProvider, purpose: str) -> tuple[Head, bytes]:
    """Return the head, verified, and the data key.

    Raises:
        DatasetMissing, DatasetDamaged, KeysRefused, StorageFailed: see `open_dataset`.
    """
    unverified = unverified_head(store)
    claimed = unverified.head
    subject = f"{purpose} dataset {claimed.name}"
    data_key = provider.unwrap(claimed.key, subject=subject, context=claimed.name)
    return unverified.verify(DatasetKeys.derive(data_key, claimed.dataset)), data_key
