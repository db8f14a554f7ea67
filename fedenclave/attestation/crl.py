"""Revocation lists of attestation vendors: parse, verify, judge certificates by them.

Source: RFC 5280, sections 5 (profile of a CRL) and 6.3 (its validation).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.certificates import check_signature_bits, common_name
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import Dated, judge_age
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import MalformedMessage


def parse_crl(der: bytes, what: str) -> x509.CertificateRevocationList:
    """Return the revocation list that `der` (or PEM) encodes.

    Raises:
        MalformedMessage: it encodes none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if b"-----BEGIN X509 CRL-----" in der:
                crl = x509.load_pem_x509_crl(der)
            else:
                crl = x509.load_der_x509_crl(der)
            # The library parses these when asked for.
            _ = (crl.extensions, crl.issuer, crl.last_update_utc, crl.next_update_utc)
    # As in `parse_certificate`: the library does not say what it raises.
    except Exception as error:
        raise MalformedMessage(f"{what} is not a revocation list that can be read") from error
    check_signature_bits(crl.public_bytes(Encoding.DER), crl.signature, what)
    return crl


def _signed_problem(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> str:
    """Return why `issuer` did not or may not sign `crl`; empty if all is well."""
    key = issuer.public_key()
    try:
        signed = (
            crl.issuer == issuer.subject
            and isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
            and crl.is_signature_valid(key)
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        signed = False
    if not signed:
        return "does not verify"
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return ""
    # RFC 5280, section 6.3.3 (f).
    return "" if usage.crl_sign else "its issuer may not sign revocation lists"


def check_revocation(
    checklist: Checklist,
    certificates: Sequence[x509.Certificate],
    dated: Dated[x509.CertificateRevocationList],
    issuer: x509.Certificate,
    *,
    name: str,
    now: int,
    max_age_seconds: int,
    trust: Trust = Trust.INSTANCE_IDENTITY,
) -> None:
    """Check that `issuer` signed a list and may, that it is current and names none of the others.

    Args:
        checklist: where the checks go.
        certificates: those that `issuer` issued.
        dated: the list, as `crl_versions.py` gives it.
        issuer: a certificate that a chain has verified already.
        name: the list's name in the bundle.
        now: Unix seconds.
        max_age_seconds: the policy's greatest age of collateral.
        trust: what the checks speak to.

    Raises:
        EvidenceRefused: a check does not hold.
    """
    crl = dated.content
    problem = _signed_problem(crl, issuer)
    checklist.must(
        f"signature of {name}",
        holds=not problem,
        found=problem or "verifies",
        wanted=f"a revocation list by {common_name(issuer)}",
        trust=trust,
        hint="fetch it again; it is not by the issuer of the certificates it must judge",
    )
    unknown = [e.oid.dotted_string for e in crl.extensions if e.critical]
    checklist.must(
        f"extensions of {name}",
        holds=not unknown,
        found=f"critical: {', '.join(unknown)}" if unknown else "none critical",
        wanted="a complete list: no critical extension narrows it",
        trust=trust,
    )
    judge_age(
        checklist,
        name,
        issued=dated.issued,
        next_update=dated.next_update,
        now=now,
        max_age_seconds=max_age_seconds,
        trust=trust,
    )
    for certificate in certificates:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        checklist.must(
            f"revocation of {common_name(certificate)}",
            holds=entry is None,
            found="not revoked" if entry is None else "revoked",
            wanted="not revoked",
            trust=trust,
            hint="its vendor says that this key can no longer be trusted",
        )
