"""Which cohorts were released on which base model (T5).

Two releases on one base model whose cohorts differ by a few organisations would, subtracted, show
what those few contributed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set as AbstractSet

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused


class CohortHistory:
    """The organisations of every release so far, by base model."""

    def __init__(self, min_cohort: int) -> None:
        """Refuse cohorts that differ by fewer than `min_cohort` organisations."""
        self._min_cohort = min_cohort
        self._released: defaultdict[Digest, list[frozenset[str]]] = defaultdict(list)

    def check(self, base: Digest, organisations: AbstractSet[str]) -> None:
        """Refuse a cohort too close to one already released on `base`; equal cohorts may repeat.

        Raises:
            RequestRefused: it differs from an earlier one by fewer than `min_cohort`.
        """
        for earlier in self._released[base]:
            if 0 < len(earlier ^ organisations) < self._min_cohort:
                raise RequestRefused(Refusal.DIFFERENCING)

    def add(self, base: Digest, organisations: AbstractSet[str]) -> None:
        """Remember a release."""
        self._released[base].append(frozenset(organisations))
