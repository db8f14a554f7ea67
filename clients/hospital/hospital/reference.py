"""FLamby's published table for Fed-Heart-Disease, made again: `python -m hospital.reference`.

What is done, and where it differs from FLamby:
  * Same rows, same split, logistic regression 13 to 1, batch 4, loss at the sigmoid. Every hospital
    normalises with its own training statistics.
  * FedAvg: SGD 1e-3, 100 updates x 15 rounds, weighted by training rows. Shuffling starts afresh
    every round, where FLamby's loader carries on in the middle of an epoch.
  * Pooled and Local 0 (Cleveland alone): Adam 1e-3, 50 epochs.
  * The figure is accuracy on Pooled Test: all 254 test rows, normalised with *pooled* training
    statistics, also for a model that was trained on other ones. That is FLamby's choice.
  * Seeds set the initial model and the shuffles through numpy, so single seeds do not match
    FLamby's; means and spreads do.

These models are not trained to the end, and one split's figures move by several points when the
rows are split anew. For what a hospital gains or loses by taking part see baselines.py.

Published: FLamby (NeurIPS 2022), results of 5 seeds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import numpy as np
import torch

from hospital.data import HeartDataError, HospitalData, normalise, pool
from hospital.federation import FLAMBY, fedavg
from hospital.initial_model import initial_parameters
from hospital.metrics import Float32Array, evaluate
from hospital.training import local_round
from hospital.uci import read_federation

PUBLISHED = {"pooled": 0.7953, "local 0": 0.7843, "fedavg": 0.7480}
EPOCHS = 50


def train_alone(hospital: HospitalData, seed: int) -> list[Float32Array]:
    """Return FLamby's single-centre model: Adam 1e-3, batch 4, 50 epochs."""
    batches = -(-len(hospital.train_labels) // FLAMBY.batch_size)
    return local_round(
        initial_parameters(seed),
        hospital,
        updates=EPOCHS * batches,
        batch_size=FLAMBY.batch_size,
        learning_rate=1e-3,
        optimiser="adam",
        seed=(seed, 0),
    )[0]


def reproduce(seeds: int) -> dict[str, list[float]]:
    """Return the pooled-test accuracy of each method for each seed from 0."""
    federation = read_federation()
    hospitals = [normalise(rows) for rows in federation]
    pooled = normalise(pool(federation))

    def score(parameters: list[Float32Array]) -> float:
        return evaluate(parameters, pooled.test_features, pooled.test_labels).accuracy

    return {
        "pooled": [score(train_alone(pooled, seed)) for seed in range(seeds)],
        "local 0": [score(train_alone(hospitals[0], seed)) for seed in range(seeds)],
        "fedavg": [score(fedavg(hospitals, FLAMBY, seed)[-1]) for seed in range(seeds)],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print pooled-test accuracy beside FLamby's published figures."""
    parser = argparse.ArgumentParser(prog="hospital.reference", description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error(f"--seeds is {options.seeds}, want at least 2")
    torch.set_num_threads(1)  # 14 parameters: a second thread only waits.
    try:
        results = reproduce(options.seeds)
    except HeartDataError as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(results, indent=2))
        return 0
    print(f"pooled-test accuracy, {options.seeds} seeds   here            published")
    for method, values in results.items():
        here = f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"
        print(f"{method:<30} {here}   {PUBLISHED[method]:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
