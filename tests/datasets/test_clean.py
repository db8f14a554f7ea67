"""What killed rotations leave is named and deleted, and never what a dataset needs."""

import json
from pathlib import Path

import pytest

pytest.importorskip("fsspec")

from fedenclave.datasets.clean import clean, leftovers
from fedenclave.datasets.errors import DatasetBusy, DatasetDamaged, DatasetMissing, StorageFailed
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.remote_store import RemoteStore
from fedenclave.datasets.rotate import reencrypt
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.verify import verify
from fedenclave.datasets.writer import Options, seal
from fedenclave.keys.keyring import Keyring
from tests.datasets.conftest import OPTIONS, Command, opened

LEFT = (f"body-{'0' * 32}", f"index-{'1' * 32}", ".head.abcd_123")
NOT_OURS = ("notes.txt", "body-of-work", ".head.old.backup", "body-" + "Z" * 32)


def littered(folder: Path) -> Path:
    for name in (*LEFT, *NOT_OURS):
        (folder / name).write_bytes(b"left")
    return folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_belongs_to_nothing_goes_and_the_rest_stays(sealed: Path, ring: Keyring) -> None:
    before = names(sealed)
    head, removed = clean(LocalStore(littered(sealed)), ring)
    assert removed == sorted(LEFT)
    assert names(sealed) == before | set(NOT_OURS)
    with opened(sealed, ring) as dataset:
        assert dataset.head == head
        assert verify(dataset).problems == []
    assert clean(LocalStore(sealed), ring) == (head, [])


@pytest.mark.parametrize("damage", ["head", "body", "index", "no-head", "no-body", "another-head"])
def test_nothing_goes_where_the_dataset_does_not_open(
    sealed: Path, tmp_path: Path, plain: Path, ring: Keyring, damage: str
) -> None:
    littered(sealed)
    if damage == "another-head":
        seal(LocalFiles(plain), LocalStore(tmp_path / "other"), ring, "node", OPTIONS)
        (sealed / "head").write_bytes((tmp_path / "other/head").read_bytes())
    elif damage.startswith("no-"):
        next(
            path for path in sealed.glob(f"{damage[3:]}*") if path.name not in (*LEFT, *NOT_OURS)
        ).unlink()
    else:
        place = next(
            path for path in sealed.glob(f"{damage}*") if path.name not in (*LEFT, *NOT_OURS)
        )
        place.write_bytes(place.read_bytes()[:-1])
    before = names(sealed)
    with pytest.raises((DatasetDamaged, DatasetMissing)):
        clean(LocalStore(sealed), ring)
    assert names(sealed) == before


def test_what_a_rotation_writes_is_left_alone(sealed: Path, ring: Keyring) -> None:
    seen = []

    def meanwhile(done: int) -> None:
        with pytest.raises(DatasetBusy):
            clean(LocalStore(sealed), ring)
        with opened(sealed, ring) as dataset:
            seen.append(leftovers(LocalStore(sealed), dataset.head))

    reencrypt(LocalStore(sealed), ring, "node", Options(clock=lambda: 1.0, progress=meanwhile))
    assert seen
    assert all(found != [] for found in seen)
    with opened(sealed, ring) as dataset:
        assert verify(dataset).problems == []


def test_the_head_is_put_again_before_anything_goes(sealed: Path, ring: Keyring) -> None:
    class NoPut(LocalStore):
        def put(self, name: str, data: bytes, *, replace: bool) -> None:
            raise StorageFailed("the disk fails")

    littered(sealed)
    before = names(sealed)
    with pytest.raises(StorageFailed):
        clean(NoPut(sealed), ring)
    assert names(sealed) == before


def test_a_lock_that_a_kill_has_left_is_deleted_by_hand(plain: Path, ring: Keyring) -> None:
    store = RemoteStore("memory://clean/locked")
    seal(LocalFiles(plain), store, ring, "node", OPTIONS)
    store.put("lock", b"fedenclave-lock-1 00 2026-11-28T19:00:00+00:00", replace=False)
    before = set(store.names())
    with pytest.raises(DatasetBusy, match="since 2026-11-28T19:00:00") as refused:
        clean(store, ring)
    assert "data clean --unlock" in str(refused.value.hint)
    assert set(store.names()) == before
    assert store.unlock() is True
    assert store.unlock() is False
    assert clean(store, ring)[1] == []
    assert "lock" not in store.names()


def test_the_commands_name_and_delete(
    node: Path, fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(node)
    assert fedenclave("data", "seal", "plain", "sealed").status == 0
    littered(node / "sealed")
    ended = fedenclave("data", "verify", "sealed")
    assert ended.status == 0
    assert all(f"warning: sealed/{name} belongs to nothing" in ended.err for name in LEFT)
    assert "data clean" in ended.err
    assert json.loads(fedenclave("data", "verify", "sealed", "--json").out)["leftovers"] == sorted(
        LEFT
    )
    ended = fedenclave("data", "clean", "sealed", "--json")
    assert json.loads(ended.out)["removed"] == sorted(LEFT)
    assert fedenclave("data", "clean", "sealed").out.startswith("sealed has nothing")
    assert fedenclave("data", "verify", "sealed").err == ""
    ended = fedenclave("data", "clean", "plain")
    assert (ended.status, ended.err.startswith("error: there is no plain/head")) == (1, True)
    assert names(node / "sealed") >= set(NOT_OURS)
