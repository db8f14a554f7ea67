"""Is it worth it? Each hospital alone, all through an enclave, all pictures in one place.

`python -m scans.measure --folder DIR --seeds 3` reads DIR/seed-N/HOSPITAL, where each hospital's
pictures lie sealed beside their keyring, and prints one JSON object a line: what is planned, what
is done, and at last the results. It writes the receipts, and the manifest to judge them by, into
DIR/seed-N.

Rules:
  * The same network, optimiser and number of passes over the pictures for everybody.
  * Alone and pooled, the pass with the best accuracy on validation pictures is kept; together, it
    is the last round, for no hospital tells what it found. So the comparison favours the others.
  * No choice is made by test pictures. Rounds and learning rate were chosen by the validation
    pictures of seed 0.

Not a deployment: one process holds every hospital's keys. The updates are sealed, admitted,
averaged and receipted as in one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset, TensorDataset

from fedenclave.datasets.node_data import NodeData
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.errors import FedEnclaveError
from fedenclave.simulation.federation import SimulatedFederation
from scans.holdings import Holdings, Picture, ScansError, holdings
from scans.initial_model import Arrays, initial_arrays
from scans.training import Setting, accuracy, train

ROUNDS = 16
SETTING = Setting(epochs=2, batch_size=32, learning_rate=0.008)
METHODS = ("local", "federated", "pooled")
ALL = "all pictures"
_PASSPHRASE = "keyring.passphrase"
HINT = "fedenclave demo scans makes the folder"

Pictures = Mapping[str, Dataset[Picture]]
Scores = dict[str, dict[str, float]]


def hospitals_in(folder: Path, stack: ExitStack) -> dict[str, Holdings]:
    """Return every hospital's holdings, open until the stack is closed.

    Raises:
        FedEnclaveError, ScansError: they cannot be read.
    """
    found = {}
    for place in sorted(path.parent for path in folder.glob("*/keyring")):
        data = NodeData(dataset="sealed", keys="keyring:keyring", passphrase_file=_PASSPHRASE)
        dataset = data.below(place).open()
        if dataset is not None:
            found[place.name] = holdings(stack.enter_context(dataset))
    if len(found) < 2:
        raise ScansError(f"{folder} holds {len(found)} hospitals' sealed pictures, want 2", HINT)
    return found


def federated(
    hospitals: Mapping[str, Holdings], folder: Path, seed: int, done: Callable[[], None]
) -> Arrays:
    """Return the last released model; write manifest and receipts below `folder`.

    Raises:
        ScansError: a hospital got no receipt.
    """

    digests = {name: held.lineage.digest for name, held in hospitals.items()}
    first = initial_arrays(seed)
    with SimulatedFederation.create(first, clients=list(hospitals)) as federation:
        for number in range(1, ROUNDS + 1):

            def local(name: str, arrays: Arrays, number: int = number) -> tuple[Arrays, int]:
                pictures = hospitals[name].parts["train"]
                return train(arrays, pictures, SETTING, _order(seed, number)), len(pictures)

            outcome = federation.run_round(local, data=digests)
            if set(outcome.receipts) != set(hospitals):
                raise ScansError(f"round {number} gave {len(outcome.receipts)} receipts", HINT)
            done()
        manifest = next(iter(federation.sessions.values())).manifest
        (folder / "federation.toml").write_bytes(manifest.source)
        for name, store in federation.stores.items():
            target = folder / name / "receipts"
            target.mkdir(exist_ok=True)
            for file, receipt in store.receipts.items():
                (target / file).write_bytes(receipt)
        return {name: array.copy() for name, array in federation.arrays().items()}


def best(
    pictures: Dataset[Picture], validation: Dataset[Picture], seed: int, done: Callable[[], None]
) -> Arrays:
    """Return the model of that pass which names most of the validation pictures."""
    arrays = initial_arrays(seed)
    kept, most = arrays, -1.0
    for number in range(1, ROUNDS + 1):
        arrays = train(arrays, pictures, SETTING, _order(seed, number))
        if (found := accuracy(arrays, validation)) > most:
            kept, most = arrays, found
        done()
    return kept


def _order(seed: int, number: int) -> int:
    """Return the seed of a round's shuffles."""
    return seed * 1000 + number


def in_memory(pictures: Dataset[Picture]) -> Dataset[Picture]:
    """Return pictures that are asked for again and again, read once."""
    read = [pictures[i] for i in range(len(pictures))]
    return TensorDataset(torch.stack([x for x, _ in read]), torch.tensor([y for _, y in read]))


def compare(folder: Path, seed: int, done: Callable[[], None]) -> tuple[Scores, dict[str, str]]:
    """Return accuracy by method and place, and what each hospital's data are called in the log."""
    with ExitStack() as stack:
        hospitals = hospitals_in(folder, stack)
        validation = {n: in_memory(h.parts["validation"]) for n, h in hospitals.items()}
        tests = {n: in_memory(h.parts["test"]) for n, h in hospitals.items()}
        shared = federated(hospitals, folder, seed, done)
        alone = {
            name: best(held.parts["train"], validation[name], seed, done)
            for name, held in hospitals.items()
        }
        together = ConcatDataset([held.parts["train"] for held in hospitals.values()])
        pooled = best(together, ConcatDataset(list(validation.values())), seed, done)
        models = {
            "local": alone,
            "federated": dict.fromkeys(hospitals, shared),
            "pooled": dict.fromkeys(hospitals, pooled),
        }
        digests = {name: to_text(held.lineage.digest) for name, held in hospitals.items()}
        return {method: score(own, tests) for method, own in models.items()}, digests


def score(models: Mapping[str, Arrays], tests: Pictures) -> dict[str, float]:
    """Return each hospital's accuracy on its own test pictures, and the mean of all on everybody's.

    The latter is what a hospital's model is worth for a patient whom it has not seen the like of.
    """
    everybody = ConcatDataset(list(tests.values()))
    own = {name: accuracy(model, tests[name]) for name, model in models.items()}
    return {**own, ALL: float(np.mean([accuracy(m, everybody) for m in models.values()]))}


def summarise(scores: Sequence[Scores]) -> dict[str, object]:
    """Return mean and standard deviation over the seeds, and where federated is above local."""
    places = list(scores[0]["local"])
    table = {
        method: {place: _spread([each[method][place] for each in scores]) for place in places}
        for method in METHODS
    }
    wins = {
        place: sum(each["federated"][place] > each["local"][place] for each in scores)
        for place in places
    }
    return {"accuracy": table, "federated_above_local": wins}


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std}


def measure(folder: Path, seeds: int) -> Iterator[dict[str, object]]:
    """Yield what is planned, what is done, and the results."""
    steps, reached = seeds * ROUNDS, 0
    hospitals = len(list((folder / "seed-0").glob("*/keyring")))
    # One for each round together, alone at each hospital, and pooled.
    yield {"planned": steps * (hospitals + 2)}

    def done() -> None:
        nonlocal reached
        reached += 1
        print(json.dumps({"done": reached}), flush=True)

    scores, digests = [], []
    for seed in range(seeds):
        found, named = compare(folder / f"seed-{seed}", seed, done)
        scores.append(found)
        digests.append(named)
    yield {
        "results": {
            "setting": {"rounds": ROUNDS, **dataclasses.asdict(SETTING)},
            "seeds": seeds,
            "by_seed": scores,
            "data": digests,
            **summarise(scores),
        }
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare local, federated and pooled models."""
    parser = argparse.ArgumentParser(prog="scans.measure", description=main.__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}, want at least 1")
    torch.set_num_threads(1)  # So small a network: a second thread only waits.
    try:
        for line in measure(options.folder, options.seeds):
            print(json.dumps(line), flush=True)
    except (ScansError, FedEnclaveError) as error:
        print(f"error: {error}\nhint: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
