"""What killed seals and rotations have left beside a dataset: named, and deleted.

Rules:
  * Nothing is deleted unless the dataset opens: a head that somebody put there, or an older one,
    would else have the data deleted that it does not name.
  * The head that opened is put again first. A head whose sync has failed may be gone after a power
    failure, and the one before it names what would be deleted.
  * Under the dataset's lock: what a rotation writes is none of it. A seal needs none: where there
    is a head, it ends in a refusal.
"""

from __future__ import annotations

import re
from contextlib import ExitStack

from fedenclave.datasets.head import Head, write_head
from fedenclave.datasets.head_change import put_head
from fedenclave.datasets.layout import body_name, index_name
from fedenclave.datasets.reader import open_dataset
from fedenclave.datasets.store import Store
from fedenclave.keys.provider import KeyProvider

# The second is what a killed write of a head leaves in a folder: keys/durable.py.
_OURS = re.compile(r"(index|body)-[0-9a-f]{32}|\.head\.[a-z0-9_]{8}")


def leftovers(store: Store, head: Head | None) -> list[str]:
    """Return the names of the objects that are a seal's, and that `head`, if any, does not name.

    A rotation that goes on has such objects, too.

    Raises:
        StorageFailed: the storage cannot be looked at.
    """
    named = {index_name(head.dataset), body_name(head.dataset)} if head is not None else set()
    return sorted(
        name for name in store.names() if _OURS.fullmatch(name) is not None and name not in named
    )


def clean(store: Store, provider: KeyProvider) -> tuple[Head, list[str]]:
    """Delete what belongs to nothing; return the head, and the names of what was deleted.

    Raises:
        DatasetBusy: another process changes the dataset.
        DatasetMissing, DatasetDamaged, KeysRefused: it does not open. Nothing was deleted.
        StorageFailed: something cannot be deleted; some of it may be.
    """
    with store.changing():
        with open_dataset(store, provider, purpose="clean") as dataset:
            head, keys = dataset.head, dataset.keys
        found = leftovers(store, head)
        if found:
            put_head(store, head, keys, write_head(head, keys), ExitStack())
        for name in found:
            store.delete(name)
    return head, found
