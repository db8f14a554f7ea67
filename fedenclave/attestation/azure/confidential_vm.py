"""Appraise Azure confidential VMs: SEV-SNP or TDX hardware, paravisor, vTPM.

On Azure the guest does not ask the hardware. A paravisor (HCL) runs in the TEE beneath it, has its
own hardware report made at boot, and gives the guest a vTPM. The chain of evidence is: hardware
vouches for the paravisor and, through the report data, for the vTPM's attestation key; the vTPM
vouches for what the guest booted, and signs the nonce.

Parts:
    hcl-report      the vTPM's NV index 0x01400001: hardware report and runtime data (hcl.py)
    tpm-quote       TPMS_ATTEST of a quote
    tpm-signature   TPMT_SIGNATURE over it, or the bare bytes of an RSASSA signature with SHA-256
    tpm-pcrs        values of the selected registers of the SHA-256 bank, in ascending order
    td-quote        TDX: the TD quote that Azure's service makes of the TDREPORT
    certificates    SEV-SNP: the VCEK, perhaps with its chain; else it is looked for in the bundle

Checks, in this order:
  1. structure; the header's version, which nothing signs, is the pinned one
  2. the quote is signed by HCLAkPub of that very report, and its digest is over these registers
  3. the hardware's report data is the hash of the runtime data, then zeros
  4. the hardware: SEV-SNP as amd/verify.py, TDX as intel/verify.py, and then that the TDREPORT
     says what the verified quote says (td_report.py)
  5. the quote's extra data is the binding: SHA-256 of the report data, 32 bytes, because a TPM
     takes no 64 bytes there
  6. the policy: VM id and configuration, registers and that they say what was started, then the
     pins of the hardware

Not checked: the vTPM's own certificate chain and attributes of its key; the measured paravisor
vouches for both. `user-data` is a claim, and binds nothing here.

Source: Microsoft Learn, "Azure confidential VMs guest attestation design detail" (2025-02); TCG
TPM 2.0 Library, Part 2, revision 1.59; as sev-snp and tdx for the hardware.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

from cryptography import x509

from fedenclave.attestation.amd import appraise as snp_appraisal
from fedenclave.attestation.amd import sev_snp
from fedenclave.attestation.amd import verify as snp_verification
from fedenclave.attestation.amd.claims import IDENTIFIERS as SNP_IDENTIFIERS
from fedenclave.attestation.amd.claims import LEVELS as SNP_LEVELS
from fedenclave.attestation.amd.endorsement import Authority, pinned_authorities
from fedenclave.attestation.amd.policy import SnpPins
from fedenclave.attestation.amd.supplied import read_certificates
from fedenclave.attestation.azure import hcl, vtpm
from fedenclave.attestation.azure.confidential_vm_policy import (
    EXCEPTIONS,
    SNP,
    TDX,
    TEMPLATE,
    Pins,
    read_policy,
)
from fedenclave.attestation.azure.hcl import HclReport, parse_hcl_report
from fedenclave.attestation.azure.recordings import recognise
from fedenclave.attestation.azure.td_report import check_mac, check_same_td, parse_td_report
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.format import Format, Parts, Question
from fedenclave.attestation.intel import tcb_policy, td_policy, tdx
from fedenclave.attestation.intel.td_policy import TdPins
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.tpm.measured_boot import MEASURED_BOOT
from fedenclave.protocol.digests import equal, sha256
from fedenclave.protocol.errors import MalformedMessage

NAME = "azure-vm"
HCL_REPORT, TD_QUOTE, CERTIFICATES = "hcl-report", "td-quote", "certificates"
TPM_QUOTE, TPM_SIGNATURE, TPM_PCRS = "tpm-quote", "tpm-signature", "tpm-pcrs"
RUNTIME_DATA = "runtime data"
_NAMES = {hcl.SNP: SNP, hcl.TDX: TDX}
ALWAYS = frozenset(
    {"hcl version", "hardware", "vtpm signature", "pcr digest", RUNTIME_DATA, "vm id"}
)
"""Names of the checks that are made of every machine; those of its hardware, of which the framework
does not know, are counted where they are made."""


def bind(report_data: bytes) -> bytes:
    """Return what the quote's extra data must be."""
    return sha256(report_data)


class Appraiser:
    """Appraises evidence under the roots that it was made with."""

    def __init__(self, authorities: Sequence[Authority], intel_root: x509.Certificate) -> None:
        """Keep AMD's authorities and Intel's root."""
        self._authorities, self._intel_root = tuple(authorities), intel_root

    def __call__(
        self, parts: Parts, pins: Pins, question: Question, checklist: Checklist
    ) -> Claims:
        """Verify and appraise; see the module's docstring."""
        report = parse_hcl_report(parts[HCL_REPORT])
        _check_report(checklist, report, parts, pins)
        quote = vtpm.verify_quote(
            checklist,
            report.ak,
            quote=parts[TPM_QUOTE],
            signature=parts[TPM_SIGNATURE],
            pcrs=parts[TPM_PCRS],
        )
        if pins.snp is not None and report.report_type == hcl.SNP:
            hardware = self._appraise_snp(report, parts, pins.snp, question, checklist)
        elif pins.tdx is not None and report.report_type == hcl.TDX:
            hardware = self._appraise_tdx(report, parts, pins.tdx, question, checklist)
        else:
            _refuse_hardware(checklist, report, pins)
        vtpm.check_binding(checklist, quote, question.bound)
        _check_machine(checklist, report, pins)
        measurement = vtpm.judge(checklist, quote, pins.tpm)
        return _claims(report, quote, measurement, hardware)

    def _appraise_snp(
        self,
        report: HclReport,
        parts: Parts,
        pins: SnpPins,
        question: Question,
        checklist: Checklist,
    ) -> Claims:
        supplied = (
            read_certificates(parts[CERTIFICATES], CERTIFICATES) if CERTIFICATES in parts else []
        )
        verified = snp_verification.verify_report(
            report.hardware,
            supplied,
            self._authorities,
            crl_required=pins.crl_required,
            question=question,
            checklist=checklist,
        )
        claims = snp_appraisal.appraise_report(
            verified, pins, report.report_data, checklist, binding=RUNTIME_DATA
        )
        checklist.check_made(snp_verification.ALWAYS | snp_appraisal.ALWAYS)
        return claims

    def _appraise_tdx(
        self,
        report: HclReport,
        parts: Parts,
        pins: TdPins,
        question: Question,
        checklist: Checklist,
    ) -> Claims:
        structure = parse_td_report(report.hardware)
        found = structure.fields["report data"]
        checklist.must(
            RUNTIME_DATA,
            holds=equal(found, report.report_data),
            found=found,
            wanted=report.report_data,
            trust=Trust.INSTANCE_IDENTITY,
            hint="the hardware does not vouch for this runtime data and the vtpm's key in it",
        )
        verified = tdx.verify_td_quote(checklist, parts[TD_QUOTE], question, self._intel_root)
        check_same_td(checklist, structure, verified.quote)
        check_mac(checklist, structure)
        td_policy.check_td(checklist, verified.quote.td, None, pins)
        tcb_policy.check_tcb(checklist, verified, pins.tcb)
        checklist.check_made(tdx.ALWAYS | {"tdreport", "tdreport mac"})
        return tdx.claims_of(verified)


def _check_report(checklist: Checklist, report: HclReport, parts: Parts, pins: Pins) -> None:
    """Check that report, parts and policy are of one kind."""
    checklist.must(
        "hcl version",
        holds=report.version == pins.hcl_version,
        found=report.version,
        wanted=pins.hcl_version,
        trust=Trust.CONFIGURATION,
        hint="Azure has updated the paravisor; look at its measurement too",
    )
    name = _NAMES[report.report_type]
    if name not in pins.hardware:
        _refuse_hardware(checklist, report, pins)
    checklist.must(
        "hardware",
        holds=True,
        found=name,
        wanted=" or ".join(pins.hardware),
        trust=Trust.HARDWARE,
    )
    needless = CERTIFICATES if report.report_type == hcl.TDX else TD_QUOTE
    if needless in parts:
        raise MalformedMessage(f"evidence of {name} has a part {needless}, which nothing needs")
    if report.report_type == hcl.TDX and TD_QUOTE not in parts:
        raise MalformedMessage(f"evidence of {name} has no part {TD_QUOTE}")


def _refuse_hardware(checklist: Checklist, report: HclReport, pins: Pins) -> NoReturn:
    checklist.refuse(
        "hardware",
        found=_NAMES[report.report_type],
        wanted=" or ".join(pins.hardware),
        trust=Trust.HARDWARE,
        hint="the machine is of another type than the policy accepts",
    )


def _check_machine(checklist: Checklist, report: HclReport, pins: Pins) -> None:
    checklist.want(
        "vm id",
        holds=pins.vm_ids is None or report.vm_id in pins.vm_ids,
        found=report.vm_id,
        wanted="any" if pins.vm_ids is None else " or ".join(pins.vm_ids),
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is another machine than the policy names",
    )
    flags = {
        name: value
        for name, value in report.configuration.values.items()
        if isinstance(value, bool)
    }
    for name in sorted(flags.keys() | pins.configuration.keys()):
        known, wanted = name in pins.configuration, pins.configuration.get(name)
        found = flags.get(name)
        checklist.want(
            f"vm-configuration {name}",
            holds=known and found is not None and (wanted is None or found == wanted),
            found="missing" if found is None else str(found).lower(),
            wanted=("any" if wanted is None else str(wanted).lower()) if known else "no such flag",
            trust=Trust.CONFIGURATION,
            hint="the paravisor runs the machine in another way than the policy pins",
        )


def _claims(
    report: HclReport, quote: vtpm.VerifiedQuote, measurement: bytes, hardware: Claims
) -> Claims:
    launched = hardware.identifiers["measurement"]
    return Claims(
        claims={
            **hardware.claims,
            **hcl_claims(report),
            **vtpm.claims_of(quote),
            "measurements": [measurement.hex(), *launched],
            "hardware-report-data": report.report_data.hex(),
        },
        identifiers={
            **hardware.identifiers,
            "measurement": (measurement.hex(), *launched),
            "vm-id": (report.vm_id,),
            "attestation-key": (vtpm.key_id(report.ak),),
        },
        levels=hardware.levels,
    )


def hcl_claims(report: HclReport) -> dict[str, object]:
    """Return what the paravisor says of itself and the machine."""
    return {
        "hcl-version": report.version,
        "hardware": _NAMES[report.report_type],
        "vm-id": report.vm_id,
        "vm-configuration": report.configuration.values,
        "user-data": report.user_data.hex(),
    }


def inspect(parts: Parts) -> Mapping[str, object]:
    """Return what the parts say, unverified.

    Raises:
        MalformedMessage: one of them is not well formed.
    """
    report = parse_hcl_report(parts[HCL_REPORT])
    claims: dict[str, object] = {**hcl_claims(report), "attestation-key": vtpm.key_id(report.ak)}
    if report.report_type == hcl.TDX and TD_QUOTE in parts:
        claims |= tdx.inspect({tdx.QUOTE: parts[TD_QUOTE]})
    elif report.report_type == hcl.SNP:
        claims |= sev_snp.inspect({sev_snp.REPORT: report.hardware})
    return {**claims, **vtpm.unverified_claims(parts[TPM_QUOTE], parts[TPM_PCRS])}


def make_format(authorities: Sequence[Authority], intel_root: x509.Certificate) -> Format[Pins]:
    """Return the format, with these as the only ones that may certify hardware."""
    return Format(
        name=NAME,
        title="Azure confidential VM",
        source="Microsoft Learn: Azure confidential VMs guest attestation design detail (2025-02)",
        required=frozenset({HCL_REPORT, TPM_QUOTE, TPM_SIGNATURE, TPM_PCRS}),
        optional=frozenset({TD_QUOTE, CERTIFICATES}),
        exceptions=EXCEPTIONS,
        identifiers=SNP_IDENTIFIERS | tdx.IDENTIFIERS | {"vm-id", "attestation-key"},
        levels=SNP_LEVELS | tdx.LEVELS,
        always=ALWAYS | {"report data", MEASURED_BOOT},
        template=TEMPLATE,
        read_policy=read_policy,
        bind=bind,
        appraise=Appraiser(authorities, intel_root),
        inspect=inspect,
        recognise=recognise,
    )


FORMAT = make_format(pinned_authorities(), tdx.ROOT)
