"""Whose TPM it is: the endorsement key's certificate, up to a TPM vendor's root.

Not here: that an attestation key is in this TPM. No certificate says so; members find out by
challenge (activation.py), and sign that they did (statements.py).

Rules:
  * Roots are pinned by fingerprint in the policy, since there are dozens of TPM vendors; the
    certificates themselves lie in the bundle, `tpm/ek-roots/*.pem`.
  * The EK certificate must be one by the profile: for an endorsement key, naming the TPM.
  * Nothing unsigned is passed over: a certificate too many, or text around one, is a refusal.
  * SHA-1 is refused.

Limit: revocation lists of TPM vendors are not looked at; what a federation must no longer trust it
takes off `ek_roots`, or revokes by the certificate's fingerprint.

Source: TCG EK Credential Profile for TPM Family 2.0, 2.5, section 3 (X.509 credential); TCG OID
Registry 1.0 (2.23.133.*).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from fedenclave.attestation.certificates import (
    MAX_CERTIFICATES,
    fingerprint,
    fingerprints,
    parse_certificate,
    parse_certificates,
    verify_chain,
)
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import Collateral, CollateralFile, read_versions
from fedenclave.attestation.reader import Reader
from fedenclave.attestation.result import Trust
from fedenclave.attestation.tpm.signature import HASHES, PublicKey, weakness
from fedenclave.protocol.errors import MalformedMessage

ROOTS_FOLDER = "tpm/ek-roots/"

EK_CERTIFICATE = x509.ObjectIdentifier("2.23.133.8.1")
"""tcg-kp-EKCertificate: the extended key usage of an EK certificate."""
_TPM_NAMES = {
    "manufacturer": x509.ObjectIdentifier("2.23.133.2.1"),
    "model": x509.ObjectIdentifier("2.23.133.2.2"),
    "version": x509.ObjectIdentifier("2.23.133.2.3"),
}
_UNDERSTOOD = (ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.EXTENDED_KEY_USAGE)
_CHAIN = "ek chain"
_PEM = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsement:
    """A verified EK certificate.

    Attributes:
        key: the endorsement key.
        certificate: SHA-256 of the certificate's DER.
        fingerprints: of all certificates used, lower-case hex (`certificates.fingerprints`).
        tpm: `manufacturer`, `model` and `version` as the certificate names them.
    """

    key: PublicKey
    certificate: bytes
    fingerprints: tuple[str, ...]
    tpm: dict[str, str]


def parse_chain(data: bytes, what: str = "ek certificates") -> list[x509.Certificate]:
    """Return the certificates, EK first: PEM, or DER one after the other as a TPM holds them.

    Raises:
        MalformedMessage: there is something around them that nothing signs.
    """
    if not data.startswith(_PEM):
        return [parse_certificate(der, what) for der in _split_der(data, what)]
    chain = parse_certificates(data, what)
    if data != b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain):
        raise MalformedMessage(f"{what} have text around them, or lines not of 64 characters")
    return chain


def _split_der(data: bytes, what: str) -> list[bytes]:
    reader = Reader(data, what)
    ders: list[bytes] = []
    while reader.left and len(ders) < MAX_CERTIFICATES:
        # A sequence whose length takes two bytes (ITU-T X.690, section 8.1.3): any certificate.
        head, size = reader.take(2), reader.take(2)
        if head != b"\x30\x82":
            raise MalformedMessage(f"{what} are not certificates in der, one after the other")
        ders.append(head + size + reader.take(int.from_bytes(size, "big")))
    reader.finish()
    if not ders:
        raise MalformedMessage(f"{what} are empty")
    return ders


def verify_endorsement(
    checklist: Checklist,
    chain: Sequence[x509.Certificate],
    *,
    roots: Collection[bytes],
    collateral: Collateral,
    now: int,
) -> Endorsement:
    """Verify an EK certificate up to a root that the policy pins.

    Args:
        checklist: where the checks go, as `ek root`, `ek chain...` and `ek certificate`.
        chain: EK first; a copy of the root may be its end.
        roots: SHA-256 of the DER of the roots that are accepted.
        collateral: holds them.
        now: Unix seconds at which all must be valid.

    Raises:
        EvidenceRefused: a check does not hold.
    """
    pinned = [root.hex() for root in roots]
    path = list(chain)
    if len(path) > 1 and fingerprint(path[-1]) in pinned:
        path.pop()
    root = _root(checklist, path[-1], pinned, collateral)
    verify_chain(checklist, path, root, name=_CHAIN, now=now, understood=_UNDERSTOOD)
    key, tpm = _judge_certificate(checklist, path)
    return Endorsement(
        key=key,
        certificate=bytes.fromhex(fingerprint(path[0])),
        fingerprints=fingerprints(*path, root),
        tpm=tpm,
    )


def _root(
    checklist: Checklist, last: x509.Certificate, pinned: Sequence[str], collateral: Collateral
) -> x509.Certificate:
    """Return the pinned root that issued `last`."""
    found = [root for root in _roots(checklist, collateral) if fingerprint(root) in pinned]
    issuers = [root for root in found if root.subject == last.issuer]
    for root in issuers:
        # Vendors renew roots under the same name; only one of them has signed this.
        try:
            last.verify_directly_issued_by(root)
        except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
            continue
        return root
    checklist.must(
        "ek root",
        holds=bool(issuers),
        found=f"issued by {last.issuer.rfc4514_string()}; "
        f"{len(found)} of {len(pinned)} pinned roots are in the bundle",
        wanted="a root that ek_roots names and the bundle holds",
        trust=Trust.INSTANCE_IDENTITY,
        hint=f"put the tpm vendor's root certificate into {ROOTS_FOLDER} of the bundle",
    )
    # None of them signed it; the chain's own check says so.
    return issuers[0]


def _roots(checklist: Checklist, collateral: Collateral) -> list[x509.Certificate]:
    def parse(file: CollateralFile) -> list[x509.Certificate]:
        return parse_certificates(file.data, "it")

    return [
        certificate
        for name in collateral.names
        if name.startswith(ROOTS_FOLDER) and name.endswith(".pem")
        for certificates in read_versions(
            checklist, name, collateral.versions(name), parse, Trust.INSTANCE_IDENTITY
        )
        for certificate in certificates
    ]


def _judge_certificate(
    checklist: Checklist, path: Sequence[x509.Certificate]
) -> tuple[PublicKey, dict[str, str]]:
    """Return the endorsement key and the TPM's names, if the certificate is one by the profile."""
    key, tpm = path[0].public_key(), _tpm_names(path[0])
    supported = isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    problems = [
        "" if EK_CERTIFICATE in _purposes(path[0]) else "not for an ek",
        "" if all(not _purposes(c) or _allows_ek(c) for c in path[1:]) else "by a ca of other use",
        "" if tpm.keys() == _TPM_NAMES.keys() else "names no tpm",
        weakness(key),
        _usage_problem(path[0], rsa_key=isinstance(key, rsa.RSAPublicKey)),
        "" if all(_hash(c) in HASHES for c in path) else "signed by way of a hash that is too weak",
    ]
    problem = "; ".join(filter(None, problems))
    checklist.must(
        "ek certificate",
        holds=supported and not problem,
        found=problem or " ".join(tpm.values()),
        wanted="a certificate of an endorsement key by the tcg's profile",
        trust=Trust.INSTANCE_IDENTITY,
    )
    return key, tpm  # type: ignore[return-value]  # `supported` said so


def _hash(certificate: x509.Certificate) -> str:
    algorithm = certificate.signature_hash_algorithm
    return "" if algorithm is None else algorithm.name


def _purposes(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    try:
        return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except x509.ExtensionNotFound:
        return []


def _allows_ek(authority: x509.Certificate) -> bool:
    purposes = _purposes(authority)
    return EK_CERTIFICATE in purposes or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in purposes


def _tpm_names(certificate: x509.Certificate) -> dict[str, str]:
    """Return what the subject alternative name says of the TPM: each of its names, once."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return {}
    found: dict[str, str] = {}
    for directory in names.get_values_for_type(x509.DirectoryName):
        for what, oid in _TPM_NAMES.items():
            for attribute in directory.get_attributes_for_oid(oid):
                if what in found:
                    return {}
                found[what] = str(attribute.value)
    return found


def _usage_problem(certificate: x509.Certificate, *, rsa_key: bool) -> str:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return "has no key usage or basic constraints"
    allowed = usage.key_encipherment if rsa_key else usage.key_agreement
    return "" if allowed and not is_ca else "its key is for another use"
