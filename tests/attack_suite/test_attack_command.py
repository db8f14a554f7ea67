"""`fedenclave attack list` and `run`: what they print, write, and end with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedenclave.attack_suite.changed_code import change, copy_of_the_enclave
from fedenclave.attack_suite.registry import everything
from tests.attack_suite.conftest import Command


def test_list_names_every_attack_and_why_some_are_open(attack_command: Command) -> None:
    listed = json.loads(attack_command("list", "--json").out)
    assert [each["id"] for each in listed] == [each.id for each in everything()]
    assert {each["row"] for each in listed if each["open"]} >= {"T1", "T14"}
    assert all(bool(each["reason"]) == each["open"] for each in listed)
    shown = attack_command("list")
    assert shown.status == 0
    assert all(each.id in shown.out for each in everything())


def test_run_says_what_was_tried_what_stopped_it_and_that_it_is_insecure(
    attack_command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    done = attack_command("run", "T06-second-update", "T14", "--out", file)
    assert done.status == 0, done.err
    assert "insecure: development mode" in done.err
    assert "submit another update of c" in done.out
    assert "the enclave rejects: replayed" in done.out
    assert "1 stopped, 1 open" in done.out
    written = json.loads(file.read_text())
    assert (written["held"], written["insecure"]) == (True, True)
    assert [each["ending"] for each in written["attacks"]] == ["open", "stopped"][::-1]
    assert written["attacks"][0]["tries"][0]["stopped_by"] == "the enclave rejects: replayed"


def test_run_prints_json_for_programs_and_nothing_else_on_stdout(attack_command: Command) -> None:
    done = attack_command("run", "T14", "--json")
    assert done.status == 0
    assert json.loads(done.out)["endings"]["open"] == 1


def test_run_against_a_weakened_enclave_is_red_and_ends_with_1(
    attack_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = copy_of_the_enclave(tmp_path / "weak")
    change(code, "enclave/admission.py", "not round_.admitted(header.client)", "True")
    monkeypatch.chdir(tmp_path)  # a relative folder must not be taken for another
    done = attack_command("run", "T06-second-update", "T06-not-asked", "--code", code.name)
    assert done.status == 1
    assert "not stopped: submit another update of c: the update was admitted" in done.out
    assert "1 not stopped, 1 stopped" in done.out
    assert "error: 1 of 2 attacks were not stopped" in done.err


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["run"], 2, "name attacks, or say --all"),
        (["run", "T06", "--all"], 2, "name attacks, or say --all"),
        (["run", "T99"], 1, "error: no attack is called 'T99'"),
        (["run", "T06", "--code", "nowhere"], 1, "holds no copy of the fedenclave package"),
        (["run", "T14", "--out", "/nowhere/report.json"], 1, "error: cannot write the report"),
    ],
)
def test_what_cannot_be_run_says_why(
    attack_command: Command, words: list[str], status: int, says: str
) -> None:
    done = attack_command(*words)
    assert done.status == status
    assert says in " ".join(done.err.split())
    assert not done.out  # and before anything is played


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_everything_is_stopped_in_one_run(attack_command: Command, tmp_path: Path) -> None:
    done = attack_command("run", "--all", "--out", tmp_path / "report.json")
    assert done.status == 0, done.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["endings"]["not stopped"] == report["endings"]["could not be played"] == 0
