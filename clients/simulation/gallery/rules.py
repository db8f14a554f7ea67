"""The rules that the gallery compares, with the parameters of a manifest for ten clients.

Each promises as much as ten clients allow: Krum and Multi-Krum need 2f + 3 updates, so f is 3, and
Bulyan needs 4f + 3, so f is 1. The gallery shows more attackers than that, too.
"""

from __future__ import annotations

import dataclasses

from fedenclave.protocol.aggregation import (
    Bulyan,
    GeometricMedian,
    Krum,
    Mean,
    Median,
    MultiKrum,
    Rule,
    TrimmedMean,
)
from fedenclave.protocol.manifest import Rules
from fedenclave.simulation.federation import DEFAULT_RULES

NORM_BOUNDED = "norm-bounded mean"

COMPARED: dict[str, Rule] = {
    "mean": Mean(),
    NORM_BOUNDED: Mean(),
    "median": Median(),
    "trimmed-mean": TrimmedMean(trim=0.3),
    "krum": Krum(byzantine=3),
    "multi-krum": MultiKrum(byzantine=3, selected=7),
    "bulyan": Bulyan(byzantine=1),
    "geometric-median": GeometricMedian(iterations=32, smoothing=1e-6, tolerance=1e-6),
}


def rules_of(name: str, *, weight_cap: int, max_norm: float) -> Rules:
    """Return a manifest's rules.

    Args:
        name: from `COMPARED`.
        weight_cap: what an update's num_examples counts at most.
        max_norm: to which the norm-bounded mean shrinks an update; the others are not bounded.
    """
    rules = dataclasses.replace(DEFAULT_RULES, rule=COMPARED[name], weight_cap=weight_cap)
    if name == NORM_BOUNDED:
        return dataclasses.replace(rules, max_norm=max_norm, over_norm="clip")
    return rules


def tolerated(name: str) -> int | None:
    """Return how many attackers of ten the rule promises to withstand; None for no promise.

    For the rules that weigh updates, if all weigh the same: their promise is about weight.
    """
    rule = COMPARED[name]
    if isinstance(rule, (Krum, MultiKrum, Bulyan)):
        return rule.byzantine
    if isinstance(rule, TrimmedMean):
        return rule.cut(10)
    return 4 if isinstance(rule, (Median, GeometricMedian)) else None
