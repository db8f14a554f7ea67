"""FLamby's FedAvg with every update sealed, and averaged by a real enclave process.

`python -m hospital.sealed --seeds 5`: the figure that reference.py reproduces in memory, through
nonce, evidence, announcement, sealing, admission, exact averaging, release and receipts.

Rules:
  * Shuffles are seeded as in federation.py, so the two agree but for the rounding of an average.
  * Every round's every receipt is verified; one that is missing is an error.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import numpy as np
import torch

from fedenclave.protocol.errors import FedEnclaveError
from fedenclave.simulation.federation import Arrays, SimulatedFederation
from hospital.data import HOSPITALS, HeartDataError, HospitalData, normalise, pool
from hospital.federation import FLAMBY, fedavg
from hospital.initial_model import NAMES, initial_parameters
from hospital.metrics import evaluate
from hospital.reference import PUBLISHED
from hospital.training import local_round
from hospital.uci import read_federation

# FLamby, table of results for Fed-Heart-Disease: FedAvg's standard deviation.
PUBLISHED_STD = 0.027


def train_sealed(hospitals: Sequence[HospitalData], seed: int) -> tuple[Arrays, int]:
    """Return the last released model and how many receipts were verified."""
    by_name = {hospital.name: hospital for hospital in hospitals}
    first = dict(zip(NAMES, initial_parameters(seed), strict=True))
    receipts = 0
    with SimulatedFederation.create(first, clients=list(HOSPITALS)) as federation:
        for number in range(1, FLAMBY.rounds + 1):

            def train(name: str, arrays: Arrays, number: int = number) -> tuple[Arrays, int]:
                parameters, examples = local_round(
                    [arrays[key] for key in NAMES],
                    by_name[name],
                    updates=FLAMBY.updates,
                    batch_size=FLAMBY.batch_size,
                    learning_rate=FLAMBY.learning_rate,
                    optimiser=FLAMBY.optimiser,
                    seed=(seed, number, HOSPITALS.index(name)),
                )
                return dict(zip(NAMES, parameters, strict=True)), examples

            outcome = federation.run_round(train)
            if len(outcome.receipts) != len(HOSPITALS):
                raise RuntimeError(f"round {number} gave {len(outcome.receipts)} receipts, want 4")
            receipts += len(outcome.receipts)
        return {name: array.copy() for name, array in federation.arrays().items()}, receipts


def reproduce(seeds: int) -> dict[str, object]:
    """Return the pooled-test accuracy over seeds from 0, and how far plain averaging is."""
    federation = read_federation()
    hospitals = [normalise(rows) for rows in federation]
    pooled = normalise(pool(federation))
    accuracies, differences, receipts = [], [], 0
    for seed in range(seeds):
        sealed, count = train_sealed(hospitals, seed)
        plain = fedavg(hospitals, FLAMBY, seed)[-1]
        parameters = [sealed[name] for name in NAMES]
        pairs = zip(parameters, plain, strict=True)
        differences.append(max(float(np.max(np.abs(a - b))) for a, b in pairs))
        test = evaluate(parameters, pooled.test_features, pooled.test_labels)
        accuracies.append(test.accuracy)
        receipts += count
    return {
        "seeds": seeds,
        "accuracies": accuracies,
        "mean": float(np.mean(accuracies)),
        "std": float(np.std(accuracies, ddof=1)) if seeds > 1 else None,
        "published_mean": PUBLISHED["fedavg"],
        "published_std": PUBLISHED_STD,
        "largest_difference": max(differences),
        "receipts": receipts,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the result as JSON."""
    parser = argparse.ArgumentParser(prog="hospital.sealed", description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="as always; for symmetry")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}, want at least 1")
    torch.set_num_threads(1)  # 14 parameters: a second thread only waits.
    try:
        print(json.dumps(reproduce(options.seeds), indent=2))
    except (HeartDataError, FedEnclaveError) as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
