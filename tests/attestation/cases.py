"""One line of the table over `../shared/evidence`: what is appraised, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.collateral import EMPTY, Collateral, from_mapping
from fedenclave.attestation.format import Format, Parts, Question, read_format_policy
from fedenclave.attestation.result import Appraisal
from fedenclave.protocol.toml_table import parse

EVIDENCE = Path(__file__).parents[3] / "shared" / "evidence"
"""Beside a checkout, and not a part of it; tests that need it skip where it is absent."""

FRESHNESS = 600
MAX_AGE = 40 * 24 * 3600


def seconds(at: str) -> int:
    """Return Unix seconds of an ISO date, or date and time, in UTC."""
    return int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp())


@dataclass(frozen=True, kw_only=True)
class Case:
    """Real evidence and what must come of it.

    Attributes:
        name: what the case shows, in words.
        rows: files of the evidence folder, relative to it, on which this case's verdict rests.
        format: the format that appraises it.
        parts: reads the parts, given the evidence folder.
        policy: the body of the TOML table `[attestation.<format>]`.
        bound: the bytes that must be in the binding field (hex), or a function of the folder.
        at: ISO time at which it is judged, UTC.
        refused: name of the check that must be the first to fail; empty if it must be affirmed.
        found: a text that must be in what that check found.
        exceptions_used: the result is `warning`, not `affirming`.
        collateral: reads the bundle, given the folder.
        mutate: part names in which every changed byte must lead to a refusal (affirmed cases).
    """

    name: str
    rows: tuple[str, ...]
    format: Format[Any]
    parts: Callable[[Path], Parts]
    policy: str
    bound: str | Callable[[Path], bytes]
    at: str
    refused: str = ""
    found: str = ""
    exceptions_used: bool = False
    collateral: Callable[[Path], Mapping[str, bytes]] | None = None
    freshness_seconds: int = FRESHNESS
    max_age_seconds: int = MAX_AGE
    mutate: tuple[str, ...] = field(default=())

    def bundle(self, folder: Path) -> Collateral:
        if self.collateral is None:
            return EMPTY
        return from_mapping(self.collateral(folder), fetched=seconds(self.at))

    def question(self, folder: Path) -> Question:
        bound = bytes.fromhex(self.bound) if isinstance(self.bound, str) else self.bound(folder)
        return Question(
            bound=bound,
            now=seconds(self.at),
            freshness_seconds=self.freshness_seconds,
            collateral=self.bundle(folder),
            collateral_max_age_seconds=self.max_age_seconds,
        )

    def appraise(self, folder: Path, parts: Parts | None = None) -> Appraisal:
        policy = read_format_policy(self.format, parse(self.policy.encode(), "policy"))
        return appraise_parts(
            self.parts(folder) if parts is None else parts, policy, self.question(folder)
        )
