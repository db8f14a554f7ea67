"""One line of the report: a question, our figure, a peer's, and what was aimed at.

Rules:
  * A target on a ratio is a least one: `at_least`. A target on our own figure is a most: `at_most`.
  * A ratio is taken within one run, so that what slows both down cancels out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line.

    Attributes:
        question: what is counted, from where to where.
        unit: of both figures.
        ours: our median; None where it was not measured.
        peer_name: what it is compared with; empty for a figure that stands alone.
        peer: the peer's median.
        ratio: how many times as good ours is: as fast, or as much in the same time.
        at_least: the ratio that is aimed at.
        at_most: the figure of ours that is aimed at, in `unit`.
        note: what a reader must know to judge it, or why nothing was measured.
    """

    question: str
    unit: str
    ours: float | None = None
    peer_name: str = ""
    peer: float | None = None
    ratio: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None where there is none, or nothing was measured."""
        if self.at_least is not None and self.ratio is not None:
            return self.ratio >= self.at_least
        if self.at_most is not None and self.ours is not None:
            return self.ours <= self.at_most
        return None


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return rows for JSON."""
    return [{**asdict(row), "met": row.met} for row in rows]


def from_json(rows: Sequence[dict[str, Any]]) -> list[Row]:
    """Return the rows that `as_json` wrote."""
    return [Row(**{key: row[key] for key in row if key != "met"}) for row in rows]
