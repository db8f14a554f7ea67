"""Appraise a verified report: the policy's pins, each against its field.

Every comparison is noted, so that a person reads all that is wrong at once. The order is: binding,
code, configuration, machine, versions.

Source of the fields: AMD 56860 revision 1.58, table 23; of the guest's policy: table 9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedenclave.attestation.amd import flags, versions
from fedenclave.attestation.amd.claims import claims_of, dotted
from fedenclave.attestation.amd.policy import DEBUG, MASKED_CHIP_ID, MIGRATION_AGENT, SnpPins
from fedenclave.attestation.amd.report import NO_MIGRATION_AGENT, Report, SigningKey
from fedenclave.attestation.amd.verify import VerifiedReport
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Claims, Trust
from fedenclave.protocol.digests import equal

REPORT_DATA = "report data"
ALWAYS = frozenset(
    {
        "measurement",
        "host data",
        "id key",
        "author key",
        "guest svn",
        "debug",
        "migration agent",
        "vmpl",
        "policy abi",
        "signer",
        "chip id",
        "provider",
        *versions.ALWAYS,
    }
)
"""Names of the checks that every appraisal makes, besides the binding."""

_LAUNCH = "the operator must start the guest anew with a policy that the federation accepts"


def appraise_report(
    verified: VerifiedReport,
    pins: SnpPins,
    report_data: bytes,
    checklist: Checklist,
    *,
    binding: str = REPORT_DATA,
) -> Claims:
    """Return the claims; what does not satisfy `pins` is noted in `checklist`.

    Args:
        verified: from `verify_report`.
        pins: the policy's.
        report_data: the 64 bytes that the report must hold.
        checklist: where the checks go.
        binding: name of the check of `report_data`: another where a format binds its own evidence
            to the report, and the nonce to that.
    """
    report = verified.report
    checklist.want(
        binding,
        holds=equal(report.report_data, report_data),
        found=report.report_data,
        wanted=report_data.hex(),
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else; nothing "
        "was sent",
    )
    _appraise_code(report, pins, checklist)
    _appraise_guest_policy(report, pins, checklist)
    _appraise_identity(verified, pins, checklist)
    versions.appraise_versions(verified, pins, checklist)
    _appraise_platform(report, pins, checklist)
    return claims_of(verified)


def _appraise_code(report: Report, pins: SnpPins, checklist: Checklist) -> None:
    _listed(
        checklist,
        "measurement",
        report.measurement,
        pins.measurements,
        Trust.EXECUTABLES,
        hint="the machine runs code that the federation did not approve; nothing was sent",
    )
    _listed(checklist, "host data", report.host_data, pins.host_data, Trust.CONFIGURATION)
    _listed(checklist, "id key", report.id_key_digest, pins.id_key_digests, Trust.EXECUTABLES)
    _listed(
        checklist,
        "author key",
        report.author_key_digest,
        pins.author_key_digests,
        Trust.EXECUTABLES,
    )
    checklist.want(
        "guest svn",
        holds=report.guest_svn >= pins.min_guest_svn,
        found=report.guest_svn,
        wanted=f"at least {pins.min_guest_svn}",
        trust=Trust.EXECUTABLES,
    )


def _appraise_guest_policy(report: Report, pins: SnpPins, checklist: Checklist) -> None:
    debug = flags.is_on(report.policy, flags.DEBUG)
    checklist.want(
        "debug",
        holds=not debug,
        found="the host may read and change the guest" if debug else "off",
        wanted="off",
        trust=Trust.CONFIGURATION,
        hint=_LAUNCH,
        exception=DEBUG,
    )
    allowed = flags.is_on(report.policy, flags.MIGRATION_AGENT)
    agent = "" if report.report_id_ma in NO_MIGRATION_AGENT else report.report_id_ma.hex()
    checklist.want(
        "migration agent",
        holds=not allowed and not agent,
        found=agent or ("allowed" if allowed else "none"),
        wanted="none, and none allowed",
        trust=Trust.CONFIGURATION,
        hint=_LAUNCH,
        exception=MIGRATION_AGENT,
    )
    checklist.want(
        "vmpl",
        holds=report.vmpl == pins.vmpl,
        found=report.vmpl,
        wanted=pins.vmpl,
        trust=Trust.CONFIGURATION,
        hint="something at another privilege level asked for the report; nothing was sent",
    )
    abi = flags.policy_abi(report.policy)
    checklist.want(
        "policy abi",
        holds=abi >= pins.min_policy_abi,
        found=dotted(abi),
        wanted=f"at least {dotted(pins.min_policy_abi)}",
        trust=Trust.CONFIGURATION,
        hint=_LAUNCH,
    )
    _wishes(
        checklist, "guest policy", report.policy, flags.GUEST_POLICY, pins.guest_policy, _LAUNCH
    )


def _appraise_platform(report: Report, pins: SnpPins, checklist: Checklist) -> None:
    _wishes(
        checklist,
        "platform",
        report.platform_info,
        flags.PLATFORM,
        pins.platform,
        "the operator must change the machine's set-up; nothing was sent",
    )


def _appraise_identity(verified: VerifiedReport, pins: SnpPins, checklist: Checklist) -> None:
    report, csp_id = verified.report, verified.endorsement.csp_id
    is_vlek = report.signing_key is SigningKey.VLEK
    checklist.want(
        "signer",
        holds=report.signing_key in pins.signing_keys,
        found=report.signing_key.name.lower(),
        wanted=" or ".join(sorted(key.name.lower() for key in pins.signing_keys)),
        trust=Trust.INSTANCE_IDENTITY,
    )
    _listed(
        checklist,
        "provider",
        csp_id or "none",
        pins.csp_ids if is_vlek else None,
        Trust.INSTANCE_IDENTITY,
    )
    named = is_vlek and pins.csp_ids is not None
    if report.chip_id_masked and not named:
        checklist.want(
            "masked chip id",
            holds=False,
            found="the host hides which chip this is",
            wanted="a chip id, or a provider that csp_ids names",
            trust=Trust.INSTANCE_IDENTITY,
            hint="the operator must unmask it (MASK_CHIP_ID)",
            exception=MASKED_CHIP_ID,
        )
    chip_ids = (verified.hwid, report.chip_id)
    checklist.want(
        "chip id",
        holds=pins.chip_ids is None or any(chip in pins.chip_ids for chip in chip_ids),
        found=verified.hwid,
        wanted=_wanted(pins.chip_ids),
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is not one of the machines that the federation named; nothing was sent",
    )


def _wishes(
    checklist: Checklist,
    what: str,
    word: int,
    bits: Mapping[str, int],
    wishes: Mapping[str, flags.Wish],
    hint: str,
) -> None:
    for name, bit in bits.items():
        wish = wishes[name]
        if wish is flags.Wish.ANY:
            continue
        on = flags.is_on(word, bit)
        checklist.want(
            f"{what} {name}",
            holds=wish.holds(on),
            found="on" if on else "off",
            wanted="on" if wish is flags.Wish.REQUIRED else "off",
            trust=Trust.CONFIGURATION if what == "guest policy" else Trust.RUNTIME_OPAQUE,
            hint=hint,
        )


def _listed(
    checklist: Checklist,
    name: str,
    found: bytes | str,
    accepted: Sequence[bytes] | Sequence[str] | None,
    trust: Trust,
    *,
    hint: str = "",
) -> None:
    checklist.want(
        name,
        holds=accepted is None or found in accepted,
        found=found,
        wanted=_wanted(accepted),
        trust=trust,
        hint=hint,
    )


def _wanted(accepted: Sequence[bytes] | Sequence[str] | None) -> str:
    if accepted is None:
        return "any"
    return " or ".join(value if isinstance(value, str) else value.hex() for value in accepted)
