"""What `fedenclave demo scans` prints around a demonstration that is not run here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedenclave.audit.folder import JudgedFile
from fedenclave.demo import scans
from fedenclave.demo.scans import ScansResult
from fedenclave.protocol.digests import sha256, to_text
from tests.cli.conftest import Command

DATA = sha256(b"pictures")
CELL = {"mean": 0.5, "std": 0.1}
RESULTS: dict[str, Any] = {
    "seeds": 1,
    "setting": {"rounds": 1},
    "data": [{"north": to_text(DATA)}],
    "accuracy": {method: {"north": CELL} for method in ("local", "federated", "pooled")},
    "federated_above_local": {"north": 0},
}


def receipt(data: bytes | None) -> JudgedFile:
    verified = None if data is None else SimpleNamespace(data=data)
    return JudgedFile(path=Path("r"), verified=verified, problem="")  # type: ignore[arg-type]


def result(**changes: Any) -> ScansResult:
    made = ScansResult(
        folder=Path("x"),
        images="[bold]made-up images",
        results=RESULTS,
        receipts={"north": [receipt(DATA)]},
        contradictions=[],
        rounds=1,
    )
    return replace(made, **changes)


def test_only_a_valid_receipt_for_every_update_that_names_the_pictures_holds() -> None:
    assert result().holds
    for files in ([], [receipt(None)], [receipt(sha256(b"other"))], [receipt(DATA)] * 2):
        assert not result(receipts={"north": files}).holds
    assert not result(receipts={}).holds
    assert not result(contradictions=["two receipts"]).holds
    assert not result(rounds=2).holds


def test_the_table_says_how_it_was_and_that_it_is_insecure(
    fedenclave: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run_scans(folder: Path, *, say: Any, advance: Any, **_: object) -> ScansResult:
        say("pictures", "[red] each")
        advance(1, 2)
        return result(folder=folder)

    monkeypatch.setattr(scans, "run_scans", run_scans)
    done = fedenclave("demo", "scans", "--folder", tmp_path / "[x]")
    assert done.status == 0, done.err
    assert ".500±.100" in done.out
    assert "0 of 1" in done.out
    assert "nobody's scans" in done.out
    assert "[bold]made-up images" in done.out
    assert "receipts: 1 of 1 valid" in done.out
    assert "insecure: a simulation in development mode" in done.err
    assert "[red] each" in done.err


def test_what_does_not_hold_ends_with_one_and_says_so(
    fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = result(receipts={"north": [receipt(None)]})
    monkeypatch.setattr(scans, "run_scans", lambda folder, **_: failed)
    done = fedenclave("demo", "scans", "--json")
    assert done.status == 1
    said = json.loads(done.out)
    assert (said["holds"], said["insecure"]) == (False, True)
    assert "error: a receipt is missing, proves nothing, or names other data" in done.err


def test_an_option_before_the_name_is_refused_and_nothing_runs(fedenclave: Command) -> None:
    done = fedenclave("demo", "--rounds", 2, "scans")
    assert done.status == 2
    assert "name --rounds behind scans" in done.err
