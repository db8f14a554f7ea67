"""One round as a log tells it: what it was about, who took part, what became of it.

SPEC.md, section 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum

from fedenclave.protocol.digests import Digest, to_text


class End(StrEnum):
    """How a round ended."""

    OPEN = "open"
    RELEASED = "released"
    ABORTED = "aborted"
    ADOPTED = "adopted"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundHistory:
    """One round: what it was about, who took part, and what became of it.

    Attributes:
        round: its number.
        end: how it ended.
        base_model: what updates were relative to.
        model: what it released or adopted; None without either.
        training_config: what all clients were told about how to train.
        cohort: who was chosen.
        included: whose updates are in the model, or were admitted in a round without a release.
        set_aside: whose updates changed after their admission.
        data: of those included, what each has said of its data; who has said nothing is not there.
        rejected: how many updates were refused, those set aside left out.
        clients: how many the release counts; more than are included where enclaves shared it.
        organisations: likewise.
        evaluations: digests of what the host says to have found in the newest model after it.
        announced: the host's clock.
        ended: the host's clock; 0 while the round is open.
    """

    round: int
    end: End = End.OPEN
    base_model: Digest
    model: Digest | None = None
    training_config: Digest
    cohort: tuple[str, ...]
    included: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()
    data: Mapping[str, Digest] = field(default_factory=dict)
    rejected: int = 0
    clients: int = 0
    organisations: int = 0
    evaluations: tuple[Digest, ...] = ()
    announced: int
    ended: int = 0

    def summary(self) -> dict[str, object]:
        """Return the round as plain values for JSON."""
        return {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "end": self.end.value,
            "base_model": to_text(self.base_model),
            "training_config": to_text(self.training_config),
            "evaluations": [to_text(digest) for digest in self.evaluations],
            "data": {client: to_text(digest) for client, digest in self.data.items()},
            "model": to_text(self.model) if self.model is not None else None,
        }
