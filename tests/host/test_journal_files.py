"""The segments on the host's disk: what is appended, what begins anew, and what it leaves open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedenclave.host.journal import JournalFiles, StateUnwritten
from fedenclave.protocol.segment import MAGIC


def segment(number: int) -> bytes:
    return MAGIC + b"segment %d" % number


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_what_goes_on_is_behind_what_counts_and_what_does_not_count_is_gone(
    tmp_path: Path,
) -> None:
    journal = JournalFiles(tmp_path, flushed=True)
    journal.write(segment(1))
    journal.write(b"+one")
    journal.write(b"+half")
    journal.close()
    for _ in range(2):
        again = JournalFiles(tmp_path, flushed=True)
        again.go_on(len(segment(1)) + 4)
        assert files(tmp_path) == {"segment-00000001.fes": segment(1) + b"+one"}
        again.write(b"+two")
        again.write(b"+three")
        again.close()
        whole = segment(1) + b"+one+two+three"
        assert files(tmp_path) == {"segment-00000001.fes": whole}


def test_a_new_segment_is_not_mixed_with_what_a_killed_process_left_of_one(tmp_path: Path) -> None:
    left = tmp_path / "segment-00000001.partial"
    left.write_bytes(bytes(1000))
    journal = JournalFiles(tmp_path, flushed=True)
    assert journal.newest() is None
    journal.write(segment(1))
    assert files(tmp_path) == {"segment-00000001.fes": segment(1)}
    journal.close()


def test_the_newest_two_are_kept_and_one_descriptor_open(tmp_path: Path) -> None:
    before = open_files()
    journal = JournalFiles(tmp_path, flushed=False)
    for number in range(1, 5):
        journal.write(segment(number))
        assert open_files() == before + 1
        # The one before goes last: the new one is in place.
        kept = {f"segment-{n:08d}.fes": segment(n) for n in (number - 1, number) if n}
        assert files(tmp_path) == kept
    assert journal.newest() == tmp_path / "segment-00000004.fes"
    journal.close()
    assert open_files() == before


def test_a_file_of_somebody_elses_is_no_segment(tmp_path: Path) -> None:
    for name in ("segment-.fes", "segment-old.fes", "segment-00000003 (copy).fes", "segment-²"):
        (tmp_path / name).write_bytes(b"x")
    others = files(tmp_path)
    journal = JournalFiles(tmp_path, flushed=False)
    assert journal.newest() is None
    for number in range(1, 4):
        journal.write(segment(number))
    assert others.items() < files(tmp_path).items()
    journal.close()


@pytest.mark.parametrize("name", ["replace", "fsync", "write"])
def test_a_segment_that_cannot_be_begun_leaves_the_one_before_and_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    journal = JournalFiles(tmp_path, flushed=True)
    journal.write(segment(1))
    before = open_files()
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing)
        with pytest.raises(StateUnwritten, match="Input/output error"):
            journal.write(segment(2))
    assert open_files() == before
    assert JournalFiles(tmp_path, flushed=True).newest() == tmp_path / "segment-00000001.fes"
    with pytest.raises(StateUnwritten, match="Input/output error"):
        journal.check()
    journal.close()


@pytest.mark.parametrize("name", ["fdatasync", "write"])
def test_a_transition_that_does_not_reach_the_disk_stops_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    journal = JournalFiles(tmp_path, flushed=True)
    journal.write(segment(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing)
        with pytest.raises(StateUnwritten, match="Input/output error"):
            journal.write(b"+one")
    with pytest.raises(StateUnwritten, match="start the aggregator again"):
        try:
            journal.check()
        except StateUnwritten as error:
            raise StateUnwritten(error.hint) from None
    journal.close()
