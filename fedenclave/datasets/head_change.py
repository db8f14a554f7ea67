"""The one write that makes a dataset, or another one of it: the head's.

A write that fails may have taken place all the same: the folder's sync fails after the rename, an
answer is lost on the way back, somebody presses Ctrl-C in between. Whoever then deleted what the
new head names would have destroyed the data.

Rules:
  1. The head is replaced only while it is the one that was read.
  2. From the moment that the write begins, nothing is deleted unless the head that lies there now
     names other objects, and no write can still be on its way.
  3. Where that is not certain, both heads' objects stay, and the error says so.

FORMAT.md, section 6.
"""

from __future__ import annotations

from contextlib import ExitStack

from fedenclave.datasets.errors import (
    DatasetBusy,
    DatasetExists,
    DatasetMissing,
    HeadUnsettled,
    StorageFailed,
)
from fedenclave.datasets.head import MAX_HEAD, Head, read_head, write_head
from fedenclave.datasets.layout import HEAD, DatasetKeys
from fedenclave.datasets.store import Store


def put_head(
    store: Store, head: Head, keys: DatasetKeys, former: bytes | None, undo: ExitStack
) -> None:
    """Write `head`, in the place of `former`.

    Args:
        store: where it goes; locked by the caller, unless `former` is None.
        head: names objects that are durable.
        keys: of its data key.
        former: the bytes of the head that is there; None where there must be none.
        undo: deletes what `head` names. It is emptied, and done only if rule 2 lets it be.

    Raises:
        DatasetBusy: another head than `former` is there. It still is.
        DatasetExists: there is a head, and `former` is None.
        HeadUnsettled: whether `head` is there to stay is not certain. All objects are.
        StorageFailed: it cannot be written; what was there still is.
    """
    if former is not None and store.read(HEAD, MAX_HEAD) != former:
        raise DatasetBusy(
            f"the head at {store.place} was replaced meanwhile",
            hint="another program has rotated the dataset: call again. nothing was changed",
        )
    kept = undo.pop_all()
    try:
        store.put(HEAD, write_head(head, keys), replace=former is not None)
    except BaseException as error:
        if _surely_not_there(store, head, former, error):
            kept.close()
        elif isinstance(error, StorageFailed):
            raise _unsettled(store, head, error) from error
        raise


def _surely_not_there(store: Store, head: Head, former: bytes | None, error: BaseException) -> bool:
    """Return whether the write that ended with `error` has not taken place, and never will."""
    if not store.settled and not isinstance(error, DatasetExists):
        return False
    try:
        now = store.read(HEAD, MAX_HEAD)
        return now == former or read_head(now, store.place).head.dataset != head.dataset
    except DatasetMissing:
        return former is None
    except Exception:
        # Whatever keeps us from looking: then we do not know.
        return False


def _unsettled(store: Store, head: Head, error: StorageFailed) -> HeadUnsettled:
    return HeadUnsettled(
        f"{error.message}; whether the new head, of dataset {head.name}, is in place to stay is "
        "not certain. nothing was deleted: keep the keys of both",
        hint=f"fedenclave data verify {store.place} says what is there now: the dataset as it was "
        "or as it was to be, and what belongs to neither; fedenclave data clean deletes that",
    )
