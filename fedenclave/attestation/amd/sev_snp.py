"""AMD SEV-SNP: an attestation report, with or without the certificate of the key that signed it.

Parts:
  * `report`: ATTESTATION_REPORT, 1184 bytes.
  * `certificates`: the VCEK or VLEK certificate in DER or PEM; ASK or ASVK, and ARK, may follow it
    in PEM. A VLEK's must come with the evidence. A VCEK's may lie in the bundle instead, as
    `amd/<product>/vcek/<chip id>-<tcb>.der`, as AMD publishes it for everybody.
  * `certificate-table`: the same as the host hands it out with an extended report.

The binding is REPORT_DATA, all 64 bytes. Steps: `verify.py`, then `appraise.py`.

Source: AMD 56860 (SEV-SNP Firmware ABI) revision 1.58; AMD 57230 (VCEK Certificate and KDS
Interface); AMD 56421 (GHCB standardization) for the table.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from cryptography import x509

from fedenclave.attestation.amd import appraise as appraisal
from fedenclave.attestation.amd import verify as verification
from fedenclave.attestation.amd.claims import IDENTIFIERS, LEVELS, report_claims
from fedenclave.attestation.amd.endorsement import (
    LEAF_NAMES,
    Authority,
    parse_endorsement,
    pinned_authorities,
)
from fedenclave.attestation.amd.policy import EXCEPTIONS, SnpPins, pins_template, read_pins
from fedenclave.attestation.amd.products import product_of_cpu
from fedenclave.attestation.amd.report import REPORT_SIZE, parse_report
from fedenclave.attestation.amd.supplied import (
    CERTIFICATES,
    TABLE,
    read_certificates,
    read_table,
)
from fedenclave.attestation.certificates import common_name, fingerprint
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.format import Format, Parts, Question, same_bytes
from fedenclave.attestation.result import Claims
from fedenclave.protocol.errors import MalformedMessage

NAME, REPORT = "sev-snp", "report"
_HEAD = """\
# sev-snp: a virtual machine on AMD EPYC (Milan, Genoa, Turin) with SEV-SNP.
[attestation.sev-snp]
# What may pass although it is wrong: "debug", "migration-agent", "masked-chip-id". Keep it empty.
exceptions = []
"""


def make_format(authorities: Sequence[Authority]) -> Format[SnpPins]:
    """Return the format, with `authorities` as the only ones that may certify keys."""

    def appraise(parts: Parts, pins: SnpPins, question: Question, checklist: Checklist) -> Claims:
        """Verify the report by the steps of `verify.py`, then compare it with the policy."""
        verified = verification.verify_report(
            parts[REPORT],
            _supplied(parts),
            authorities,
            crl_required=pins.crl_required,
            question=question,
            checklist=checklist,
        )
        return appraisal.appraise_report(verified, pins, question.bound, checklist)

    return Format(
        name=NAME,
        title="AMD SEV-SNP",
        source="AMD 56860, SEV-SNP Firmware ABI Specification, revision 1.58",
        required=frozenset({REPORT}),
        optional=frozenset({CERTIFICATES, TABLE}),
        exceptions=EXCEPTIONS,
        identifiers=IDENTIFIERS,
        levels=LEVELS,
        always=verification.ALWAYS | appraisal.ALWAYS | {appraisal.REPORT_DATA},
        template=_HEAD + pins_template(),
        read_policy=read_pins,
        bind=same_bytes,
        appraise=appraise,
        inspect=inspect,
        recognise=recognise,
    )


def _supplied(parts: Parts) -> list[x509.Certificate]:
    """Return the certificates that came with the evidence.

    Raises:
        MalformedMessage: both parts are there, or something in them is no certificate.
    """
    if CERTIFICATES in parts and TABLE in parts:
        raise MalformedMessage(f"evidence has both {CERTIFICATES} and {TABLE}, want one")
    if CERTIFICATES in parts:
        return read_certificates(parts[CERTIFICATES], CERTIFICATES)
    return read_table(parts[TABLE]) if TABLE in parts else []


def inspect(parts: Parts) -> Mapping[str, object]:
    """Return what the report and its certificates say, unverified.

    Raises:
        MalformedMessage: something is not well formed.
    """
    report = parse_report(parts[REPORT])
    certificates = _supplied(parts)
    cpu = report.cpu
    product = None if cpu is None else product_of_cpu(cpu.family, cpu.model)
    extra: dict[str, object] = {}
    for certificate in certificates:
        if common_name(certificate) == LEAF_NAMES.get(report.signing_key):
            endorsement = parse_endorsement(certificate, report.signing_key)
            product = product or endorsement.product
            extra = {"certificate-product": endorsement.product_name}
            if endorsement.csp_id:
                extra["csp-id"] = endorsement.csp_id
    claims = report_claims(report, product) | extra
    if certificates:
        claims["certificates"] = [f"{common_name(c)} {fingerprint(c)}" for c in certificates]
    return claims


def recognise(data: bytes) -> Parts | None:
    """Return the parts of a report, in bytes or in hex, alone or followed by a host's table."""
    text = data.strip()
    if len(text) == 2 * REPORT_SIZE:
        # What is no hex may still be a report with its table.
        with contextlib.suppress(ValueError):
            data = bytes.fromhex(text.decode("ascii"))
    report, table = data[:REPORT_SIZE], data[REPORT_SIZE:]
    try:
        parse_report(report)
        if table:
            read_table(table)
    except MalformedMessage:
        return None
    return {REPORT: report, TABLE: table} if table else {REPORT: report}


FORMAT = make_format(pinned_authorities())
