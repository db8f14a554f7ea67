"""The file of events: bounded, whole lines, counts that do not fall, and never in a round's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedenclave.client.events import MAX_BYTES, Asked, EventFile, Kind, Part
from fedenclave.client.refusals import Cause, HistoryRefused, ManifestRefused, cause_of
from fedenclave.protocol.errors import ConfigurationError, EnclaveRefused, MalformedMessage


def refuse(file: EventFile, text: str = "why", cause: Cause = Cause.EVIDENCE) -> None:
    file.write(Kind.REFUSED, cause=cause, asked=Asked.TRAIN, text=text)


def test_what_is_written_is_read_counted_and_the_owners_alone(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.write(Kind.STARTED, pid=7)
    refuse(file)
    refuse(file, cause=Cause.HISTORY)
    read = file.read()
    assert read.count(Kind.REFUSED) == 2
    assert read.count(Kind.REFUSED, Cause.HISTORY) == 1
    assert read.count(Kind.REFUSED, Cause.HISTORY, Asked.HELLO) == 0
    assert read.latest[Kind.STARTED].facts["pid"] == 7
    assert [event.kind for event in read.recent] == [Kind.STARTED, Kind.REFUSED, Kind.REFUSED]
    assert file.path.stat().st_mode & 0o077 == 0


def test_it_stays_small_and_its_counts_do_not_fall(tmp_path: Path) -> None:
    file = EventFile(tmp_path, max_bytes=3000)
    file.write(Kind.STARTED, pid=7)
    for number in range(500):
        refuse(file, f"number {number}")
        assert file.read().count(Kind.REFUSED) == number + 1
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 8000
    assert {path.name for path in tmp_path.iterdir()} == {"events.jsonl", "events.jsonl.before"}
    read = file.read()
    assert read.latest[Kind.STARTED].facts["pid"] == 7
    assert read.recent[-1].facts["text"] == "number 499"
    assert len(read.recent) > 10


def test_a_torn_last_line_is_passed_over_and_then_cut_off(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    refuse(file, "first")
    with file.path.open("ab") as stream:
        stream.write(b'{"at": 1, "event": "refu')
    assert file.read().count(Kind.REFUSED) == 1
    assert file.read().unreadable == 0
    refuse(file, "second")
    assert [event.facts["text"] for event in file.read().recent] == ["first", "second"]
    assert file.read().unreadable == 0


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[]",
        b"[" * 5000,
        b'{"at": 1, "event": "invented"}',
        b'{"at": -1, "event": "connected"}',
        b'{"at": true, "event": "connected"}',
        b'{"at": 1, "event": "refused", "cause": "a peer\'s text", "asked": "train"}',
        b'{"at": 1, "event": "refused", "cause": ["evidence"], "asked": "train"}',
        b'{"at": 1, "event": "connected", "more": null}',
        b'{"carried": {"counts": [], "latest": []}}',
    ],
)
def test_a_damaged_line_is_counted_as_such_and_the_rest_is_there(
    tmp_path: Path, line: bytes
) -> None:
    file = EventFile(tmp_path)
    refuse(file)
    with file.path.open("ab") as stream:
        stream.write(line + b"\n")
    refuse(file)
    read = file.read()
    assert read.unreadable == 1
    assert read.count(Kind.REFUSED) == 2


@pytest.mark.parametrize(
    "counts",
    ["none", [["refused", "evidence", "train", -1]], [["refused", "evidence", 1]], [["x", 1]], [1]],
)
def test_totals_that_are_none_are_counted_as_damage(tmp_path: Path, counts: object) -> None:
    file = EventFile(tmp_path)
    carried = {"carried": {"counts": counts, "latest": []}}
    file.path.write_text(json.dumps(carried) + "\n")
    refuse(file)
    assert file.read().unreadable == 1
    assert file.read().count(Kind.REFUSED) == 1


def test_a_full_disk_loses_the_line_and_leaves_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = EventFile(tmp_path)
    refuse(file)
    before = file.path.read_bytes()
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        return real(descriptor, data[:9])

    monkeypatch.setattr(os, "write", full)
    refuse(file)
    assert file.path.read_bytes() == before
    monkeypatch.setattr(os, "write", real)
    EventFile(tmp_path / "no such folder").write(Kind.CONNECTED)
    refuse(file)
    assert file.read().count(Kind.REFUSED) == 2


def test_a_label_of_no_closed_enum_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks a label"):
        EventFile(tmp_path).write(Kind.REFUSED, cause="whatever a peer says", asked="train")
    with pytest.raises(ValueError, match="lacks a label"):
        EventFile(tmp_path).write(Kind.DIED)
    assert not list(tmp_path.iterdir())


def test_texts_are_one_line_and_short(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    refuse(file, "a\nb\x1b[2J" + "c" * 5000)
    (event,) = file.read().recent
    assert str(event.facts["text"]).startswith("a\\nb\\x1b[2Jccc")
    assert len(str(event.facts["text"])) < 400


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from fedenclave.client.events import EventFile, Kind\n"
        "file = EventFile(Path(sys.argv[1]), max_bytes=2000)\n"
        "for n in range(200): file.write(Kind.SEALED, round=n)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    read = EventFile(tmp_path).read()
    assert read.count(Kind.SEALED) == 800
    assert read.unreadable == 0


def test_every_count_there_can_be_fits_into_one_line_of_totals(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    for cause in Cause:
        for asked in Asked:
            file.write(Kind.REFUSED, cause=cause, asked=asked, text="x" * 300)
    for part in Part:
        file.write(Kind.DIED, part=part, code=-9)
    assert len(file.read().to_line()) < MAX_BYTES / 10


def test_refusals_are_known_by_what_they_are_about() -> None:
    assert cause_of(HistoryRefused("x")) is Cause.HISTORY
    assert cause_of(ManifestRefused("x")) is Cause.MANIFEST
    assert cause_of(EnclaveRefused("x")) is Cause.OFFER
    assert cause_of(MalformedMessage("x")) is Cause.MALFORMED
    assert cause_of(ConfigurationError("x")) is Cause.CONFIGURATION
    assert cause_of(KeyError("x")) is Cause.DEFECT
