"""From the manifest's rule to what the passes do: the table of all rules.

A *mixture* is how much of each update there is in the result. *Coordinates* are rules that combine
every coordinate for itself. Updates come sorted by client, so that a tie is not the host's to
decide.

SPEC.md, section 11.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedenclave.enclave import fixed_point
from fedenclave.enclave.pairs import Gram
from fedenclave.enclave.rules import geometric_median, order_statistics, q_fed_avg, selection
from fedenclave.enclave.rules.own import OwnCombine, own_rule
from fedenclave.enclave.updates import Admitted
from fedenclave.protocol.aggregation import (
    Bulyan,
    GeometricMedian,
    Krum,
    Mean,
    Median,
    MultiKrum,
    OwnRule,
    QFedAvg,
    TrimmedMean,
)
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.floats import MAX_COUNT, WideArray
from fedenclave.protocol.manifest import Rules

ByCoordinate: TypeAlias = Callable[
    [WideArray, NDArray[np.float64], Sequence[int], NDArray[np.uint8]], None
]
"""Takes a tile of shape [K, n], which it may destroy, the result's place of shape [n], the updates'
weights, and scratch of `order_statistics.WORK_SIZE` bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """K numbers, not negative, that add up to 1 at most."""

    coefficients: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinates:
    """The numbers of the updates that take part, and what combines their values."""

    updates: Sequence[int]
    combine: ByCoordinate


Made: TypeAlias = Mixture | Coordinates


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """A rule, ready for a cohort.

    Attributes:
        needs_gram: whether `of` is handed the inner products of every pair of updates.
        needs_tile: whether any pass needs a tile of all updates.
        of: takes the updates and their inner products.
    """

    needs_gram: bool
    needs_tile: bool
    of: Callable[[Sequence[Admitted], Gram | None], Made]


def combination(rules: Rules) -> Combination:
    """Return what the rule of `rules` does.

    Raises:
        RequestRefused: it is a rule of its own that this image does not hold.
    """
    rule = rules.rule
    match rule:
        case Mean():
            return _mixture(lambda updates: fixed_point.shares([u.weight for u in updates]))
        case QFedAvg():
            loss = rules.reported.index(rule.loss)
            return _mixture(lambda updates: _q_fed_avg(updates, rule, loss))
        case Median():
            return _coordinates(lambda tile, out, _, work: order_statistics.median(tile, out, work))
        case TrimmedMean():
            return _coordinates(
                lambda tile, out, _, work: order_statistics.trimmed_mean(
                    tile, rule.cut(len(tile)), out, work
                )
            )
        case Krum():
            return _pairwise(lambda updates, gram: _selected(updates, gram, rule.byzantine, 1))
        case MultiKrum():
            return _pairwise(lambda updates, gram: _multi_krum(updates, gram, rule, rules))
        case Bulyan():
            return _pairwise(lambda _, gram: _bulyan(gram, rule.byzantine))
        case GeometricMedian():
            return _pairwise(lambda updates, gram: _geometric_median(updates, gram, rule))
        case OwnRule():
            return _own(rule, max(rules.max_abs, MAX_COUNT))


def _mixture(coefficients: Callable[[Sequence[Admitted]], Sequence[float]]) -> Combination:
    return Combination(
        needs_gram=False,
        needs_tile=False,
        of=lambda updates, _: Mixture(coefficients=coefficients(updates)),
    )


def _coordinates(combine: ByCoordinate) -> Combination:
    return Combination(
        needs_gram=False,
        needs_tile=True,
        of=lambda updates, _: Coordinates(updates=range(len(updates)), combine=combine),
    )


def _pairwise(of: Callable[[Sequence[Admitted], Gram], Made]) -> Combination:
    def with_gram(updates: Sequence[Admitted], gram: Gram | None) -> Made:
        if gram is None:
            raise ValueError("a pairwise rule without its inner products")
        return of(updates, gram)

    return Combination(needs_gram=True, needs_tile=True, of=with_gram)


def _q_fed_avg(updates: Sequence[Admitted], rule: QFedAvg, loss: int) -> Sequence[float]:
    return q_fed_avg.coefficients(
        [update.square_norm * update.shrink**2 for update in updates],
        [update.metrics[loss] for update in updates],
        q=rule.q,
        client_learning_rate=rule.client_learning_rate,
    )


def _nearest(gram: Gram, byzantine: int, count: int) -> list[int]:
    return selection.select(selection.krum_scores(gram.distances(), byzantine), count)


def _selected(updates: Sequence[Admitted], gram: Gram, byzantine: int, count: int) -> Mixture:
    chosen = _nearest(gram, byzantine, count)
    shares = fixed_point.shares([updates[k].weight for k in chosen])
    coefficients = [0.0] * len(updates)
    for k, share in zip(chosen, shares, strict=True):
        coefficients[k] = share
    return Mixture(coefficients=coefficients)


def _multi_krum(updates: Sequence[Admitted], gram: Gram, rule: MultiKrum, rules: Rules) -> Mixture:
    made = _selected(updates, gram, rule.byzantine, rule.selected)
    parts = zip(updates, made.coefficients, strict=True)
    # One member's several clients could be all that is selected.
    if len({update.organisation for update, part in parts if part}) < rules.min_cohort:
        raise RequestRefused(Refusal.COHORT_TOO_SMALL)
    return made


def _bulyan(gram: Gram, byzantine: int) -> Coordinates:
    chosen, nearest = selection.bulyan_selection(gram.distances(), byzantine)
    return Coordinates(
        updates=sorted(chosen),
        combine=lambda tile, out, _, work: order_statistics.nearest_mean(tile, nearest, out, work),
    )


def _geometric_median(updates: Sequence[Admitted], gram: Gram, rule: GeometricMedian) -> Mixture:
    return Mixture(
        coefficients=geometric_median.coefficients(
            gram.floats(),
            [update.weight for update in updates],
            iterations=rule.iterations,
            smoothing=rule.smoothing,
            tolerance=rule.tolerance,
        )
    )


def _own(rule: OwnRule, bound: float) -> Combination:
    own = own_rule(rule, bound)
    if isinstance(own, OwnCombine):
        return _coordinates(lambda tile, out, weights, _: own(tile, out, weights))
    return _pairwise(
        lambda updates, gram: Mixture(
            coefficients=own(gram.floats(), [update.weight for update in updates])
        )
    )
