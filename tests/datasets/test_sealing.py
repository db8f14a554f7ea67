"""A seal is whole or nothing, and seals nothing that nobody meant."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedenclave.datasets.errors import (
    DatasetExists,
    DatasetMissing,
    SourceRefused,
    StorageFailed,
)
from fedenclave.datasets.listing import listed
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.locations import stores_in
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import Options, seal
from fedenclave.keys.errors import NoSuchKey
from fedenclave.keys.keyring import Keyring
from tests.datasets.conftest import FILES, OPTIONS, opened, part, sealed_at, write_files

ROOT = Path(__file__).resolve().parents[2]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_nothing_is_written_over(sealed: Path, plain: Path, ring: Keyring) -> None:
    before = snapshot(sealed)
    with pytest.raises(DatasetExists, match="holds a sealed dataset already"):
        sealed_at(sealed, plain, ring)
    assert snapshot(sealed) == before


def test_a_key_that_is_not_there_leaves_no_trace(
    tmp_path: Path, plain: Path, ring: Keyring
) -> None:
    with pytest.raises(NoSuchKey):
        seal(LocalFiles(plain), LocalStore(tmp_path / "sealed"), ring, "none", OPTIONS)
    assert not (tmp_path / "sealed").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
def test_a_symbolic_link_is_refused_by_name(tmp_path: Path, plain: Path, kind: str) -> None:
    source = write_files(tmp_path / "source", {"a/x": b"x"})
    target = {"file": plain / "c", "folder": plain, "dangling": tmp_path / "none"}[kind]
    (source / "a/link").symlink_to(target)
    with pytest.raises(SourceRefused, match="a/link is a symbolic link"):
        LocalFiles(source)


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"x": b"x"})
    os.mkfifo(source / "pipe")
    with pytest.raises(SourceRefused, match="pipe is neither a file nor a folder"):
        LocalFiles(source)


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    source = write_files(tmp_path / "source", {"x": b"x"})
    Path(os.fsdecode(os.fsencode(source) + b"/\xff")).touch()
    with pytest.raises(SourceRefused, match="not UTF-8"):
        LocalFiles(source)


def test_a_folder_may_be_deeper_than_calls_can_be_nested(tmp_path: Path) -> None:
    (tmp_path / "stays").touch()
    deepest = tmp_path / "source"
    deepest.mkdir()
    for _ in range(sys.getrecursionlimit() + 50):
        deepest = deepest / "d"
        deepest.mkdir()
    (deepest / "x").touch()
    try:
        (file,) = LocalFiles(tmp_path / "source").files
        assert file.name == "d/" * (sys.getrecursionlimit() + 50) + "x"
    finally:
        (deepest / "x").unlink()
        os.removedirs(deepest)  # pytest's own clearing up nests calls


def test_nothing_to_seal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty/below").mkdir(parents=True)
    with pytest.raises(SourceRefused, match="holds no file"):
        LocalFiles(tmp_path / "empty")
    with pytest.raises(SourceRefused, match="No such file"):
        LocalFiles(tmp_path / "none")


@pytest.mark.parametrize("change", ["longer", "shorter", "same length", "gone", "a link"])
def test_a_file_that_changes_meanwhile_stops_the_seal(
    tmp_path: Path, ring: Keyring, change: str
) -> None:
    source = write_files(tmp_path / "source", {"a": b"a" * 100, "b": b"b" * 100})
    files, path = LocalFiles(source), source / "b"
    if change == "gone":
        path.unlink()
    elif change == "a link":
        path.rename(tmp_path / "b")
        path.symlink_to(tmp_path / "b")
    else:
        size = {"longer": 101, "shorter": 99, "same length": 100}[change]
        path.write_bytes(b"c" * size)
        os.utime(path, ns=(1, 1))
    with pytest.raises(SourceRefused, match="source/b"):
        seal(files, LocalStore(tmp_path / "sealed"), ring, "node", OPTIONS)
    assert not (tmp_path / "sealed").exists()


LIMITED = """
import resource, signal, sys
from pathlib import Path
from fedenclave.keys.keyring import open_keyring
from fedenclave.datasets.errors import StorageFailed
from tests.datasets.conftest import sealed_at
ring = open_keyring(Path(sys.argv[3]), b"correct horse")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]), int(sys.argv[4])))
try:
    sealed_at(Path(sys.argv[2]), Path(sys.argv[1]), ring)
except StorageFailed as error:
    print(error)
"""


# In the middle of the body; in the second write of a span; the last byte of the body.
@pytest.mark.parametrize("missing", [1, 1000, 1_400_000])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, plain: Path, ring: Keyring, missing: int
) -> None:
    sealed_at(tmp_path / "whole", plain, ring)
    limit = part(tmp_path / "whole", "body").stat().st_size - missing
    target = tmp_path / "sealed"
    arguments = [str(plain), str(target), str(ring._path), str(limit)]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert "cannot write" in done.stdout
    assert "is the disk full?" in done.stdout
    assert not target.exists()


def test_a_folder_that_may_not_be_written_is_named(
    tmp_path: Path, plain: Path, ring: Keyring
) -> None:
    with pytest.raises(StorageFailed, match="none/sealed: No such file"):
        sealed_at(tmp_path / "none/sealed", plain, ring)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed, match="Not a directory"):
        sealed_at(tmp_path / "file", plain, ring)


class _Interrupted(Exception):
    pass


def test_a_seal_that_fails_half_way_deletes_what_it_has_written(
    tmp_path: Path, plain: Path, ring: Keyring
) -> None:
    def stop(done: int) -> None:
        raise _Interrupted

    options = Options(clock=time.time, progress=stop)
    target = tmp_path / "sealed"
    with pytest.raises(_Interrupted):
        seal(LocalFiles(plain), LocalStore(target), ring, "node", options)
    assert not target.exists()
    # What was in the folder before is not this seal's to delete.
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    with pytest.raises(_Interrupted):
        seal(LocalFiles(plain), LocalStore(target), ring, "node", options)
    assert [path.name for path in target.iterdir()] == ["notes.txt"]


def test_of_two_seals_into_one_folder_the_later_one_gives_way(
    tmp_path: Path, plain: Path, ring: Keyring
) -> None:
    target = tmp_path / "sealed"

    def meanwhile(done: int) -> None:
        if not (target / "head").exists():
            sealed_at(target, plain, ring)

    options = Options(clock=time.time, progress=meanwhile)
    with pytest.raises(DatasetExists, match="holds a sealed dataset already"):
        seal(LocalFiles(plain), LocalStore(target), ring, "node", options)
    assert len(list(target.iterdir())) == 3
    with opened(target, ring) as dataset:
        assert dataset.read("c") == FILES["c"]


def test_what_the_head_names_is_on_the_disk_before_the_head(
    tmp_path: Path, plain: Path, ring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    target = tmp_path / "sealed"
    sealed_at(target, plain, ring)
    kinds = [path.name.split("-")[0].split(".")[1 if path.name[0] == "." else 0] for path in synced]
    assert [kind for kind in kinds if kind != "keyring"] == [
        *(tmp_path.name, "body", "sealed", "index", "sealed", "head", "sealed"),
    ]


KILLED = """
import os, sys, time
from pathlib import Path
from fedenclave.keys.keyring import open_keyring
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import Options, seal
def wait(done):
    print("half way", flush=True)
    time.sleep(60)
ring = open_keyring(Path(sys.argv[3]), b"correct horse")
options = Options(clock=time.time, progress=wait)
seal(LocalFiles(Path(sys.argv[1])), LocalStore(Path(sys.argv[2])), ring, "node", options)
"""


def test_killed_half_way_there_is_no_dataset_and_a_new_seal_succeeds(
    tmp_path: Path, plain: Path, ring: Keyring
) -> None:
    target = tmp_path / "sealed"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(plain), str(target), str(ring._path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"half way\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (item,) = listed(stores_in(str(tmp_path)))
    assert item.problem.startswith("unfinished")
    with pytest.raises(DatasetMissing, match="there is no "):
        opened(target, ring)
    sealed_at(target, plain, ring)
    with opened(target, ring) as dataset:
        assert dataset.read("c") == FILES["c"]
    (item,) = listed(stores_in(str(tmp_path)))
    assert item.problem == ""
    assert len(item.leftovers) == 1


def test_a_folder_of_somebody_elses_is_no_interrupted_seal(tmp_path: Path) -> None:
    write_files(tmp_path, {"papers/body-of-work.txt": b"x", "papers/index-2026.csv": b"x"})
    assert listed(stores_in(str(tmp_path))) == []


def test_many_small_files_are_sealed_in_few_jobs(tmp_path: Path, ring: Keyring) -> None:
    files = {f"d{i % 7}/{i:04}": f"file {i}".encode() * (i % 5) for i in range(1000)}
    sealed_at(tmp_path / "sealed", write_files(tmp_path / "plain", files), ring)
    with opened(tmp_path / "sealed", ring) as dataset:
        assert {name: bytes(dataset.read(name)) for name in dataset.members} == files


def test_a_long_index_has_pages(tmp_path: Path, ring: Keyring) -> None:
    files = {f"{i:05}-{'n' * 150}": b"" for i in range(4500)}
    sealed_at(tmp_path / "sealed", write_files(tmp_path / "plain", files), ring)
    with opened(tmp_path / "sealed", ring) as dataset:
        assert list(dataset.members) == list(files)
        assert part(tmp_path / "sealed", "index").stat().st_size > 4500 * 150
