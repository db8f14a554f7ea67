"""A dataset moves to another key, or to other chunks, and is never between the two."""

from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.datasets.errors import DatasetDamaged, StorageFailed
from fedenclave.datasets.listing import listed
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.rotate import reencrypt, rewrap
from fedenclave.datasets.verify import verify
from fedenclave.keys.errors import KeyDestroyed, NoSuchKey
from fedenclave.keys.keyring import Keyring, create_keyring
from tests.datasets.conftest import FILES, OPTIONS, opened, part, sealed_at
from tests.keys.conftest import CHEAP, PASSPHRASE


@pytest.fixture
def own_ring(tmp_path: Path) -> Keyring:
    made = create_keyring(tmp_path / "ring", PASSPHRASE, cost=CHEAP)
    made.create("node")
    return made


@pytest.fixture
def folder(tmp_path: Path, plain: Path, own_ring: Keyring) -> Path:
    sealed_at(tmp_path / "sealed", plain, own_ring)
    return tmp_path / "sealed"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def all_there(folder: Path, ring: Keyring) -> bool:
    with opened(folder, ring) as dataset:
        return verify(dataset).problems == [] and all(
            dataset.read(name) == data for name, data in FILES.items()
        )


def test_rewrapping_writes_nothing_but_the_head(folder: Path, own_ring: Keyring) -> None:
    before = snapshot(folder)
    own_ring.rotate("node")
    head = rewrap(LocalStore(folder), own_ring, "node")
    after = snapshot(folder)
    assert head.key.version == 2
    assert {name for name in before if before[name] != after[name]} == {"head"}
    own_ring.destroy("node", 1)
    assert all_there(folder, own_ring)
    (folder / "head").write_bytes(before["head"])
    with pytest.raises(KeyDestroyed):
        opened(folder, own_ring)


def test_another_key_can_take_over(folder: Path, own_ring: Keyring) -> None:
    own_ring.create("archive")
    assert rewrap(LocalStore(folder), own_ring, "archive").key.key == "archive"
    assert all_there(folder, own_ring)


def test_reencryption_changes_all_but_contents_and_digest(folder: Path, own_ring: Keyring) -> None:
    before = snapshot(folder)
    with opened(folder, own_ring) as dataset:
        old, salt = dataset.head, dataset.salt
    new = reencrypt(LocalStore(folder), own_ring, "node", OPTIONS)
    after = snapshot(folder)
    assert new.dataset != old.dataset
    assert new.digest == old.digest
    assert before.keys() & after.keys() == {"head"}
    assert len(after) == 3
    assert all_there(folder, own_ring)
    with opened(folder, own_ring) as dataset:
        assert dataset.salt == salt


def test_a_key_that_is_not_there_changes_nothing(folder: Path, own_ring: Keyring) -> None:
    before = snapshot(folder)
    with pytest.raises(NoSuchKey):
        rewrap(LocalStore(folder), own_ring, "other")
    with pytest.raises(NoSuchKey):
        reencrypt(LocalStore(folder), own_ring, "other", OPTIONS)
    assert snapshot(folder) == before


def test_damaged_data_are_not_sealed_anew(folder: Path, own_ring: Keyring) -> None:
    body = part(folder, "body")
    data = bytearray(body.read_bytes())
    data[len(data) // 2] ^= 1
    body.write_bytes(data)
    before = snapshot(folder)
    with pytest.raises(DatasetDamaged, match="chunk"):
        reencrypt(LocalStore(folder), own_ring, "node", OPTIONS)
    assert snapshot(folder) == before


class _Breaking(LocalStore):
    """Storage that fails at one kind of call."""

    def __init__(self, folder: Path, breaks: str) -> None:
        super().__init__(folder)
        self._breaks = breaks

    def put(self, name: str, data: bytes, *, replace: bool) -> None:
        if self._breaks == "put":
            raise StorageFailed("no more")
        super().put(name, data, replace=replace)

    def delete(self, name: str) -> None:
        if self._breaks == "delete":
            raise StorageFailed("no more")
        super().delete(name)


def test_a_failure_before_the_head_leaves_the_old_dataset(folder: Path, own_ring: Keyring) -> None:
    before = snapshot(folder)
    with pytest.raises(StorageFailed):
        reencrypt(_Breaking(folder, "put"), own_ring, "node", OPTIONS)
    assert snapshot(folder) == before


def test_a_failure_after_the_head_leaves_the_new_one_and_says_what_is_left_over(
    folder: Path, own_ring: Keyring
) -> None:
    with opened(folder, own_ring) as dataset:
        old = dataset.head.name
    with pytest.raises(StorageFailed):
        reencrypt(_Breaking(folder, "delete"), own_ring, "node", OPTIONS)
    assert all_there(folder, own_ring)
    (item,) = listed([LocalStore(folder)])
    assert item.leftovers == (f"body-{old}", f"index-{old}")


def test_an_open_reader_goes_on_reading_what_it_has_opened(folder: Path, own_ring: Keyring) -> None:
    with opened(folder, own_ring) as dataset:
        reencrypt(LocalStore(folder), own_ring, "node", replace(OPTIONS, threads=1))
        assert dataset.read("c") == FILES["c"]
