"""What an appraisal found, in the terms of EAR (draft-ietf-rats-ear): status, claims, checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import EnclaveRefused
from fedenclave.protocol.signing import PublicKey


class Status(StrEnum):
    """`ear.status`."""

    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was compared."""

    name: str
    found: str
    wanted: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationResult:
    """Evidence that satisfies the policy. Only `appraise` makes one.

    `status` is `warning` for the `insecure` format: its policy named it, and nothing vouches.
    """

    format: str
    status: Status
    signing_key: PublicKey
    measurement: Digest
    protections: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def insecure(self) -> bool:
        """Whether no hardware stands behind this."""
        return self.status is not Status.AFFIRMING


class EvidenceRefused(EnclaveRefused):
    """Evidence does not satisfy the policy; `checks` says which comparisons were made."""

    def __init__(self, message: str, *, hint: str, checks: Sequence[Check] = ()) -> None:
        """Keep the checks beside the message."""
        super().__init__(message, hint=hint)
        self.checks = tuple(checks)
