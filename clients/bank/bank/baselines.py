"""Is taking part worth it? Alone, federated and pooled models on every bank's own test loans.

`python -m bank.baselines --json > results.json`

All are the same model, logistic regression on the same features. Two ways to train it:
  * in rounds (federation.DEMO), the best round by validation loss: "local", "federated", "pooled"
    have the same steps, the same budget and the same way to stop. Local and pooled are federations
    of one.
  * ridge, to the optimum, the penalty cross-validated on training and validation loans together:
    "local-ridge", "pooled-ridge". A single bank with some twenty bad loans stops badly by
    validation loss; ridge is the best that we know for it, and so the rival that counts.

What it is measured on: `--splits` splits of every bank's loans, drawn anew. The spread between
splits is the one that matters: nine test sets hold 4 to 30 bad loans.

Rules:
  * A bank alone standardises with its own moments, federated with those that came through the
    enclave (in memory: their mean), pooled with pooled ones.
  * No test loan has a part in any choice.
  * The AUC is of each bank's own loans, and "mean of banks" counts every bank once. Over all loans
    together it would compare one bank's with another's under different models.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bank.data import BankData, BankRows, LoanDataError, pool, prepared, split_anew
from bank.federation import DEMO, Setting, federated
from bank.lending_club import read_federation
from bank.metrics import (
    TENTH,
    auc,
    brier,
    calibration_error,
    found_in_riskiest,
    log_loss,
    probabilities,
    reliability,
)
from bank.moments import moments_of, standardised
from bank.parameters import Parameters, initial
from bank.run import judge_run
from fedenclave.demo.ridge import cross_validated

METHODS = ("local", "local-ridge", "federated", "pooled", "pooled-ridge")
ALONE, TOGETHER = "local-ridge", "federated"
"""The two that the reading compares: the stronger of a bank's own, and the federation's."""

MEAN = "mean of banks"
OVERALL = ("found in riskiest tenth", "brier", "calibration error", "log loss")
# Splits are seeded apart from the demonstration's own.
_FIRST_SPLIT = 1000

Models = Mapping[str, Parameters]
Predictions = Mapping[str, NDArray[np.float64]]


def ridge(bank: BankData) -> Parameters:
    """Return the ridge model of a bank's training and validation loans."""
    features = np.concatenate([bank.train.features, bank.validation.features])
    labels = np.concatenate([bank.train.labels, bank.validation.labels]).astype(np.float64)
    mean, square = moments_of(features)
    solution = cross_validated(standardised(features, mean, square).astype(np.float64), labels)
    return dataclasses.replace(
        initial(),
        mean=mean,
        square=square,
        weight=solution[None, :-1].astype(np.float32),
        bias=solution[-1:].astype(np.float32),
    )


def models(banks: Sequence[BankData], setting: Setting, seed: int) -> dict[str, Models]:
    """Return every method's model for every bank, by name."""
    together = pool(banks)

    def shared(parameters: Parameters) -> Models:
        return {bank.name: parameters for bank in banks}

    return {
        "local": {bank.name: federated([bank], setting, seed).best for bank in banks},
        "local-ridge": {bank.name: ridge(bank) for bank in banks},
        "federated": shared(federated(banks, setting, seed).best),
        "pooled": shared(federated([together], setting, seed).best),
        "pooled-ridge": shared(ridge(together)),
    }


def predicted(chosen: Models, banks: Sequence[BankData]) -> Predictions:
    """Return the log odds of each bank's own test loans, by its model."""
    return {bank.name: chosen[bank.name].logits(bank.test.features) for bank in banks}


def score(logits: Predictions, banks: Sequence[BankData]) -> dict[str, float]:
    """Return the AUC by bank and its mean, and OVERALL over all test loans."""
    by_bank = {bank.name: auc(logits[bank.name], bank.test.labels) for bank in banks}
    scores = {name: value for name, value in by_bank.items() if value is not None}
    every = np.concatenate([logits[bank.name] for bank in banks])
    labels = np.concatenate([bank.test.labels for bank in banks])
    bad = [float(bank.test.labels.sum()) for bank in banks]
    found = [found_in_riskiest(logits[bank.name], bank.test.labels) for bank in banks]
    figures = (
        float(np.average(found, weights=bad)),
        brier(probabilities(every), labels),
        calibration_error(reliability(probabilities(every), labels)),
        log_loss(every, labels),
    )
    mean = float(np.mean(list(scores.values())))
    return {**scores, MEAN: mean, **dict(zip(OVERALL, figures, strict=True))}


def compare(
    federation: Sequence[BankRows], splits: int, setting: Setting = DEMO
) -> tuple[dict[str, list[dict[str, float]]], dict[str, list[dict[str, float]]]]:
    """Score every method on every split.

    Returns:
        Scores by method, one for each split; and each method's reliability over all splits' test
        loans together.
    """
    scores: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    seen: dict[str, list[NDArray[np.float64]]] = {method: [] for method in METHODS}
    outcomes: list[NDArray[np.float32]] = []
    for seed in range(_FIRST_SPLIT, _FIRST_SPLIT + splits):
        banks = [prepared(split_anew(rows, seed, number)) for number, rows in enumerate(federation)]
        outcomes += [bank.test.labels for bank in banks]
        for method, chosen in models(banks, setting, seed).items():
            logits = predicted(chosen, banks)
            scores[method].append(score(logits, banks))
            seen[method] += [logits[bank.name] for bank in banks]
    labels = np.concatenate(outcomes)
    bins = {
        method: [
            dataclasses.asdict(one)
            for one in reliability(probabilities(np.concatenate(logits)), labels)
        ]
        for method, logits in seen.items()
    }
    return scores, bins


def summarise(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """Return mean and standard deviation (n - 1; None for a single value) of each figure."""
    summary: dict[str, dict[str, float | None]] = {}
    for figure in scores[0]:
        values = [one[figure] for one in scores]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        summary[figure] = {"mean": float(np.mean(values)), "std": spread}
    return summary


def wins(
    ours: Sequence[Mapping[str, float]],
    theirs: Sequence[Mapping[str, float]],
    places: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Return how often `ours` is above and below in the same split, and the mean difference."""
    table = {}
    for place in places:
        gaps = [a[place] - b[place] for a, b in zip(ours, theirs, strict=True)]
        table[place] = {
            "above": sum(gap > 0 for gap in gaps),
            "below": sum(gap < 0 for gap in gaps),
            "gain": float(np.mean(gaps)),
        }
    return table


def constant(federation: Sequence[BankRows]) -> dict[str, float]:
    """Return what a constant gets that knows the share of bad loans: the scores' zero."""
    labels = np.concatenate([rows.labels for rows in federation])
    share = float(labels.mean())
    logits = np.full(len(labels), np.log(share / (1 - share)))
    return {
        "brier": brier(np.full(len(labels), share), labels),
        "log loss": log_loss(logits, labels),
        "found in riskiest tenth": TENTH,
    }


def measure(splits: int, run: Path | None) -> dict[str, Any]:
    """Return everything that the module's first lines promise, ready for JSON."""
    federation = read_federation()
    scores, bins = compare(federation, splits)
    places = [rows.name for rows in federation]
    return {
        "setting": dataclasses.asdict(DEMO),
        "num_splits": splits,
        "loans": {
            rows.name: {"loans": len(rows.labels), "bad": int(rows.labels.sum())}
            for rows in federation
        },
        "banks": places,
        "splits": {method: summarise(values) for method, values in scores.items()},
        "gain": wins(scores[TOGETHER], scores[ALONE], [*places, MEAN]),
        "gain_same_recipe": wins(scores[TOGETHER], scores["local"], [*places, MEAN]),
        "loss_against_pooling": wins(scores[TOGETHER], scores["pooled-ridge"], [*places, MEAN]),
        "constant": constant(federation),
        "reliability": bins,
        "run": judge_run([prepared(rows) for rows in federation], run) if run else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare models of banks alone, of the federation, and of pooled loans."""
    parser = argparse.ArgumentParser(prog="bank.baselines", description=main.__doc__)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--run", type=Path, metavar="DIR", help="models of a run, by round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.splits < 1:
        parser.error("--splits must be positive")
    torch.set_num_threads(1)  # 20 parameters: a second thread only waits.
    try:
        results = measure(options.splits, options.run)
    except LoanDataError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return 1
    print(json.dumps(results, indent=2) if options.json else table(results))
    return 0


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as text for a terminal."""
    lines = [f"{results['num_splits']} splits, mean ± standard deviation", f"{'AUC':<26}"]
    lines[-1] += "".join(f"{method:>16}" for method in METHODS)
    for figure in (*results["banks"], MEAN, *OVERALL):
        cells = [results["splits"][method][figure] for method in METHODS]
        lines.append(f"{figure:<26}" + "".join(f"{_cell(cell):>16}" for cell in cells))
    for title, key in (("local-ridge", "gain"), ("local", "gain_same_recipe")):
        of_all = results[key][MEAN]
        lines.append(
            f"federated against {title}: {of_all['gain']:+.3f}, above in {of_all['above']} of "
            f"{results['num_splits']} splits"
        )
    return "\n".join(lines)


def _cell(value: Mapping[str, float | None]) -> str:
    spread = value["std"]
    return f"{value['mean']:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")


if __name__ == "__main__":
    sys.exit(main())
