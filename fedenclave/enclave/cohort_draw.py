"""Draw a round's cohort by lot, where the manifest says that the enclave does.

SPEC.md, section 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from secrets import SystemRandom

from fedenclave.protocol.cohort import DrawnCohort
from fedenclave.protocol.errors import Refusal, RequestRefused

_RANDOM = SystemRandom()
_TRIES = 1000


def draw(
    drawn: DrawnCohort, available: Sequence[str], owner_of: Mapping[str, str], min_cohort: int
) -> list[str]:
    """Return a cohort: each with enough organisations in it is as probable as any other.

    Args:
        drawn: what the manifest says.
        available: clients of the roster, each once.
        owner_of: each client's organisation.
        min_cohort: organisations that a cohort needs.

    Raises:
        RequestRefused: too few are available, or so many of them are one organisation's that no
            draw of a thousand had enough.
    """
    if len(available) < drawn.of_at_least:
        raise RequestRefused(Refusal.COHORT_TOO_SMALL)
    for _ in range(_TRIES):
        cohort = _RANDOM.sample(available, drawn.size)
        if len({owner_of[client] for client in cohort}) >= min_cohort:
            return sorted(cohort)
    raise RequestRefused(Refusal.COHORT_TOO_SMALL)
