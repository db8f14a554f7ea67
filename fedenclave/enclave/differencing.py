"""Which cohorts were released on which base model (T5).

Two releases on one base model whose cohorts differ by a few organisations would, subtracted, show
what those few contributed. An organisation with several clients differs where one of them does.

Compares pairs: that three or more releases on one base model cannot be combined to the same end
is not promised. Releases on one base model are rare, since every release makes another model.

SPEC.md, section 11.3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from fedenclave.enclave.journal import Journal
from fedenclave.enclave.transitions import ReleasedCohort
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused


class CohortHistory:
    """The clients of every release so far with their organisations, by base model."""

    def __init__(self, min_cohort: int, owner_of: Mapping[str, str], journal: Journal) -> None:
        """Refuse cohorts that differ by fewer than `min_cohort` organisations.

        Args:
            min_cohort: the manifest's.
            owner_of: the organisation of every client on the roster.
            journal: notes what is added.
        """
        self._min_cohort, self._owner_of, self._journal = min_cohort, owner_of, journal
        self._roster = sorted(owner_of)
        self._released: defaultdict[Digest, list[dict[str, str]]] = defaultdict(list)

    def check(self, base: Digest, cohort: Mapping[str, str]) -> None:
        """Refuse a cohort too close to one already released on `base`; equal cohorts may repeat.

        Args:
            base: the base model's digest.
            cohort: the organisation of every client that counts.

        Raises:
            RequestRefused: it differs from an earlier one by fewer than `min_cohort`.
        """
        for earlier in self._released[base]:
            clients = earlier.keys() ^ cohort.keys()
            by_client = {earlier.get(client) or cohort[client] for client in clients}
            by_organisation = set(earlier.values()) ^ set(cohort.values())
            for differing in (by_client, by_organisation):
                if 0 < len(differing) < self._min_cohort:
                    raise RequestRefused(Refusal.DIFFERENCING)

    def add(self, base: Digest, cohort: Mapping[str, str]) -> None:
        """Remember a release."""
        self._released[base].append(dict(cohort))
        self._journal.notes.released.append(self.record(base, cohort))

    def record(self, base: Digest, cohort: Iterable[str]) -> ReleasedCohort:
        """Return a release as it is sealed."""
        return ReleasedCohort.of(base, cohort, self._roster)

    def remember(self, roster: Collection[str]) -> bytes:
        """Return every release so far, joined, for a history whose clients are `roster`."""
        names = sorted(roster)
        released = ((base, one) for base, cohorts in self._released.items() for one in cohorts)
        return b"".join(
            ReleasedCohort.of(base, cohort, names).joined() for base, cohort in released
        )

    def remembered(self, joined: bytes) -> None:
        """Take over what `remember` has joined.

        Raises:
            MalformedMessage: it is for another roster.
        """
        self.replay(ReleasedCohort.split(joined, len(self._roster)))

    def replay(self, released: Iterable[ReleasedCohort]) -> None:
        """Take over releases of an earlier run."""
        for cohort in released:
            owners = {name: self._owner_of[name] for name in cohort.names(self._roster)}
            self._released[cohort.base_model].append(owners)
