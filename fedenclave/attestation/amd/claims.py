"""What a report says, by EAT's names (RFC 9711) where there is one, else by AMD's.

Claims are only as good as the checks before them: `inspect` shows them of unverified reports too.

What a member's revocation names is compared with:
  * the levels: of each component the least of the four TCB_VERSIONs (launch, current, committed,
    reported), since firmware that was old at any of these could have done its harm;
  * the chip id, in both ways in which a Turin's is written: the 8 bytes of its certificates, and
    the 64 bytes of its reports.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from fedenclave.attestation.amd import flags
from fedenclave.attestation.amd.products import LEVELS as TCB_LEVELS
from fedenclave.attestation.amd.products import LINES, Product
from fedenclave.attestation.amd.report import Report
from fedenclave.attestation.amd.tcb import Tcb, parse_tcb
from fedenclave.attestation.result import Claims

if TYPE_CHECKING:
    from fedenclave.attestation.amd.verify import VerifiedReport

_AMD_PEN = 3704
"""AMD's IANA private enterprise number: the arc of its extensions, and EAT's `oemid`."""
LEVELS = TCB_LEVELS | {"guest-svn"}
IDENTIFIERS = frozenset(
    {
        "certificate",
        "measurement",
        "chip-id",
        "csp-id",
        "id-key-digest",
        "author-key-digest",
        "host-data",
        "report-id",
    }
)


def dotted(version: Iterable[int]) -> str:
    """Return a version as people write it."""
    return ".".join(map(str, version))


def report_claims(report: Report, product: Product | None) -> dict[str, object]:
    """Return a report's claims.

    Args:
        report: verified or not.
        product: the machine's, which tells what TCB_VERSION means; None if it is not known.

    Raises:
        MalformedMessage: a TCB_VERSION is not of this product.
    """
    claims: dict[str, object] = {
        "oemid": _AMD_PEN,
        "hwmodel": f"amd-{product}" if product else "unknown",
        "ueid": report.chip_id.hex(),
        "dbgstat": "enabled" if flags.is_on(report.policy, flags.DEBUG) else "disabled-since-boot",
        "version": report.version,
        "guest-svn": report.guest_svn,
        "policy": _policy(report.policy),
        "platform-info": _bits(report.platform_info, flags.PLATFORM),
        "family-id": report.family_id.hex(),
        "image-id": report.image_id.hex(),
        "vmpl": report.vmpl,
        "signing-key": report.signing_key.name.lower(),
        "mask-chip-key": report.chip_key_masked,
        "report-data": report.report_data.hex(),
        "measurement": report.measurement.hex(),
        "host-data": report.host_data.hex(),
        "id-key-digest": report.id_key_digest.hex(),
        "author-key-en": report.author_key_enabled,
        "author-key-digest": report.author_key_digest.hex(),
        "report-id": report.report_id.hex(),
        "report-id-ma": report.report_id_ma.hex(),
        "current-version": dotted(report.current_firmware),
        "committed-version": dotted(report.committed_firmware),
    }
    for name, raw in (
        ("current-tcb", report.current_tcb),
        ("reported-tcb", report.reported_tcb),
        ("committed-tcb", report.committed_tcb),
        ("launch-tcb", report.launch_tcb),
    ):
        claims[name] = dict(parse_tcb(raw, product, name).versions) if product else raw.hex()
    if report.cpu is not None:
        claims["cpuid"] = str(report.cpu)
    if report.launch_mitigations is not None and report.current_mitigations is not None:
        claims["launch-mit-vector"] = f"{report.launch_mitigations:016x}"
        claims["current-mit-vector"] = f"{report.current_mitigations:016x}"
    return claims


def claims_of(verified: VerifiedReport) -> Claims:
    """Return the claims of a verified report, with what a revocation may name."""
    report, endorsement = verified.report, verified.endorsement
    claims = report_claims(report, verified.product)
    claims["ueid"] = verified.hwid.hex()
    claims["certificate-product"] = endorsement.product_name
    if endorsement.csp_id:
        claims["csp-id"] = endorsement.csp_id
    identifiers = {
        "certificate": verified.certificates,
        "measurement": (report.measurement.hex(),),
    }
    if chip_ids := _chip_ids(report, verified.hwid):
        identifiers["chip-id"] = chip_ids
    for kind, value in (
        ("id-key-digest", report.id_key_digest),
        ("author-key-digest", report.author_key_digest),
        ("host-data", report.host_data),
        ("report-id", report.report_id),
    ):
        if any(value):
            identifiers[kind] = (value.hex(),)
    if endorsement.csp_id:
        identifiers["csp-id"] = (endorsement.csp_id,)
    return Claims(
        claims=claims,
        identifiers=identifiers,
        levels=_levels(verified.product, verified.tcb.values()) | {"guest-svn": report.guest_svn},
    )


def _chip_ids(report: Report, hwid: bytes) -> tuple[str, ...]:
    """Return the chip's id as its certificates and as reports have it; empty if it is not known."""
    if not any(hwid):
        return ()
    whole = hwid.ljust(len(report.chip_id), b"\x00") if report.chip_id_masked else report.chip_id
    return tuple(dict.fromkeys((hwid.hex(), whole.hex())))


def _levels(product: Product, tcbs: Collection[Tcb]) -> dict[str, int]:
    return {
        f"{product}.{name}": min(tcb.versions[name] for tcb in tcbs)
        for name in LINES[product].components
    }


def _policy(policy: int) -> dict[str, object]:
    named: dict[str, object] = {"abi": dotted(flags.policy_abi(policy))}
    return (
        named
        | _bits(policy, flags.GUEST_POLICY)
        | _bits(policy, {"debug": flags.DEBUG, "migration-agent": flags.MIGRATION_AGENT})
    )


def _bits(word: int, bits: Mapping[str, int]) -> dict[str, object]:
    return {name.replace("_", "-"): flags.is_on(word, bit) for name, bit in bits.items()}
