"""What an appraisal found, in the terms of EAR: status, trustworthiness vector, claims, checks.

Source: draft-ietf-rats-ear (EAT attestation result), draft-ietf-rats-ar4si (the vector's claims
and values), RFC 9711 (names of claims).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fedenclave.protocol.errors import EnclaveRefused
from fedenclave.protocol.evidence import INSECURE
from fedenclave.protocol.signing import PublicKey


class Status(StrEnum):
    """`ear.status`, best first."""

    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"


class Trust(StrEnum):
    """The claims of the trustworthiness vector; every check speaks to one of them."""

    INSTANCE_IDENTITY = "instance-identity"
    CONFIGURATION = "configuration"
    EXECUTABLES = "executables"
    FILE_SYSTEM = "file-system"
    HARDWARE = "hardware"
    RUNTIME_OPAQUE = "runtime-opaque"
    STORAGE_OPAQUE = "storage-opaque"
    SOURCED_DATA = "sourced-data"


AFFIRMING, WARNING, CONTRAINDICATED = 2, 32, 96
"""The vector's values: the first of each tier of AR4SI. A claim that nothing spoke to is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was compared.

    `excepted` names the exception of the policy that let a failing comparison pass.
    """

    name: str
    found: str
    wanted: str
    holds: bool
    trust: Trust
    excepted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What evidence says, once it is verified.

    Attributes:
        claims: by EAT name where there is one (`ueid`, `oemid`, `dbgstat`, `measurements`, ...),
            else by the vendor's field name in lower case with hyphens. Values are texts, integers,
            booleans, and lists and tables of these.
        identifiers: what a revocation can name, lower-case hex or text, by kind: `measurement`,
            `chip-id`, `certificate` (SHA-256 of the DER of every certificate used), ...
        levels: security versions that a floor can be put under, by name: `microcode`, `isvsvn`, ...
    """

    claims: Mapping[str, object]
    identifiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    levels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Appraisal:
    """Evidence of one format that satisfies one policy. Only `appraise_parts` makes one."""

    format: str
    status: Status
    vector: Mapping[Trust, int]
    claims: Claims
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationResult:
    """Evidence that satisfies a manifest's policy, and the key it binds; only `appraise` makes one.

    `status` is `warning` for the `insecure` format (its policy named it, and nothing vouches) and
    wherever the policy's exceptions let something pass.
    """

    format: str
    status: Status
    vector: Mapping[Trust, int]
    claims: Claims
    checks: tuple[Check, ...]
    signing_key: PublicKey

    @property
    def excepted(self) -> tuple[str, ...]:
        """What does not hold and passes by an exception that the policy names, for people."""
        return tuple(
            f"{check.name} is {check.found}, by the policy's exception {check.excepted!r}"
            for check in self.checks
            if check.excepted
        )

    @property
    def insecure(self) -> bool:
        """Whether no hardware stands behind this."""
        return self.format == INSECURE

    @property
    def measurement(self) -> str:
        """What identifies the code, as text; empty where the format has no single one."""
        return next(iter(self.claims.identifiers.get("measurement", ())), "")


_ABOUT_THE_CLIENT = re.compile(r"collateral|revocation|revoked | of |/|validity|\bage$|structure$")
"""In names of checks that say something of the client's collateral, clock or members."""


class EvidenceRefused(EnclaveRefused):
    """Evidence does not satisfy the policy; `checks` says which comparisons were made."""

    def __init__(self, message: str, *, hint: str = "", checks: Sequence[Check] = ()) -> None:
        """Keep the checks beside the message."""
        super().__init__(message, hint=hint)
        self.checks = tuple(checks)

    @property
    def for_host(self) -> str:
        """What the other side may be told: which check failed, if it is about its own evidence.

        Not what was found or wanted, and nothing of what the client holds: its collateral, its
        clock, the members' list and their reasons in it (T13).
        """
        failed = next((check.name for check in self.checks if not check.holds), "")
        if not failed or _ABOUT_THE_CLIENT.search(failed):
            return "evidence is refused; the client's own log says why"
        return f"evidence is refused: {failed}"
