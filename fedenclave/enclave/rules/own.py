"""A rule of the federation's own: one file in `fedenclave/enclave/own_rules`, measured like all.

The file defines exactly one of:

    def combine(tile, out, weights, parameters): ...
        Write the combined value of every coordinate: tile is [K, n] float32 or float64, one row
        for each client in the order of their names, and may be destroyed; out is [n] float64.

    def coefficients(gram, weights, parameters): ...
        Return how much of each update there is in the result: K numbers, not negative, that add up
        to 1 at most; gram is [K, K] float64, the inner products of the updates.

`weights` are the K updates' weights, positive integers; `parameters` the numbers of the manifest's
[aggregation.parameters] by name. The result must not depend on anything else: no clock, no
randomness, and nothing of an element of one run of columns in another's.

The members approve the measurement of an image that holds the file, so its code is as trusted as
the rest of the enclave. What it returns is checked all the same: a slip there must not overflow the
exact sum or release an infinity.

SPEC.md, section 11.2.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedenclave.protocol.aggregation import OwnRule
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.floats import WideArray

_PACKAGE = "fedenclave.enclave.own_rules"
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A loaded rule: `combine`, or where that is None, `mixed`."""

    combine: Callable[[WideArray, NDArray[np.float64], Sequence[int]], None] | None
    mixed: Callable[[Sequence[int], NDArray[np.float64]], Sequence[float]]


def own_combination(rule: OwnRule, bound: float) -> Own:
    """Load the rule's file.

    Args:
        rule: its name and parameters.
        bound: largest magnitude of a combined value.

    Raises:
        RequestRefused: this image holds no such file, or it defines not exactly one of the two.
    """
    try:
        module = importlib.import_module(f"{_PACKAGE}.{rule.name}")
    except Exception:  # the file runs when it is loaded, and may fail as it likes
        raise RequestRefused(Refusal.RULE) from None
    combine, coefficients = (getattr(module, n, None) for n in ("combine", "coefficients"))
    if callable(combine) == callable(coefficients):
        raise RequestRefused(Refusal.RULE)
    parameters = dict(rule.parameters)

    def checked_combine(tile: WideArray, out: NDArray[np.float64], weights: Sequence[int]) -> None:
        called(combine, tile, out, weights, parameters)
        # What admission bounds each element by bounds any of a rule's, too.
        if not (np.abs(out) <= bound).all():
            raise RequestRefused(Refusal.RULE)

    def checked_coefficients(weights: Sequence[int], gram: NDArray[np.float64]) -> Sequence[float]:
        made: list[float] = called(_as_floats, called(coefficients, gram, weights, parameters))
        right = len(made) == len(weights) and all(math.isfinite(c) and c >= 0 for c in made)
        if not right or math.fsum(made) > 1 + _ROUNDING:
            raise RequestRefused(Refusal.RULE)
        return made

    return Own(combine=checked_combine if callable(combine) else None, mixed=checked_coefficients)


def _as_floats(made: Any) -> list[float]:
    return [float(coefficient) for coefficient in made]


def called(function: Any, *arguments: object) -> Any:
    """Call the federation's own function; whatever it raises is that the rule is unusable.

    Raises:
        RequestRefused: it raised. The text stays inside: it could hold members' values.
    """
    try:
        return function(*arguments)
    except Exception:
        raise RequestRefused(Refusal.RULE) from None
