"""A list of what the members no longer trust: hardware, code, keys, and versions below a floor.

A TOML file that at least `threshold` members have signed, with a serial number and an expiry, so
that trust can be taken away between two rounds without a new manifest:

    version = 1
    federation = "hearts"
    serial = 4                            # each list replaces those with lower numbers
    issued = "2026-11-25T00:00:00Z"
    expires = "2027-02-25T00:00:00Z"

    [[revoked]]
    format = "sev-snp"
    what = "chip-id"
    value = "3ac3..."
    reason = "stolen from the machine room in Lyon"

    [[floors]]
    format = "sev-snp"
    level = "milan.microcode"
    at_least = 219
    reason = "AMD-SB-3020"

Rules:
  * A kind of identifier or a level that its format does not know is an error: a typing mistake must
    not revoke nothing in silence.
  * Evidence is judged by it in revocation_checks.py.

SPEC.md, section 9.6.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attestation.formats import FORMATS
from fedenclave.attestation.identifiers import fits
from fedenclave.attestation.nvidia.gpu import IDENTIFIERS as GPU_KINDS
from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import Signed, Statement, sign, verify
from fedenclave.protocol.statements import VERSION
from fedenclave.protocol.toml_table import Table, parse

_TIME = "%Y-%m-%dT%H:%M:%SZ"
_MAX_LEVEL = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationsApproval(Statement):
    """A member says: this list holds for this federation."""

    TYPE: ClassVar[str] = "revocations-approval"

    version: int
    federation: str
    member: str
    revocations: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRevocations(Record):
    """The list's exact bytes with the members' signed approvals: one file to hand around."""

    MAX_SIZE: ClassVar[int] = 4 << 20

    revocations: bytes
    approvals: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """One thing that is no longer trusted."""

    format: str
    what: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A security version below which nothing is trusted."""

    format: str
    level: str
    at_least: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocations:
    """A parsed list. Trusted only if it comes from `verify_revocations`. Times: Unix seconds."""

    federation: str
    serial: int
    issued: int
    expires: int
    revoked: tuple[Revoked, ...]
    floors: tuple[Floor, ...]

    @classmethod
    def from_toml(cls, source: bytes) -> Revocations:
        """Parse a list.

        Raises:
            ConfigurationError: anything in it is missing, unknown, or out of range.
        """
        top = parse(source, "revocations")
        top.take_int("version", low=VERSION, high=VERSION)
        parsed = cls(
            federation=top.take_text("federation"),
            serial=top.take_int("serial", low=1, high=2**53),
            issued=_take_time(top, "issued"),
            expires=_take_time(top, "expires"),
            revoked=tuple(map(_revoked, top.take_tables("revoked") if "revoked" in top else ())),
            floors=tuple(map(_floor, top.take_tables("floors") if "floors" in top else ())),
        )
        top.finish()
        if parsed.expires <= parsed.issued:
            raise ConfigurationError("revocations expires is not after issued")
        return parsed


def _take_time(table: Table, key: str) -> int:
    text = table.take_text(key)
    try:
        return int(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"{table.where} {key} is {text[:40]!r}, want a time in UTC such as 2026-11-25T10:00:00Z"
        ) from error


def _revoked(table: Table) -> Revoked:
    format_ = table.take_choice("format", tuple(FORMATS))
    entry = Revoked(
        format=format_,
        what=table.take_choice("what", tuple(sorted(FORMATS[format_].identifiers | GPU_KINDS))),
        value=table.take_text("value"),
        reason=table.take_text("reason"),
    )
    table.finish()
    if not fits(format_, entry.what, entry.value):
        raise ConfigurationError(
            f"{table.where} value is {entry.value[:140]!r}, "
            f"which no {entry.what} of {format_} can be",
            hint="write it as `fedenclave attest verify --json` shows it; a typing mistake "
            "would revoke nothing",
        )
    return entry


def _floor(table: Table) -> Floor:
    format_ = table.take_choice("format", tuple(FORMATS))
    levels = tuple(sorted(FORMATS[format_].levels))
    if not levels:
        raise ConfigurationError(f"{table.where}: evidence of format {format_} reports no level")
    entry = Floor(
        format=format_,
        level=table.take_choice("level", levels),
        at_least=table.take_int("at_least", low=0, high=_MAX_LEVEL),
        reason=table.take_text("reason"),
    )
    table.finish()
    return entry


def approve_revocations(source: bytes, member: str, key: Ed25519PrivateKey) -> bytes:
    """Return a member's signed approval of the list `source`.

    Raises:
        ConfigurationError: it is not a list.
    """
    parsed = Revocations.from_toml(source)
    approval = RevocationsApproval(
        version=VERSION,
        federation=parsed.federation,
        member=member,
        revocations=domain_digest("revocations", source),
    )
    return sign(approval, key)


def approving(signed: SignedRevocations, manifest: Manifest) -> set[str]:
    """Return the manifest's members whose signature under exactly this list holds."""
    keys = {member.name: member.key for member in manifest.members}
    digest = domain_digest("revocations", signed.revocations)
    found = set()
    for approval in signed.approvals:
        try:
            claimed = RevocationsApproval.from_bytes(Signed.from_bytes(approval).payload).member
            statement = verify(RevocationsApproval, approval, keys[claimed])
        except (MalformedMessage, KeyError):
            continue
        if (statement.revocations, statement.federation) == (digest, manifest.name):
            found.add(statement.member)
    return found


def verify_revocations(data: bytes, manifest: Manifest) -> Revocations:
    """Return the list in `data` after enough of the manifest's members have been seen to sign it.

    Whether it has expired is judged with the evidence, at the evidence's time.

    Raises:
        ConfigurationError: it does not decode, is for another federation, or too few signed it.
    """
    try:
        signed = SignedRevocations.from_bytes(data)
    except MalformedMessage as error:
        raise ConfigurationError(
            f"revocation list does not decode: {error.message}",
            hint="it is the file that `fedenclave federation revocations` makes",
        ) from error
    revocations = Revocations.from_toml(signed.revocations)
    if revocations.federation != manifest.name:
        raise ConfigurationError(
            f"revocation list is for {revocations.federation[:80]!r}, want {manifest.name!r}"
        )
    members = approving(signed, manifest)
    if len(members) < manifest.threshold:
        raise ConfigurationError(
            f"revocation list is signed by {len(members)} members, want {manifest.threshold}",
            hint="each member signs it: fedenclave federation revocations",
        )
    return revocations
