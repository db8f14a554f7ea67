"""Results of many federations as one JSON object: what the table and the figures show."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gallery.attacks import ATTACKS
from gallery.experiment import Result
from gallery.holdings import MINORITY_CLASSES
from gallery.rules import COMPARED, tolerated
from gallery.settings import CLIENTS, Setting


def summarise(
    results: Sequence[Result], setting: Setting, *, images: str, seeds: int
) -> dict[str, Any]:
    """Return the gallery's figures.

    Returns:
        "attacked" has an entry for each rule, attack and number of attackers (attack "" for none);
        "minority" one for each rule. Accuracies are over seeds, counts are sums.
    """
    cells: dict[tuple[bool, str, int, str], list[Result]] = {}
    for result in sorted(results, key=lambda one: one.job.seed):
        job = result.job
        cells.setdefault((job.minority, job.attack, job.attackers, job.rule), []).append(result)
    order = {name: place for place, name in enumerate(("", *ATTACKS))}
    places = sorted(cells, key=lambda key: (order[key[1]], key[2], setting.rules.index(key[3])))
    return {
        "images": images,
        "clients": CLIENTS,
        "seeds": seeds,
        "setting": {
            **dataclasses.asdict(setting),
            "attackers": list(setting.attackers),
            "rules": list(setting.rules),
        },
        "rules": {
            name: {
                "rule": COMPARED[name].RULE,
                **dataclasses.asdict(COMPARED[name]),
                "withstands": tolerated(name),
            }
            for name in setting.rules
        },
        "attacks": {
            name: {"title": attack.title, "does": attack.does} for name, attack in ATTACKS.items()
        },
        "minority_classes": list(MINORITY_CLASSES),
        "attacked": [_attacked(cells[key]) for key in places if not key[0]],
        "minority": [_minority(cells[key]) for key in places if key[0]],
    }


def _attacked(results: Sequence[Result]) -> dict[str, Any]:
    job = results[0].job
    rounds = sum(one.rounds for one in results)
    return {
        "rule": job.rule,
        "attack": job.attack,
        "attackers": job.attackers,
        "accuracy": spread([one.accuracy for one in results]),
        "rounds": rounds,
        "sent_by_attackers": rounds * job.attackers,
        **_counts(results),
    }


def _minority(results: Sequence[Result]) -> dict[str, Any]:
    return {
        "rule": results[0].job.rule,
        "own": spread([one.own[-1] for one in results]),
        "others": spread([one.others[-1] for one in results]),
        "own_by_round": _by_round([one.own for one in results]),
        "others_by_round": _by_round([one.others for one in results]),
        "rounds": sum(one.rounds for one in results),
        **_counts(results),
    }


def _counts(results: Sequence[Result]) -> dict[str, Any]:
    return {
        "rejected_attackers": _sum([one.rejected_attackers for one in results]),
        "rejected_honest": _sum([one.rejected_honest for one in results]),
        "held_back": sum(one.held_back for one in results),
        "unreleased": _sum([one.unreleased for one in results]),
    }


def _sum(counters: Sequence[Counter[str]]) -> dict[str, int]:
    return dict(sorted(sum(counters, Counter()).items()))


def _by_round(curves: Sequence[Sequence[float]]) -> list[float]:
    return [float(value) for value in np.mean(curves, axis=0)]


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean and standard deviation (n - 1; None for a single value)."""
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "std": std}
