"""X.509 certificates of attestation vendors: parse, name, verify a chain at a given time.

Why not `cryptography.x509.verification`: it verifies web servers and clients (names, key usages and
algorithms of the CA/Browser forum), and vendors' certificates are none: AMD signs with RSA-PSS
and gives VCEKs serial number 0, most leaves have no subject alternative name. Signatures, names
and encodings are still the library's; here is only the path, which the caller gives in order.

Keys of issuers are RSA of 2048 to 8192 bits, or on P-256, P-384 or P-521: no vendor has others, and
a key that is made as large as can be would keep whoever verifies busy.

Source: RFC 5280, section 6.1 (path validation, of which policies and name constraints are left
out: a certificate that has them is refused if they are critical).
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Collection, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, ObjectIdentifier

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import iso
from fedenclave.attestation.ecdsa_twin import ORDERS, twin
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import MalformedMessage

MAX_CERTIFICATES = 16
_PEM = b"-----BEGIN CERTIFICATE-----"
_UNDERSTOOD = (ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE)
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192


def parse_certificate(der: bytes, what: str) -> x509.Certificate:
    """Return the certificate that `der` encodes, its extensions parsed.

    Raises:
        MalformedMessage: it encodes none.
    """
    try:
        with warnings.catch_warnings():
            # A VCEK has serial number 0, and the library wants to say so each time.
            warnings.simplefilter("ignore")
            certificate = x509.load_der_x509_certificate(der)
            _ask_everything(certificate)
    # The library does not say what it raises. Besides its own errors there have been KeyErrors, for
    # a number that a table of its own has not; and the bytes are anybody's.
    except Exception as error:
        raise MalformedMessage(f"{what} is not a certificate that can be read") from error
    if certificate.public_bytes(Encoding.DER) != der:
        raise MalformedMessage(f"{what} has bytes after its end")
    check_signature_bits(der, certificate.signature, what)
    return certificate


def _ask_everything(certificate: x509.Certificate) -> None:
    """Ask for what the library parses only when asked: here is where an error is expected."""
    _ = (certificate.extensions, certificate.public_key(), certificate.serial_number)
    _ = (certificate.subject, certificate.issuer)
    # A year 0 is well formed, and no date.
    _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def check_signature_bits(der: bytes, signature: bytes, what: str) -> None:
    """Refuse a signature with unused bits: their number is the one byte that nothing covers.

    Raises:
        MalformedMessage: it has some.
    """
    if not der.endswith(b"\x00" + signature):
        raise MalformedMessage(f"{what} has a signature that is not of whole bytes")


def parse_certificates(data: bytes, what: str) -> list[x509.Certificate]:
    """Return the certificates of a PEM file, or the one of a DER file.

    Raises:
        MalformedMessage: something in it is no certificate, or there are more than 16.
    """
    if _PEM not in data:
        return [parse_certificate(data, what)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = x509.load_pem_x509_certificates(data)
            ders = [certificate.public_bytes(Encoding.DER) for certificate in found]
    # As in `parse_certificate`.
    except Exception as error:
        raise MalformedMessage(f"{what} is not a list of certificates in pem") from error
    if len(ders) > MAX_CERTIFICATES:
        raise MalformedMessage(f"{what} has {len(ders)} certificates, want at most 16")
    return [parse_certificate(der, what) for der in ders]


def fingerprint(certificate: x509.Certificate) -> str:
    """Return SHA-256 of the DER, lower-case hex."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def fingerprints(*certificates: x509.Certificate) -> tuple[str, ...]:
    """Return every fingerprint by which a revocation can name these certificates, each once.

    Whoever hands over a certificate that is signed by ECDSA can write it in two ways, and both
    verify (ecdsa_twin.py). A revocation of one of them is meant for the other too.
    """
    found: dict[str, None] = {}
    for certificate in certificates:
        found[fingerprint(certificate)] = None
        other = twin(certificate)
        if other is not None:
            found[hashlib.sha256(other).hexdigest()] = None
    return tuple(found)


def common_name(certificate: x509.Certificate) -> str:
    """Return what a person may call it: the subject's common name, or the whole subject."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string()


def verify_chain(
    checklist: Checklist,
    chain: Sequence[x509.Certificate],
    root: x509.Certificate,
    *,
    name: str,
    now: int,
    understood: Collection[ObjectIdentifier] = (),
    trust: Trust = Trust.INSTANCE_IDENTITY,
) -> None:
    """Verify `chain`, leaf first and without the root, up to `root`, which is trusted already.

    Checks, in this order: 1. the chain is not empty; 2. each certificate is signed by the next,
    the last by the root; 3. each issuer is a CA, may sign certificates, and its path length
    suffices; 4. all, the root too, are valid at `now`; 5. no critical extension is unknown.

    Args:
        checklist: where the checks go, their names beginning with `name`.
        chain: leaf first; a copy of the root at its end is the caller's to take off.
        root: pinned in this tree (AMD, Intel, ...) or by the policy (TPM vendors), or a certificate
            that was verified up to such a one (an issuer of OCSP answers). It is not asked who
            signed it.
        name: what the chain is, for example `vcek chain`.
        now: Unix seconds.
        understood: critical extensions, besides basic constraints and key usage, which the caller
            has judged.
        trust: what the checks speak to.

    Raises:
        EvidenceRefused: a check does not hold.
    """
    wanted_root = f"a chain to the trusted {common_name(root)}"
    checklist.must(
        name, holds=bool(chain), found=f"{len(chain)} certificates", wanted=wanted_root, trust=trust
    )
    issuers = [*chain[1:], root]
    for depth, (certificate, issuer) in enumerate(zip(chain, issuers, strict=True)):
        problem = _issued_problem(certificate, issuer, depth)
        checklist.must(
            name,
            holds=not problem,
            found=f"{common_name(certificate)} by {common_name(issuer)}: {problem or 'signed'}",
            wanted=wanted_root,
            trust=trust,
            hint="it was damaged, belongs to another machine, or was never the vendor's",
        )
    for certificate in (*chain, root):
        _check_validity(checklist, certificate, name, now, trust)
        unknown = [
            extension.oid.dotted_string
            for extension in certificate.extensions
            if extension.critical and extension.oid not in (*_UNDERSTOOD, *understood)
        ]
        if unknown:
            checklist.refuse(
                f"{name} extensions",
                found=f"critical and unknown: {', '.join(unknown)}",
                wanted="only extensions that are understood",
                trust=trust,
                hint="a newer version may understand it",
            )


def _issued_problem(certificate: x509.Certificate, issuer: x509.Certificate, depth: int) -> str:
    """Return why `issuer` did not or may not sign `certificate`; empty if all is well."""
    if weakness := _weakness(issuer):
        return weakness
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return "signature does not verify"
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"cannot be its issuer ({str(error)[:80]})"
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return "issuer has no basic constraints, so it is no CA"
    if not constraints.ca:
        return "issuer is no CA"
    if constraints.path_length is not None and constraints.path_length < depth:
        return f"issuer allows a path of {constraints.path_length}, and this is {depth}"
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return ""
    return "" if usage.key_cert_sign else "issuer may not sign certificates"


def _weakness(issuer: x509.Certificate) -> str:
    """Return why no signature by the issuer's key is looked at; empty if there is no reason."""
    key = issuer.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        fits = MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS
        return "" if fits else f"issuer has an rsa key of {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return "" if key.curve.name in ORDERS else f"issuer has a key on {key.curve.name}"
    return f"issuer has a key of kind {type(key).__name__}"


def _check_validity(
    checklist: Checklist, certificate: x509.Certificate, name: str, now: int, trust: Trust
) -> None:
    first = int(certificate.not_valid_before_utc.timestamp())
    last = int(certificate.not_valid_after_utc.timestamp())
    checklist.must(
        f"{name} validity",
        holds=first <= now <= last,
        found=f"{common_name(certificate)} valid {iso(first)} to {iso(last)}",
        wanted=f"valid at {iso(now)}",
        trust=trust,
        hint="give the time at which the evidence was made with --at, if it is an old one",
    )
