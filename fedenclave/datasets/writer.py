"""Seal a dataset: the chunks, then the index, and last the head, which makes it one.

Rules:
  * A data key is made here, seals one dataset, and is kept nowhere but wrapped.
  * The key provider is asked before anything is written.
  * The head is written last and as a whole. Killed before, the seal leaves ciphertext that no key
    opens any more; failing, it deletes what it has written, unless a head may name it.
  * Nothing that exists is written over.

FORMAT.md, sections 1 and 6.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass

from fedenclave.datasets.digest import SALT_SIZE, ContentsDigest, FileDigest
from fedenclave.datasets.errors import DatasetExists
from fedenclave.datasets.head import Head
from fedenclave.datasets.head_change import put_head
from fedenclave.datasets.index import Entry, write_index
from fedenclave.datasets.layout import (
    BODY_MAGIC,
    HEAD,
    ID_SIZE,
    VERSION,
    DatasetKeys,
    body_name,
    index_name,
)
from fedenclave.datasets.pipeline import Progress, default_threads, sealed_in_order
from fedenclave.datasets.source import Source
from fedenclave.datasets.store import Sink, Store
from fedenclave.keys.provider import DATA_KEY_SIZE, KeyProvider, WrappedKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a seal goes about it.

    Attributes:
        clock: gives Unix seconds.
        progress: is told the bytes of plaintext that are done.
        threads: that seal; as many as there are cores, four at most, where it is 0.
        salt: of the digest; a random one where it is empty. Only re-encryption keeps one.
    """

    clock: Callable[[], float]
    progress: Progress = lambda done: None
    threads: int = 0
    salt: bytes = b""


def seal(source: Source, store: Store, provider: KeyProvider, key: str, options: Options) -> Head:
    """Seal `source` into `store` under a fresh data key, wrapped by the newest version of `key`.

    Raises:
        DatasetExists: there is a sealed dataset.
        SourceRefused: the source cannot be read, or changes.
        StorageFailed: it cannot be written.
        HeadUnsettled: see `put_head`.
        KeysRefused: the provider does not wrap.
    """
    if HEAD in store.names():
        raise DatasetExists(
            f"{store.place} holds a sealed dataset already", hint="choose another name"
        )
    with ExitStack() as undo:
        head, keys = write_sealing(source, store, provider, key, options, undo)
        put_head(store, head, keys, None, undo)
    return head


def write_sealing(
    source: Source,
    store: Store,
    provider: KeyProvider,
    key: str,
    options: Options,
    undo: ExitStack,
) -> tuple[Head, DatasetKeys]:
    """Write body and index, and return the head that makes a dataset of them.

    Args:
        source: the plaintext.
        store: where they go, under names that no other sealing has.
        provider: wraps the data key.
        key: the name of the key it is wrapped with.
        options: see `Options`.
        undo: is given what deletes them again.

    Raises:
        SourceRefused, StorageFailed, KeysRefused: see `seal`.
    """
    dataset = os.urandom(ID_SIZE)
    keys, wrapped = _data_key(provider, key, dataset)
    store.prepare()
    undo.callback(store.discard)
    salt = options.salt or os.urandom(SALT_SIZE)
    body = _Body(store, keys, undo)
    entries, digest = [], ContentsDigest(salt)
    with closing(body.chunks_of(source, options)) as written:
        for entry in written:
            entries.append(entry)
            digest.add(entry.name, entry.size, entry.digest)
    body.sink.commit()
    index = write_index(salt, entries, len(entries), keys)
    sink = _begin(store, index_name(dataset), undo)
    sink.write(index)
    sink.commit()
    head = Head(
        version=VERSION,
        dataset=dataset,
        digest=digest.digest(),
        sealed_at=int(options.clock()),
        index_size=len(index),
        body_size=body.size,
        key=wrapped,
    )
    return head, keys


def _data_key(provider: KeyProvider, key: str, dataset: bytes) -> tuple[DatasetKeys, WrappedKey]:
    data_key = os.urandom(DATA_KEY_SIZE)
    name = dataset.hex()
    wrapped = provider.wrap(data_key, key, subject=f"seal dataset {name}", context=name)
    return DatasetKeys.derive(data_key, dataset), wrapped


def _begin(store: Store, name: str, undo: ExitStack) -> Sink:
    sink = store.create(name)
    undo.callback(sink.abort)
    return sink


class _Body:
    """The body while it is written."""

    def __init__(self, store: Store, keys: DatasetKeys, undo: ExitStack) -> None:
        self._keys = keys
        self.sink = _begin(store, body_name(keys.dataset), undo)
        prefix = BODY_MAGIC + keys.dataset
        self.sink.write(prefix)
        self.size = len(prefix)

    def chunks_of(self, source: Source, options: Options) -> Generator[Entry, None, None]:
        """Write the files' chunks; yield each file when it is done."""
        done, current = 0, FileDigest(source.files[0].size)
        threads = options.threads or default_threads()
        with closing(sealed_in_order(source, self._keys, threads)) as results:
            for sealed in results:
                self.sink.write(sealed.data)
                self.size += len(sealed.data)
                for span, leaves in zip(sealed.spans, sealed.leaves, strict=True):
                    file = source.files[span.file]
                    if span.offset == 0:
                        current = FileDigest(file.size)
                    for leaf in leaves:
                        current.add(leaf)
                    if span.ends_file:
                        yield Entry(name=file.name, size=file.size, digest=current.digest())
                    done += span.size
                options.progress(done)
