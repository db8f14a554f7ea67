"""One process at a time changes a dataset in an object storage: an object that is there meanwhile.

It is made on the condition that there is none, which S3, GCS and Azure see to, and holds a random
mark. What that does not exclude, FORMAT.md says in section 6.

Rules:
  * Nobody waits, and no clock says that a lock is too old: a rotation that was killed leaves its
    lock, and a person who knows that it was says so, by `fedenclave data clean --unlock`.
  * Its holder deletes it, and nobody else's.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from fedenclave.datasets.errors import DatasetBusy, DatasetExists, DatasetMissing, StorageFailed
from fedenclave.datasets.store import Store
from fedenclave.protocol.errors import printable

LOCK = "lock"
_FORMAT = "fedenclave-lock-1"
_LIMIT = 200


@contextlib.contextmanager
def held(store: Store) -> Iterator[Callable[[], None]]:
    """Hold a dataset's lock; give what refuses once it is lost.

    Raises:
        DatasetBusy: another holds it, or a rotation was killed.
        StorageFailed: it cannot be made, or not deleted.
    """
    since = datetime.now(UTC).isoformat(timespec="seconds")
    mark = f"{_FORMAT} {os.urandom(16).hex()} {since}".encode()
    try:
        _take(store, mark)
        # A storage that makes objects without looking at the condition gives both the lock.
        _check(store, mark)
        yield lambda: _check(store, mark)
    except BaseException:
        with contextlib.suppress(Exception):
            _release(store, mark)
        raise
    try:
        _release(store, mark)
    except StorageFailed as error:
        raise StorageFailed(
            f"what was asked for is done; its lock stays: {error.message}",
            hint="fedenclave data clean --unlock deletes it; the storage must allow deleting",
        ) from error


def remove(store: Store) -> bool:
    """Delete whoever's lock; return whether there was one.

    Raises:
        StorageFailed: it cannot be deleted.
    """
    there = LOCK in store.names()
    store.delete(LOCK)
    return there


def _take(store: Store, mark: bytes) -> None:
    try:
        store.put(LOCK, mark, replace=False)
    except DatasetExists as error:
        raise _busy(store) from error


def _check(store: Store, mark: bytes) -> None:
    try:
        ours = store.read(LOCK, _LIMIT) == mark
    except DatasetMissing:
        ours = False
    if not ours:
        raise _busy(store)


def _release(store: Store, mark: bytes) -> None:
    with contextlib.suppress(DatasetMissing):
        if store.read(LOCK, _LIMIT) == mark:
            store.delete(LOCK)


def _busy(store: Store) -> DatasetBusy:
    since = ""
    with contextlib.suppress(Exception):
        text = store.read(LOCK, _LIMIT)[:_LIMIT].decode("ascii", "replace")
        since = f", since {printable(text.rpartition(' ')[2])[:40]}"
    return DatasetBusy(
        f"{store.place}/{LOCK} says that another process is changing the dataset{since}",
        hint="call again once it is done; if it was killed, fedenclave data clean --unlock deletes "
        "its lock. nothing was changed",
    )
