"""Which released models contain a client: its own update, or a model that has it in.

For the right to leave: what a member asks to be forgotten is in every model that descends from one
with its update. An update that a rule chose among others (krum, multi-krum, bulyan) counts as in.

SPEC.md, section 14.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fedenclave.audit.receipt import VerifiedReceipt
from fedenclave.protocol.digests import Digest


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
