"""Verify a report: who signed it, who certified that key, and that both speak of one machine.

What holds afterwards: AMD's security processor of the product in `VerifiedReport` made the report.
Whether that machine and guest are acceptable is for `appraise.py`.

Steps (AMD 56860, chapter 10 and table 23; AMD 57230, chapter 3):
  1. The report is well formed, and a VCEK or a VLEK signed it.
  2. There is one certificate of that kind: with the evidence, else in the bundle, where of several
     the one counts that was issued last by the time in question; and nothing that no signature or
     pin covers is beside it.
  3. The certificate is signed by the ASK or ASVK, that by the ARK; both are pinned in this tree.
  4. ECDSA P-384 with SHA-384 over the report's first 0x2A0 bytes verifies with the certified key.
  5. Product, TCB_VERSION and chip are the same in the certificate and in the report.
  6. The ARK's revocation list is current and does not name ASK or ASVK, if the policy requires it.

Not needed: the certificate itself is in no revocation list, as all VCEKs have serial number 0. AMD
takes trust from old firmware by a new TCB_VERSION instead: the policy's floors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import ObjectIdentifier

from fedenclave.attestation.amd.endorsement import (
    AMD_EXTENSIONS,
    LEAF_NAMES,
    Authority,
    Endorsement,
    authority_of,
    parse_endorsement,
)
from fedenclave.attestation.amd.kds import hwid, possible_products, vcek_name
from fedenclave.attestation.amd.products import Product, product_of_cpu
from fedenclave.attestation.amd.report import Report, SigningKey, parse_report
from fedenclave.attestation.amd.revocation import check_authority
from fedenclave.attestation.amd.supplied import read_certificates
from fedenclave.attestation.amd.tcb import Tcb, parse_tcb
from fedenclave.attestation.certificates import common_name, fingerprints, verify_chain
from fedenclave.attestation.chain_versions import Chain, dated_chain
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import (
    FETCH_HINT,
    CollateralFile,
    Dated,
    choose_signed,
    read_versions,
)
from fedenclave.attestation.format import Question
from fedenclave.attestation.result import Trust

_IDENTITY = Trust.INSTANCE_IDENTITY
ALWAYS = frozenset(
    {
        "signing key",
        "certificates",
        "report signature",
        "certificate product",
        "processor",
        "certificate tcb",
        "certificate chip",
    }
)
"""Names of the checks that every verification makes, besides the chain's, to which
`verify_report` itself sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedReport:
    """A report that AMD's hardware made; only `verify_report` makes one.

    Attributes:
        report: the report.
        product: the machine's product line.
        endorsement: what the certificate of its key says.
        tcb: the report's TCB_VERSIONs: `current`, `committed`, `reported` and `launch`.
        certificates: fingerprints of all certificates that were used, leaf first.
    """

    report: Report
    product: Product
    endorsement: Endorsement
    tcb: dict[str, Tcb]
    certificates: tuple[str, ...]

    @property
    def hwid(self) -> bytes:
        """The chip's id: by its certificate if it has a VCEK, else by the report; perhaps zeros."""
        return self.endorsement.hwid or hwid(self.report, self.product)


def verify_report(
    data: bytes,
    supplied: Sequence[x509.Certificate],
    authorities: Sequence[Authority],
    *,
    crl_required: bool,
    question: Question,
    checklist: Checklist,
) -> VerifiedReport:
    """Return the report, verified by the steps above.

    Args:
        data: the report, 1184 bytes.
        supplied: certificates that came with it, in any order; none if the bundle has the VCEK.
        authorities: who may certify keys: `pinned_authorities()`.
        crl_required: the policy's `crl`.
        question: for the time, and the bundle.
        checklist: where the checks go.

    Raises:
        EvidenceRefused: a check does not hold.
        MalformedMessage: the report, or something else, is not well formed.
    """
    report = parse_report(data)
    kind = report.signing_key
    checklist.must(
        "signing key",
        holds=kind is not SigningKey.NONE,
        found=kind.name.lower(),
        wanted="vcek or vlek",
        trust=_IDENTITY,
        hint="the host has its security processor sign nothing (MASK_CHIP_KEY)",
    )
    if not supplied:
        supplied = _from_bundle(report, question, checklist)
    leaf, authority = _choose(supplied, kind, authorities, checklist)
    chain_name = f"{kind.name.lower()} chain"
    verify_chain(
        checklist,
        [leaf, authority.intermediate],
        authority.root,
        name=chain_name,
        now=question.now,
        understood=[e.oid for e in leaf.extensions if _is_amds(e.oid)],
    )
    _check_signature(report, leaf, checklist)
    endorsement = parse_endorsement(leaf, kind)
    _check_same_machine(report, endorsement, authority, checklist)
    if crl_required:
        check_authority(authority, question, checklist)
    tcb = {
        name: parse_tcb(raw, authority.product, f"{name} tcb")
        for name, raw in (
            ("reported", report.reported_tcb),
            ("current", report.current_tcb),
            ("committed", report.committed_tcb),
            ("launch", report.launch_tcb),
        )
    }
    # Its name depends on the kind of key, so it is not in `ALWAYS`.
    checklist.check_made({chain_name, f"{chain_name} validity"})
    return VerifiedReport(
        report=report,
        product=authority.product,
        endorsement=endorsement,
        tcb=tcb,
        certificates=fingerprints(leaf, authority.intermediate, authority.root),
    )


def _is_amds(oid: ObjectIdentifier) -> bool:
    return oid.dotted_string.startswith(AMD_EXTENSIONS)


def _from_bundle(report: Report, question: Question, checklist: Checklist) -> Chain:
    """Return the VCEK certificate from the bundle, and what lies in its file with it."""
    names = [vcek_name(report, product) for product in possible_products(report)]
    if not names:
        checklist.refuse(
            "processor",
            found=report.cpu or f"none, and reported tcb {report.reported_tcb.hex()}",
            wanted="one of " + ", ".join(Product),
            trust=Trust.HARDWARE,
            hint="a newer version may know it",
        )
    in_bundle = report.signing_key is SigningKey.VCEK and not report.chip_id_masked
    for name in names if in_bundle else ():
        if files := question.collateral.versions(name):
            versions = read_versions(checklist, name, files, _dated_vcek, _IDENTITY)
            return choose_signed(versions, question.now).content
    checklist.refuse(
        "certificates",
        found="none with the evidence, and none in the bundle",
        wanted=" or ".join(names) if in_bundle else "one with the evidence",
        trust=_IDENTITY,
        hint=FETCH_HINT
        if in_bundle
        else "the host must hand out the certificate: that of a VLEK, or of a chip whose id is "
        "masked, is not published",
    )


def _dated_vcek(file: CollateralFile) -> Dated[Chain]:
    return dated_chain(file, read_certificates(file.data, "it"))


def _choose(
    supplied: Sequence[x509.Certificate],
    kind: SigningKey,
    authorities: Sequence[Authority],
    checklist: Checklist,
) -> tuple[x509.Certificate, Authority]:
    """Return the leaf and its authority; whatever else was supplied must be pinned."""
    leaves = [
        certificate for certificate in supplied if common_name(certificate) == LEAF_NAMES[kind]
    ]
    authority = authority_of(leaves[0], kind, authorities) if len(leaves) == 1 else None
    others = [certificate for certificate in supplied if certificate not in leaves]
    pinned = () if authority is None else (authority.intermediate, authority.root)
    found = ", ".join(
        f"{common_name(certificate)} by {_issuer(certificate)}" for certificate in supplied
    )
    wanted = (
        f"one {LEAF_NAMES[kind]} by an ASK or ASVK that is pinned, and at most that and its ARK "
        "besides, as they are pinned"
    )
    hint = "send the certificate of the key that signed the report, and no other"
    if authority is None:
        checklist.refuse("certificates", found=found, wanted=wanted, trust=_IDENTITY, hint=hint)
    checklist.must(
        "certificates",
        holds=all(others.count(other) == 1 and other in pinned for other in others),
        found=found,
        wanted=wanted,
        trust=_IDENTITY,
        hint=hint,
    )
    return leaves[0], authority


def _issuer(certificate: x509.Certificate) -> str:
    names = certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.issuer.rfc4514_string()


def _check_signature(report: Report, leaf: x509.Certificate, checklist: Checklist) -> None:
    key = leaf.public_key()
    found = "does not verify"
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        found = "the certified key is not of curve P-384"
    else:
        try:
            signature = encode_dss_signature(*report.signature)
            key.verify(signature, report.signed, ec.ECDSA(SHA384()))
            found = "verifies"
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            pass
    checklist.must(
        "report signature",
        holds=found == "verifies",
        found=found,
        wanted=f"signed by the key that {common_name(leaf)} certifies",
        trust=_IDENTITY,
        hint="the report was changed, or the certificate is another chip's or another tcb's",
    )


def _check_same_machine(
    report: Report, endorsement: Endorsement, authority: Authority, checklist: Checklist
) -> None:
    product, cpu = authority.product, report.cpu
    checklist.must(
        "certificate product",
        holds=endorsement.product is product,
        found=endorsement.product_name,
        wanted=f"{product}, as its issuer's",
        trust=Trust.HARDWARE,
    )
    checklist.must(
        "processor",
        holds=cpu is None or product_of_cpu(cpu.family, cpu.model) is product,
        found="not in a report of version 2" if cpu is None else str(cpu),
        wanted=f"{product}, as in the certificate",
        trust=Trust.HARDWARE,
    )
    checklist.must(
        "certificate tcb",
        holds=endorsement.tcb == report.reported_tcb,
        found=endorsement.tcb,
        wanted=f"{report.reported_tcb.hex()}, the report's reported tcb",
        trust=Trust.HARDWARE,
        hint="fetch the certificate for the TCB that the report names",
    )
    wanted = f"{hwid(report, product).hex()}, the report's chip id"
    if report.signing_key is SigningKey.VLEK:
        wanted = "a cloud provider's id, as in every VLEK"
    elif report.chip_id_masked:
        wanted = "any, as the report's chip id is masked"
    checklist.must(
        "certificate chip",
        holds=report.signing_key is SigningKey.VLEK
        or report.chip_id_masked
        or endorsement.hwid == hwid(report, product),
        found=endorsement.csp_id or endorsement.hwid,
        wanted=wanted,
        trust=_IDENTITY,
        hint="the certificate is another chip's",
    )
