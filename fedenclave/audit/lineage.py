"""Where models come from: by the log, round by round, and which of them contain a client.

A model contains a client whose own update is in it, or in a model that it builds on. For the right
to leave: what a member asks to be forgotten is in every model that descends from one with its
update. An update that a rule chose among others (krum, multi-krum, bulyan) counts as in.

SPEC.md, sections 7.2 and 14.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fedenclave.audit.receipt import VerifiedReceipt
from fedenclave.audit.round_history import End, RoundHistory
from fedenclave.protocol.digests import Digest, to_text


class Contains(StrEnum):
    """How a model contains a client."""

    DIRECTLY = "directly"
    THROUGH_BASE = "through its base model"
    NO = "no"
    UNKNOWN = "unknown"
    """No receipt at hand says what its base model is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedModel:
    """One release, and whether it contains the client; `since` is the first round that does."""

    round: int
    model: Digest
    base_model: Digest
    contains: Contains
    since: int


def models_with(
    receipts: Sequence[VerifiedReceipt], client: str, initial_model: Digest
) -> list[ReleasedModel]:
    """Return every release that the receipts prove, in order, and how it contains `client`.

    Args:
        receipts: verified ones, of any members; each lists all clients of its release.
        client: whom to look for.
        initial_model: the agreed first model, which contains nobody.
    """
    releases = {
        (bytes(r.attestation.signing_key), r.round): (r, r.model)
        for r in receipts
        if r.model is not None
    }
    known = {initial_model: (Contains.NO, 0)}
    found = []
    for _, (release, model) in sorted(releases.items()):
        of_base, since = known.get(release.base_model, (Contains.UNKNOWN, 0))
        contains = of_base
        if of_base is Contains.DIRECTLY:
            contains = Contains.THROUGH_BASE
        if client in release.clients:
            contains, since = Contains.DIRECTLY, since or release.round
        known[model] = contains, since
        found.append(
            ReleasedModel(
                round=release.round,
                model=model,
                base_model=release.base_model,
                contains=contains,
                since=since,
            )
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One round of a log: of what a model was made, and what was said of it after.

    Attributes:
        round: its number.
        end: how it ended.
        base_model: what it built on.
        model: what it released or adopted; None without either.
        training_config: what all clients were told about how to train.
        clients: whose updates are in the log as included.
        said_data: how many of them have said which data they trained on.
        distinct_data: how many different digests that are.
        evaluation: the newest that the host says to have found after the round; None for none.
    """

    round: int
    end: End
    base_model: Digest
    model: Digest | None
    training_config: Digest
    clients: int
    said_data: int
    distinct_data: int
    evaluation: Digest | None

    def summary(self) -> dict[str, object]:
        """Return the step as plain values for JSON."""
        return {
            "round": self.round,
            "end": self.end.value,
            "training_config": to_text(self.training_config),
            "clients": self.clients,
            "said_data": self.said_data,
            "distinct_data": self.distinct_data,
            "base_model": to_text(self.base_model),
            "model": to_text(self.model) if self.model is not None else None,
            "evaluation": to_text(self.evaluation) if self.evaluation is not None else None,
        }


def steps(rounds: Sequence[RoundHistory]) -> list[Step]:
    """Return the lineage that a log's rounds tell, one step for each."""
    return [
        Step(
            round=each.round,
            end=each.end,
            base_model=each.base_model,
            model=each.model,
            training_config=each.training_config,
            clients=len(each.included),
            said_data=len(each.data),
            distinct_data=len(set(each.data.values())),
            evaluation=each.evaluations[-1] if each.evaluations else None,
        )
        for each in rounds
    ]
