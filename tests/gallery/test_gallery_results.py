"""The gallery's federations, run for real, and what it says of them."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fedenclave.cli.attack_gallery import run_gallery, show_gallery
from fedenclave.demo.errors import DeploymentError
from gallery import measure
from gallery.attacks import ATTACKS
from gallery.experiment import Job, Result, jobs, run_job
from gallery.images import MADE_UP
from gallery.settings import FULL, QUICK, Setting
from gallery.summary import summarise

TINY: Setting = dataclasses.replace(QUICK, train_rows=400, test_rows=200, rounds=2)


def run(rule: str, attack: str = "", attackers: int = 0, setting: Setting = TINY) -> Result:
    return run_job(MADE_UP, setting, Job(rule=rule, seed=0, attack=attack, attackers=attackers))


def test_nan_is_rejected_at_admission_and_counted_to_the_attackers() -> None:
    result = run("mean", "nan", 3)
    assert result.rejected_attackers == Counter({"not-finite": 6})
    assert (result.rejected_honest, result.held_back, result.unreleased) == ({}, 0, {})


def test_round_that_too_many_rejections_leave_without_a_release_is_told() -> None:
    result = run("krum", "nan", 2)
    assert result.unreleased == Counter({"cohort-below-min-cohort": 2})
    assert result.rejected_attackers == Counter({"not-finite": 4})


def test_cap_buys_what_the_inflated_claim_would_take() -> None:
    setting = dataclasses.replace(QUICK, rounds=5)
    without, capped = (
        run("mean", attack, 2, setting).accuracy for attack in ("inflated", "inflated-capped")
    )
    assert without < 0.1 < 0.4 < capped


def test_scaling_is_stopped_by_the_median_and_not_by_the_mean() -> None:
    setting = dataclasses.replace(QUICK, rounds=5)
    mean, median = (run(rule, "scaling", 3, setting).accuracy for rule in ("mean", "median"))
    assert mean < 0.3 < 0.5 < median


def test_minority_is_judged_on_its_own_classes_after_every_round() -> None:
    result = run_job(MADE_UP, TINY, Job(rule="mean", seed=0, minority=True))
    assert len(result.own) == len(result.others) == TINY.minority_rounds
    assert result.others[-1] > result.own[-1]


def test_every_rule_is_run_once_for_all_attacks_without_attackers() -> None:
    planned = jobs(FULL, range(2))
    assert len(planned) == len(set(planned)) == 2 * len(FULL.rules) * (1 + 1 + 7 * 4)
    assert sum(not job.attack and not job.minority for job in planned) == 2 * len(FULL.rules)


def made_up_results(seeds: int) -> list[Result]:
    """Return results as if every federation had been run: accuracies by seed, some rejections."""
    results = []
    for job in jobs(QUICK, range(seeds)):
        result = Result(job=job, rounds=3, accuracy=0.5 + 0.1 * job.seed)
        result.own, result.others = [0.0, 0.1, 0.2], [0.5, 0.6, 0.7]
        if job.attack == "nan":
            result.rejected_attackers["not-finite"] = 3 * job.attackers
            result.unreleased["cohort-below-min-cohort"] = 3 if job.rule == "median" else 0
        if job.attack == "scaling":
            result.rejected_honest["over-max-abs"], result.held_back = 2, 1
        results.append(result)
    return results[::-1]


def test_summary_gives_means_over_seeds_and_sums_of_counts() -> None:
    summary = summarise(made_up_results(2), QUICK, images="made-up images", seeds=2)
    cells = {(one["rule"], one["attack"]): one for one in summary["attacked"]}
    assert len(cells) == len(summary["attacked"]) == len(QUICK.rules) * (1 + len(ATTACKS))
    nan = cells["mean", "nan"]
    assert nan["accuracy"]["mean"] == pytest.approx(0.55)
    assert nan["accuracy"]["std"] == pytest.approx(np.std([0.5, 0.6], ddof=1))
    assert nan["rejected_attackers"] == {"not-finite": 18}
    assert (nan["sent_by_attackers"], nan["rounds"], nan["unreleased"]) == (18, 6, {})
    assert cells["median", "nan"]["unreleased"] == {"cohort-below-min-cohort": 6}
    assert [one["rule"] for one in summary["minority"]] == list(QUICK.rules)
    assert summary["minority"][0]["own_by_round"] == pytest.approx([0.0, 0.1, 0.2])
    assert json.loads(json.dumps(summary)) == summary


def test_table_says_what_was_not_admitted_and_what_was_not_released(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedenclave.cli.attack_gallery.out.width", 160)
    show_gallery(summarise(made_up_results(1), QUICK, images="made-up images", seeds=1))
    lines = capsys.readouterr().out.splitlines()
    nan = next(line for line in lines if " nan " in line)
    assert "0.50" in nan
    assert "none" in nan
    assert "18 of 18 not-finite" in nan
    scaling = next(at for at, line in enumerate(lines) if " scaling " in line)
    assert "4 honest over-max-abs" in lines[scaling]
    assert "2 held back by honest clients" in lines[scaling + 1]
    assert any(line.startswith("none: the enclave released no round") for line in lines)


def test_figures_are_drawn_of_any_summary(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib: pip install matplotlib")
    summary = summarise(made_up_results(2), QUICK, images="made-up images", seeds=2)
    files = measure.write(summary, tmp_path)
    assert [path.name for path in files] == ["results.json", "attacks.png", "minority.png"]
    for path in files[1:]:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_panel_says_what_was_rejected() -> None:
    plot = pytest.importorskip("gallery.plot", reason="needs matplotlib: pip install matplotlib")
    summary = summarise(made_up_results(1), QUICK, images="made-up images", seeds=1)
    assert plot.rejected(summary, "nan") == "18 of 18 attackers' updates rejected: not-finite"
    assert plot.rejected(summary, "noise") == "no update rejected"
    assert "2 honest updates held back: not finite" in plot.rejected(summary, "scaling")


def test_failure_of_the_app_is_told_with_its_hint(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="cannot be read") as refused:
        run_gallery(["--out", str(tmp_path), "--quick", "--data", str(tmp_path / "absent")])
    assert "dataset-fashion-mnist" in refused.value.hint


@pytest.mark.slow
def test_quick_gallery_runs_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedenclave.cli.main import run as command

    words = ["simulate", "gallery", "--out", tmp_path, "--quick", "--data", MADE_UP, "--json"]
    monkeypatch.setattr("sys.argv", ["fedenclave", *map(str, words)])
    assert command() == 0
    printed = capsys.readouterr()
    results = json.loads(printed.out)
    assert results == json.loads((tmp_path / "results.json").read_text())
    assert "18 federations on made-up images: about" in printed.err
    cells = {(one["rule"], one["attack"]): one for one in results["attacked"]}
    assert cells["mean", "nan"]["rejected_attackers"] == {"not-finite": 9}
    assert cells["mean", "inflated"]["accuracy"]["mean"] < 0.1
    assert cells["mean", "inflated-capped"]["accuracy"]["mean"] > 0.2
    assert all(not one["rejected_honest"] and not one["held_back"] for one in cells.values())
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.json",
        "attacks.png",
        "minority.png",
    }
