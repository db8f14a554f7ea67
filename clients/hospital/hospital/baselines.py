"""Is taking part worth it? Local, federated and pooled models on every hospital's own test set.

`python -m hospital.baselines --json > results.json`

Three ways to a model, each as good as its training rows allow:
  * local: the hospital alone; ridge logistic regression with the penalty cross-validated on its
    training rows (logistic.py). Switzerland has one healthy patient among 46: alone, it says that
    everybody is ill.
  * federated: FedAvg in memory at the demonstration's setting (federation.DEMO).
  * pooled: the same ridge model on all hospitals' training rows together, which the hospitals may
    not do.

What it is measured on:
  * "flamby": FLamby's own split, `--seeds` seeds. Seeds move the initial model and the shuffles of
    the federated model only, so local and pooled models have no spread there.
  * "splits": `--splits` other splits, drawn in the same way. This is the spread that matters: the
    test sets hold 104, 89, 16 and 45 rows, and one row more or less is 1 to 6 points.
  * "rounds": the federated model after each round on FLamby's split: the models of a real run with
    `--models DIR` (round-00.npz, round-01.npz, ...), else those in memory with seed 0.

Rules:
  * Features are in the agreed scale everywhere, so no way has an advantage from its statistics.
  * A mean over hospitals' accuracies is not given: "all rows" counts every test row once.
  * AUC is None for Switzerland: with one healthy patient it is that patient's rank, nothing more.
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

from hospital.data import HOSPITALS, HeartDataError, HospitalData, HospitalRows, normalise, pool
from hospital.federation import DEMO, fedavg
from hospital.initial_model import initial_parameters, read_parameters
from hospital.logistic import best_alone
from hospital.metrics import Float32Array, evaluate
from hospital.split import train_mask
from hospital.uci import read_federation

METHODS = ("local", "federated", "pooled")
NO_AUC = ("switzerland",)
# Splits are seeded apart from FLamby's 43.
_FIRST_SPLIT = 1000

Models = Mapping[str, Sequence[Float32Array]]
Scores = dict[str, dict[str, float]]


def score(models: Models, hospitals: Sequence[HospitalData]) -> Scores:
    """Judge each hospital's model (by name) on that hospital's own test rows.

    Returns:
        "accuracy" and "auc" by hospital; "accuracy" also over "all rows".
    """
    accuracy: dict[str, float] = {}
    auc: dict[str, float] = {}
    correct = total = 0.0
    for hospital in hospitals:
        result = evaluate(models[hospital.name], hospital.test_features, hospital.test_labels)
        accuracy[hospital.name] = result.accuracy
        correct += result.accuracy * result.num_examples
        total += result.num_examples
        if hospital.name not in NO_AUC and result.auc is not None:
            auc[hospital.name] = result.auc
    accuracy["all rows"] = correct / total
    return {"accuracy": accuracy, "auc": auc}


def shared(parameters: Sequence[Float32Array]) -> Models:
    """Give every hospital the same model."""
    return dict.fromkeys(HOSPITALS, parameters)


def compare(federation: Sequence[HospitalRows], seeds: Sequence[int]) -> dict[str, list[Scores]]:
    """Score every method on one split; the federated one once for each seed."""
    hospitals = [normalise(rows, "agreed") for rows in federation]
    together = best_alone(normalise(pool(federation), "agreed"))
    return {
        "local": [score({one.name: best_alone(one) for one in hospitals}, hospitals)],
        "federated": [score(shared(fedavg(hospitals, DEMO, s)[-1]), hospitals) for s in seeds],
        "pooled": [score(shared(together), hospitals)],
    }


def split_anew(federation: Sequence[HospitalRows], seed: int) -> list[HospitalRows]:
    """Return the same rows in another split."""
    return [
        dataclasses.replace(rows, in_train=train_mask(rows.labels, seed)) for rows in federation
    ]


def summarise(scores: Sequence[Scores]) -> dict[str, dict[str, dict[str, float | None] | None]]:
    """Return mean and standard deviation (n - 1; None for a single value) of each figure."""
    summary: dict[str, dict[str, dict[str, float | None] | None]] = {}
    for metric in ("accuracy", "auc"):
        summary[metric] = {}
        for place in (*HOSPITALS, *(("all rows",) if metric == "accuracy" else ())):
            values = [one[metric][place] for one in scores if place in one[metric]]
            summary[metric][place] = None
            if values:
                spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
                summary[metric][place] = {"mean": float(np.mean(values)), "std": spread}
    return summary


def wins(ours: Sequence[Scores], theirs: Sequence[Scores]) -> dict[str, dict[str, str]]:
    """Count the splits in which `ours` is above and below `theirs`, as "above/below of n"."""
    table: dict[str, dict[str, str]] = {}
    for metric in ("accuracy", "auc"):
        table[metric] = {}
        for place in ours[0][metric]:
            gaps = [
                a[metric][place] - b[metric][place]
                for a, b in zip(ours, theirs, strict=True)
                if place in a[metric] and place in b[metric]
            ]
            above, below = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
            table[metric][place] = f"{above}/{below} of {len(gaps)}"
    return table


def rounds(federation: Sequence[HospitalRows], models: Path | None) -> list[dict[str, float]]:
    """Return the accuracy by hospital after every round, starting with the initial model."""
    hospitals = [normalise(rows, "agreed") for rows in federation]
    if models is None:
        history = [initial_parameters(0), *fedavg(hospitals, DEMO, seed=0)]
    else:
        history = [read_parameters(path) for path in sorted(models.glob("round-*.npz"))]
        if not history:
            hint = "run the app with models-dir set to that folder"
            raise HeartDataError(f"no round-00.npz, round-01.npz, ... in {models}", hint)
    return [score(shared(parameters), hospitals)["accuracy"] for parameters in history]


def measure(seeds: int, splits: int, models: Path | None) -> dict[str, object]:
    """Return everything that the module's first lines promise, ready for JSON."""
    federation = read_federation()
    ours = compare(federation, range(seeds))
    others: dict[str, list[Scores]] = {method: [] for method in METHODS}
    for seed in range(_FIRST_SPLIT, _FIRST_SPLIT + splits):
        for method, scores in compare(split_anew(federation, seed), [seed]).items():
            others[method] += scores
    return {
        "setting": dataclasses.asdict(DEMO),
        "seeds": seeds,
        "num_splits": splits,
        "no_auc": dict.fromkeys(NO_AUC, "one healthy patient"),
        "flamby": {method: summarise(scores) for method, scores in ours.items()},
        "splits": {method: summarise(scores) for method, scores in others.items()},
        "federated_against_local": wins(others["federated"], others["local"]),
        "rounds_from": "run" if models else "memory",
        "rounds": rounds(federation, models),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare local, federated and pooled models."""
    parser = argparse.ArgumentParser(prog="hospital.baselines", description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--models", type=Path, metavar="DIR", help="models of a run, by round")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.seeds < 1 or options.splits < 1:
        parser.error("--seeds and --splits must be positive")
    torch.set_num_threads(1)  # 14 parameters: a second thread only waits.
    try:
        results = measure(options.seeds, options.splits, options.models)
    except HeartDataError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return 1
    print(json.dumps(results, indent=2) if options.json else table(results))
    return 0


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as text for a terminal."""
    lines = []
    for split, title in (
        ("flamby", f"FLamby's split, {results['seeds']} seeds"),
        ("splits", f"{results['num_splits']} other splits, mean ± standard deviation"),
    ):
        for metric in ("accuracy", "auc"):
            places = [name for name, value in results[split]["local"][metric].items() if value]
            lines += ["", f"{metric} on own test rows: {title}", " " * 10]
            lines[-1] += "".join(f"{place:>17}" for place in places)
            for method in METHODS:
                cells = [results[split][method][metric][place] for place in places]
                lines.append(f"{method:<10}" + "".join(f"{_cell(cell):>17}" for cell in cells))
    for metric, counts in results["federated_against_local"].items():
        told = ", ".join(f"{place} {count}" for place, count in counts.items())
        lines += ["", f"splits with federated {metric} above/below local: {told}"]
    return "\n".join(lines[1:])


def _cell(value: Mapping[str, float | None]) -> str:
    spread = value["std"]
    return f"{value['mean']:.3f}" + (f" ± {spread:.3f}" if spread is not None else "")


if __name__ == "__main__":
    sys.exit(main())
