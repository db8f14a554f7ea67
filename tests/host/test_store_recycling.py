"""Files that are written over from round to round: nothing of an earlier update is ever read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedenclave.host.store import CiphertextStore, StoreFull


def fill(store: CiphertextStore, *updates: bytes) -> list[bytes]:
    """Keep the updates, clear the store, and return what their files held before that."""
    kept = []
    for data in updates:
        update = store.create()
        update.append(data)
        update.finish()
        update.keep()
        kept.append(update)
    contents = [update.path.read_bytes() for update in kept]
    store.clear()
    return contents


def files(folder: Path, kind: str) -> list[int]:
    return sorted(file.stat().st_size for file in folder.glob(f"*.{kind}"))


def test_a_shorter_update_in_a_longer_ones_file_ends_where_it_ends(tmp_path: Path) -> None:
    store = CiphertextStore(tmp_path, 100)
    assert fill(store, b"first, and long") == [b"first, and long"]
    assert fill(store, b"second") == [b"second"]
    assert fill(store, b"third, longer than both") == [b"third, longer than both"]
    assert files(tmp_path, "feu") == []
    assert len(files(tmp_path, "spare")) == 1
    store.close()


def test_spare_files_are_no_more_than_the_last_rounds_and_go_with_the_store(
    tmp_path: Path,
) -> None:
    store = CiphertextStore(tmp_path, 100)
    fill(store, b"1" * 10, b"2" * 20, b"3" * 30)
    assert files(tmp_path, "spare") == [10, 20, 30]
    fill(store, b"4")
    assert files(tmp_path, "spare") == [1]
    store.close()
    assert files(tmp_path, "spare") == []


@pytest.mark.parametrize("discarded", [False, True])
def test_spare_files_make_room_where_the_limit_asks_for_it(tmp_path: Path, discarded: bool) -> None:
    store = CiphertextStore(tmp_path, 60)
    fill(store, b"1" * 10, b"2" * 20, b"3" * 30)
    update = store.create()
    if discarded:
        update.discard()
        update = store.create()
    update.append(b"4" * 60)
    assert sum(files(tmp_path, "feu") + files(tmp_path, "spare")) == 60
    with pytest.raises(StoreFull, match="holds 60 bytes, 1 more exceed its limit of 60"):
        update.append(b"5")
    update.discard()
    store.reserve(60)
    store.close()


@pytest.mark.parametrize(
    "lose",
    [
        lambda folder: [file.unlink() for file in folder.glob("*.spare")],
        lambda folder: [file.write_bytes(b"") for file in folder.glob("*.spare")],
    ],
)
def test_a_spare_file_that_is_gone_or_emptied_harms_nobody(
    tmp_path: Path, lose: Callable[[Path], object]
) -> None:
    store = CiphertextStore(tmp_path, 60)
    fill(store, b"1" * 30)
    lose(tmp_path)
    assert fill(store, b"2" * 40) == [b"2" * 40]
    store.close()


def test_spare_files_that_a_killed_process_left_are_deleted_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "left.spare").write_bytes(b"ciphertext")
    store = CiphertextStore(tmp_path, 10)
    assert files(tmp_path, "spare") == []
    store.close()
