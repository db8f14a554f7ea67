"""The ciphertext store: its limit, its folder's owner, and what is deleted when."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedenclave.host.store import CiphertextStore, StoreFull
from fedenclave.protocol.errors import ConfigurationError


def files(folder: Path) -> list[Path]:
    return list(folder.glob("*.feu"))


def test_ciphertext_that_a_killed_process_left_is_kept_or_deleted_by_the_next(
    tmp_path: Path,
) -> None:
    script = (
        "import pathlib, sys, time\n"
        "from fedenclave.host.store import CiphertextStore\n"
        "update = CiphertextStore(pathlib.Path(sys.argv[1]), 100).create()\n"
        "update.append(b'sealed')\n"
        "update.keep()\n"
        "print('kept', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"kept\n"
        with pytest.raises(ConfigurationError, match="in use by another aggregator"):
            CiphertextStore(tmp_path, 100)
        assert len(files(tmp_path)) == 1
        os.kill(process.pid, signal.SIGKILL)
    store = CiphertextStore(tmp_path, 100)
    (left,) = store.left()
    assert (os.pread(left.descriptor, 100, 0), left.size) == (b"sealed", 6)
    left.keep()
    store.close(keep=True)
    assert len(files(tmp_path)) == 1
    store = CiphertextStore(tmp_path, 10)
    (left,) = store.left()
    with pytest.raises(StoreFull):
        store.reserve(5)  # what is left counts
    left.discard()
    store.reserve(10)
    store.close()
    assert files(tmp_path) == []


def test_a_folder_is_free_again_once_its_store_is_closed(tmp_path: Path) -> None:
    CiphertextStore(tmp_path, 100).close()
    CiphertextStore(tmp_path, 100).close()


def test_clearing_deletes_what_is_kept_and_leaves_an_upload_that_is_under_way(
    tmp_path: Path,
) -> None:
    store = CiphertextStore(tmp_path, 10)
    kept, coming = store.create(), store.create()
    kept.append(b"12345")
    kept.keep()
    coming.append(b"123")
    store.clear()
    assert files(tmp_path) == [coming.path]
    coming.append(b"4567890")
    with pytest.raises(StoreFull, match="holds 10 bytes, 1 more exceed its limit of 10"):
        coming.append(b"1")
    coming.discard()
    assert files(tmp_path) == []
    store.close()


def test_room_is_counted_right_when_updates_arrive_side_by_side(tmp_path: Path) -> None:
    store = CiphertextStore(tmp_path, 8 * 1000)

    def upload() -> None:
        update = store.create()
        for _ in range(1000):
            update.append(b"1")
        update.keep()

    threads = [threading.Thread(target=upload) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(file.stat().st_size for file in files(tmp_path)) == 8000
    with pytest.raises(StoreFull):
        store.reserve(1)
    store.clear()
    store.reserve(8000)
    store.close()


def test_a_file_that_cannot_be_created_is_store_full(tmp_path: Path) -> None:
    store = CiphertextStore(tmp_path / "ciphertext", 100)
    (tmp_path / "ciphertext" / "lock").unlink()
    (tmp_path / "ciphertext").rmdir()
    with pytest.raises(StoreFull, match="cannot create a file"):
        store.create()
    store.close()
