"""Judge verified evidence by the members' list of what they no longer trust.

Rules:
  * An expired list refuses everything; a missing one does if the manifest says `required`.
  * A list issued after the time at which evidence is judged counts too: an auditor who knows more
    is stricter.
  * What the list names must be reported: evidence that hides its chip id could be of a revoked one.
    Only a policy that lets masked chip ids pass by name lets it pass, as a warning.

SPEC.md, section 9.6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import iso
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.revocations import Floor, Revocations, Revoked


def check_revocations(
    checklist: Checklist,
    format_: str,
    claims: Claims,
    revocations: Revocations | None,
    *,
    required: bool,
    gpu: bool,
    now: int,
) -> None:
    """Judge verified claims by the members' list.

    Args:
        checklist: where the checks go.
        format_: the evidence's format.
        claims: what it says; its chain has been verified.
        revocations: the newest list at hand; None where there is none.
        required: whether the manifest demands one.
        gpu: whether the policy asks for GPUs beside the CPU.
        now: Unix seconds.

    Raises:
        EvidenceRefused: a list is missing or has expired.
    """
    if revocations is None:
        if required:
            checklist.refuse(
                "revocation list",
                found="none",
                wanted="a current list signed by the members (the manifest requires it)",
                trust=Trust.INSTANCE_IDENTITY,
                hint="put it in place: fedenclave client revocations",
            )
        return
    checklist.must(
        "revocation list",
        holds=now <= revocations.expires,
        found=f"number {revocations.serial}, expires {iso(revocations.expires)}",
        wanted=f"one that has not expired at {iso(now)}",
        trust=Trust.INSTANCE_IDENTITY,
        hint="the members must sign a new one; put it in place: fedenclave client revocations",
    )
    by_kind: dict[str, list[Revoked]] = {}
    for entry in revocations.revoked:
        # Where no GPU is asked for, none is used, and there is nothing to revoke.
        is_about_this = entry.format == format_ and (gpu or not entry.what.startswith("gpu-"))
        if is_about_this:
            by_kind.setdefault(entry.what, []).append(entry)
    for kind, entries in by_kind.items():
        _check_revoked(checklist, kind, entries, claims.identifiers.get(kind, ()))
    for floor in revocations.floors:
        if floor.format == format_ and _concerns(floor.level, claims.levels):
            _check_floor(checklist, floor, claims.levels.get(floor.level, -1))


def _concerns(level: str, found: Mapping[str, int]) -> bool:
    """Return whether a floor is about this evidence: `milan.snp` is not about a Genoa.

    A level without a product before its dot is about all, also where none is reported.
    """
    product, dot, _ = level.partition(".")
    return not dot or any(name.startswith(f"{product}.") for name in found)


def _check_revoked(
    checklist: Checklist, kind: str, entries: Sequence[Revoked], found: Sequence[str]
) -> None:
    """Judge evidence by all entries of one kind."""
    # Whoever made the evidence may have hidden what the list names, a masked chip id for example.
    checklist.want(
        f"revoked {kind}",
        holds=bool(found),
        found=", ".join(found) or "none is reported",
        wanted=f"a {kind}, since the members' list revokes some",
        trust=Trust.INSTANCE_IDENTITY,
        hint=f"evidence that hides its {kind} could be of a revoked one; nothing was sent. where "
        "no machine can report it, the members must revoke by something else",
        exception="masked-chip-id" if kind == "chip-id" else "",
    )
    reported = {value.casefold() for value in found}
    for entry in entries:
        hit = entry.value.casefold() in reported
        checklist.want(
            f"revoked {kind}",
            holds=not hit,
            found=entry.value if hit else "none of these",
            wanted=f"not {entry.value}: {entry.reason}",
            trust=Trust.INSTANCE_IDENTITY,
            hint=f"the members no longer trust it: {entry.reason}; nothing was sent",
        )


def _check_floor(checklist: Checklist, floor: Floor, found: int) -> None:
    checklist.want(
        f"floor of {floor.level}",
        holds=found >= floor.at_least,
        found=found if found >= 0 else "not reported",
        wanted=f"at least {floor.at_least}: {floor.reason}",
        trust=Trust.HARDWARE,
        hint=f"the members raised the floor ({floor.reason}): the operator must update the "
        "machine; nothing was sent",
    )
