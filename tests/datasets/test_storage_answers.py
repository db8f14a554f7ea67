"""What a storage puts in an object's place, or answers: refused by name, at once, and bounded."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fsspec")

from fedenclave.datasets.errors import DatasetMissing, DatasetRefused, StorageFailed
from fedenclave.datasets.listing import listed
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.reader import open_dataset
from fedenclave.datasets.remote_store import RemoteStore
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import seal
from fedenclave.keys.keyring import Keyring
from tests.datasets.conftest import OPTIONS, opened, part
from tests.datasets.faults import OBJECT_CALLS, Hooked


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["head", "index", "body"])
@pytest.mark.parametrize("what", ["pipe", "link", "device", "folder"])
def test_what_is_no_file_is_refused_at_once(
    sealed: Path, ring: Keyring, name: str, what: str
) -> None:
    place = part(sealed, name)
    kept = place.rename(sealed.parent / "kept")
    if what == "pipe":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    else:
        place.symlink_to(kept if what == "link" else "/dev/zero")
    with pytest.raises(StorageFailed, match=r"no file|a symbolic link|Is a directory"):
        opened(sealed, ring)
    (item,) = listed([LocalStore(sealed)])
    assert "cannot read" in item.problem


@pytest.fixture
def url(plain: Path, ring: Keyring, request: pytest.FixtureRequest) -> str:
    url = f"memory://answers-{abs(hash(request.node.name))}/x"
    seal(LocalFiles(plain), RemoteStore(url), ring, "node", OPTIONS)
    return url


def lying(url: str, about: str, lie: Callable[[Any], Any]) -> RemoteStore:
    def hook(name: str, really: Callable[[], Any]) -> Any:
        return lie(really()) if name == about else really()

    store = RemoteStore(url)
    store._system = Hooked(store._storage(), hook, OBJECT_CALLS)
    return store


@pytest.mark.parametrize("size", [-5, None, "12", 1.5, True, "x" * 8000])
def test_a_size_that_is_none_is_refused(url: str, ring: Keyring, size: object) -> None:
    store = lying(url, "info", lambda facts: {**facts, "size": size})
    with pytest.raises(StorageFailed, match="want a number from 0 on") as refused:
        open_dataset(store, ring)
    assert len(refused.value.message) < 300


def test_more_than_was_asked_for_is_refused(url: str, ring: Keyring) -> None:
    store = lying(url, "cat_file", lambda data: data + b"more")
    with pytest.raises(StorageFailed, match="bytes, and sent"):
        open_dataset(store, ring)


def test_less_than_was_asked_for_is_refused(url: str, ring: Keyring) -> None:
    with pytest.raises(DatasetRefused, match="cut off"):
        open_dataset(lying(url, "cat_file", lambda data: data[:-1]), ring)


def test_an_object_that_goes_while_it_is_read_is_named(url: str, ring: Keyring) -> None:
    def gone(_: Any) -> Any:
        raise FileNotFoundError

    with pytest.raises(DatasetMissing, match="was deleted while it was read"):
        open_dataset(lying(url, "cat_file", gone), ring)
