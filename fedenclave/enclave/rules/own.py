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
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedenclave.protocol.aggregation import OwnRule
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.floats import WideArray

_PACKAGE = "fedenclave.enclave.own_rules"
_ROUNDING = 1e-9


class OwnCombine:
    """The file's `combine`, checked."""

    def __init__(self, combine: Any, parameters: Mapping[str, float], bound: float) -> None:
        """Take the function, the manifest's numbers, and a combined value's largest magnitude."""
        self._combine, self._parameters, self._bound = combine, dict(parameters), bound

    def __call__(self, tile: WideArray, out: NDArray[np.float64], weights: Sequence[int]) -> None:
        """Write the combined values of `tile`, [K, n], to `out`, [n].

        Raises:
            RequestRefused: the function raised, or a value is not finite or too large.
        """
        _called(self._combine, tile, out, weights, self._parameters)
        # What admission bounds each element by bounds any of a rule's, too.
        if not (np.abs(out) <= self._bound).all():
            raise RequestRefused(Refusal.RULE)


class OwnCoefficients:
    """The file's `coefficients`, checked."""

    def __init__(self, coefficients: Any, parameters: Mapping[str, float]) -> None:
        """Take the function and the manifest's numbers."""
        self._coefficients, self._parameters = coefficients, dict(parameters)

    def __call__(self, gram: NDArray[np.float64], weights: Sequence[int]) -> Sequence[float]:
        """Return K coefficients for the inner products `gram`, [K, K].

        Raises:
            RequestRefused: the function raised, or returned anything else.
        """
        made = _called(self._coefficients, gram, weights, self._parameters)
        found: list[float] = _called(lambda: [float(coefficient) for coefficient in made])
        right = len(found) == len(weights) and all(math.isfinite(c) and c >= 0 for c in found)
        if not right or math.fsum(found) > 1 + _ROUNDING:
            raise RequestRefused(Refusal.RULE)
        return found


def own_rule(rule: OwnRule, bound: float) -> OwnCombine | OwnCoefficients:
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
    if callable(combine):
        return OwnCombine(combine, rule.parameters, bound)
    return OwnCoefficients(coefficients, rule.parameters)


def _called(function: Any, *arguments: object) -> Any:
    """Call the federation's own function; whatever it raises is that the rule is unusable.

    Raises:
        RequestRefused: it raised. The text stays inside: it could hold members' values.
    """
    try:
        return function(*arguments)
    except Exception:
        raise RequestRefused(Refusal.RULE) from None
