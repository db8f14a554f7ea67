"""What `fedenclave demo` prints around a demonstration that is not run here."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedenclave.cli import demo
from fedenclave.demo.changed_app import ChangedApp
from fedenclave.demo.tee import Tee
from tests.cli.conftest import Command

PLACE = {"accuracy": {"cleveland": {"mean": 0.8, "std": 0.1}}, "auc": {"cleveland": None}}
RESULTS = {
    "num_splits": 20,
    "splits": {"local": PLACE, "federated": PLACE, "pooled": PLACE},
    "rounds": [{"cleveland": 0.8}],
    "federated_against_local": {"accuracy": {"cleveland": "1/2"}, "auc": {"cleveland": "1/2"}},
}
REFUSAL = "evidence is refused: [red]measurement[/red] of [/tmp/x]"


def test_folders_and_refusals_print_as_they_are(
    fedenclave: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "[bold] demo"

    def run_demo(folder: Path, *, say: Any, advance: Any, **_: object) -> object:
        say("folder", f"replacing what an earlier demonstration left in {folder.name}")
        return SimpleNamespace(
            folder=folder,
            tee=Tee.INSECURE,
            results=RESULTS,
            receipts={},
            contradictions=[],
            swapped_file="enclave/admission.py",
            changed_app=ChangedApp(
                taken_out="app = ClientApp(mods=[confidential()])",
                refusals={"a": "app [red]12[/red] is not approved"},
                answered=0,
                has_run=False,
            ),
            refusals=[REFUSAL],
            sealed_for_swapped=[],
            holds=True,
        )

    monkeypatch.setattr(demo, "load_hospital", lambda: SimpleNamespace(run_demo=run_demo))
    done = fedenclave("demo", "--folder", folder)
    assert done.status == 0
    assert "left in [bold] demo" in done.err
    assert REFUSAL in done.out
    assert "app = ClientApp(mods=[confidential()])" in done.out
    assert "app [red]12[/red] is not approved" in done.out
    assert "no line of it ran" in done.out
    assert f" in {folder}:\n" in done.out
    assert f"receipts verify {shlex.quote(f'{folder}/hospitals/cleveland')}\n" in done.out
