"""Who chooses a round's cohort: the host, or the enclave, which draws it by lot.

A host that chooses could put one client into every round and the others into few, or wait for the
cohort that tells it most. Where the manifest says so it only reports who is available; the enclave
draws among them, and the announcement names both lists.

SPEC.md, sections 10.2 and 11.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnCohort:
    """The enclave draws `size` clients, of at least `of_at_least` that the host reports."""

    size: int
    of_at_least: int

    def check(self, least: int, clients: int) -> None:
        """Refuse a draw that the roster, or the rule, can never satisfy.

        Args:
            least: clients that a release needs.
            clients: those on the roster.

        Raises:
            ConfigurationError: it is one.
        """
        if not least <= self.size <= self.of_at_least <= clients:
            raise ConfigurationError(
                f"manifest draws {self.size} clients of at least {self.of_at_least}, want "
                f"{least} to {clients}, and no more than they are drawn of",
                hint="a release needs so many, and the roster has no more",
            )


def read_cohort(table: Table, most: int) -> DrawnCohort | None:
    """Return what the table `[aggregation.cohort]` says; None where the host names the cohort.

    Raises:
        ConfigurationError: a key is missing, unknown or wrong.
    """
    drawn = None
    if table.take_choice("choice", ("named", "drawn")) == "drawn":
        drawn = DrawnCohort(
            size=table.take_int("size", low=2, high=most),
            of_at_least=table.take_int("of_at_least", low=2, high=most),
        )
    table.finish()
    return drawn


def cohort_to_toml(drawn: DrawnCohort | None) -> list[str]:
    """Return the table's lines for a manifest."""
    if drawn is None:
        return ['choice = "named"  # by the operator; "drawn": by the enclave']
    return [
        'choice = "drawn"  # by the enclave, of those that the operator reports available',
        f"size = {drawn.size}  # clients in every cohort",
        f"of_at_least = {drawn.of_at_least}  # available ones; with fewer no round is opened",
    ]


def cohort_problem(
    drawn: DrawnCohort | None,
    cohort: Sequence[str],
    available: Sequence[str],
    roster: Collection[str],
) -> str:
    """Return what is wrong with an announced cohort; nothing where it is as the manifest says."""
    if drawn is None:
        return "it names available clients, and the cohort is the host's" if available else ""
    if list(available) != sorted(set(available)) or not all(name in roster for name in available):
        return "the available clients are not sorted, each once, all on the roster"
    if len(available) < drawn.of_at_least:
        return f"its cohort is drawn of {len(available)} clients, want {drawn.of_at_least} or more"
    if len(cohort) != drawn.size or not set(cohort) <= set(available):
        return f"its cohort is not {drawn.size} of the available clients"
    return ""
