"""Seal a dataset under a newer key: its data key alone, or all of it.

Re-wrapping writes the head again, and no more: a key that is to be destroyed, or that somebody may
have seen, wraps the data key no longer. Whoever has had the *data key* still has it, and that only
re-encryption changes: new data key, new chunks, same contents, same digest.

Rules:
  * One process at a time: `Store.changing`.
  * The new head takes the place of the old one at once; until then the old one holds.
  * What the old head named is deleted only after that, and what the new one names only if it surely
    did not take its place: head_change.py.
  * The key may be another provider's: a dataset moves from a keyring to an HSM, and back. Killed in
    between, it is under the one or the other, and its head says which.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from fedenclave.datasets.errors import DatasetDamaged
from fedenclave.datasets.head import Head, write_head
from fedenclave.datasets.head_change import put_head
from fedenclave.datasets.layout import DatasetKeys, body_name, index_name
from fedenclave.datasets.member_file import MemberFile
from fedenclave.datasets.reader import SealedDataset, open_dataset, unwrap
from fedenclave.datasets.source import SourceFile
from fedenclave.datasets.store import Store
from fedenclave.datasets.writer import Options, write_sealing
from fedenclave.keys.provider import KeyProvider
from fedenclave.protocol.digests import equal


class SealedSource:
    """An open dataset as the plaintext of another."""

    def __init__(self, dataset: SealedDataset) -> None:
        """Take the dataset; it stays open as long as this is used."""
        self._dataset = dataset
        self._members = list(dataset.members.values())
        self.files = [SourceFile(name=m.name, size=m.size) for m in self._members]

    def read_into(self, number: int, offset: int, into: memoryview) -> None:
        """Fill `into`. See `Source`; raises what `SealedDataset.open_chunk` does, too."""
        MemberFile(self._dataset, self._members[number]).fill(offset, into)


def rewrap(store: Store, provider: KeyProvider, key: str, into: KeyProvider | None = None) -> Head:
    """Wrap the data key under the newest version of `key`; return the new head.

    Args:
        store: where the dataset lies.
        provider: has the key that its head names.
        key: the name of the key to wrap with.
        into: has that key; `provider` where it is None.

    Raises:
        DatasetMissing, DatasetDamaged, DatasetBusy, StorageFailed, KeysRefused: nothing was
            changed.
        HeadUnsettled: see `put_head`.
    """
    into = into or provider
    with store.changing():
        head, data_key = unwrap(store, provider, "rotate")
        wrapped = into.wrap(data_key, key, subject=f"rotate dataset {head.name}", context=head.name)
        new = replace(head, key=wrapped)
        keys = DatasetKeys.derive(data_key, head.dataset)
        put_head(store, new, keys, write_head(head, keys), ExitStack())
    return new


def reencrypt(
    store: Store,
    provider: KeyProvider,
    key: str,
    options: Options,
    into: KeyProvider | None = None,
) -> Head:
    """Seal the contents anew, under a new data key, and delete the old chunks.

    Args:
        store: where the dataset lies.
        provider: has the key that its head names.
        key: the name of the key to wrap the new data key with.
        options: see `Options`.
        into: has that key; `provider` where it is None.

    Raises:
        DatasetMissing, DatasetDamaged, DatasetBusy, KeysRefused: the dataset is as it was.
        StorageFailed: so it is, unless it is the old chunks that cannot be deleted.
        HeadUnsettled: see `put_head`.
    """
    with store.changing():
        with open_dataset(store, provider, purpose="re-encrypt") as old, ExitStack() as undo:
            head, keys = _sealed_anew(store, old, into or provider, key, options, undo)
            put_head(store, head, keys, write_head(old.head, old.keys), undo)
        for name in (body_name(old.head.dataset), index_name(old.head.dataset)):
            store.delete(name)
    return head


def _sealed_anew(
    store: Store,
    old: SealedDataset,
    into: KeyProvider,
    key: str,
    options: Options,
    undo: ExitStack,
) -> tuple[Head, DatasetKeys]:
    options = replace(options, salt=old.salt)
    head, keys = write_sealing(SealedSource(old), store, into, key, options, undo)
    if not equal(head.digest, old.digest):
        raise DatasetDamaged(
            f"dataset {old.head.name} at {store.place} opens to contents of another digest "
            "than it was sealed with",
            hint="a program that had the key wrote it so; fedenclave data verify says where",
        )
    return head, keys
