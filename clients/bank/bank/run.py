"""Judge a run: the models that the enclave released, against the same rounds in memory.

A run leaves `round-00.npz`, `round-01.npz`, ... and `run.json` in the folder models-dir: the seed,
and after each round the validation loss that the enclave released, which is of the model before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bank.data import BankData, LoanDataError, pool
from bank.federation import DEMO, federated
from bank.metrics import auc
from bank.moments import moments_of
from bank.parameters import read_parameters
from bank.records import RUN


def judge_run(banks: Sequence[BankData], folder: Path) -> dict[str, Any]:
    """Return what a run released, how far it is from plain averages, and how well its model ranks.

    Raises:
        LoanDataError: the folder holds no run.
    """
    hint = "run the app with models-dir set to that folder"
    try:
        told = json.loads((folder / RUN).read_text(encoding="utf-8"))
        losses = [np.nan if loss is None else float(loss) for loss in told["validation-losses"]]
        seed = int(told["seed"])
        models = [read_parameters(folder / f"round-{at:02d}.npz") for at in range(len(losses) + 1)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise LoanDataError(f"no whole run in {folder}: {error}", hint) from error
    released = int(np.isfinite(losses).sum())
    if released < 2:
        why = f"the run in {folder} has {released} rounds with a release, want at least 2"
        raise LoanDataError(why, hint)
    plain = federated(banks, replace(DEMO, rounds=len(losses)), seed)
    best = int(np.nanargmin(losses))
    gaps = [
        float(np.max(np.abs(np.float64(ours) - theirs)))
        for model, other in zip(models, plain.models, strict=True)
        for ours, theirs in zip(model.arrays(), other.arrays(), strict=True)
    ]
    mean, square = moments_of(pool(banks).train.features)
    return {
        "rounds": len(losses),
        "validation_losses": told["validation-losses"],
        "best_round": best,
        "best_round_in_memory": plain.best_round,
        "largest_difference": max(gaps),
        "moments_difference": float(
            max(np.abs(models[1].mean - mean).max(), np.abs(models[1].square - square).max())
        ),
        "auc": {
            bank.name: auc(models[best].logits(bank.test.features), bank.test.labels)
            for bank in banks
        },
    }
