"""Whether NVIDIA has revoked a device, or whoever signed a reference manifest.

Two sources, of which the policy chooses one:
  * `ocsp`: NVIDIA's answer for every certificate but the leaf, which it does not know: the device's
    own, the provisioner's, the family's; and for the signers of the reference manifests that are
    used. An answer is valid for a day.
  * `crl`: NVIDIA's lists, valid for about two months. They cover the certificates that name one
    (`CRL distribution points`): the family's and the provisioner's, not a single device's.

Of several versions in the bundle the one counts that says itself that it is the latest that was
issued by the time, even if it has expired since, and is then refused; no snapshot's name decides.

Source: RFC 6960 (OCSP), sections 3.2 and 4.2.2.2; RFC 5280, section 6.3; NVIDIA OCSP Service
documentation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from fedenclave.attestation.certificates import common_name, parse_certificate, verify_chain
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import (
    CollateralFile,
    Dated,
    choose_signed,
    judge_age,
    read_versions,
)
from fedenclave.attestation.crl import check_revocation
from fedenclave.attestation.crl_versions import need_crl
from fedenclave.attestation.format import Question
from fedenclave.attestation.nvidia.serial import serial_number
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import MalformedMessage

OCSP, CRL = "ocsp", "crl"
OCSP_FOLDER = "nvidia/ocsp"
_LIST = re.compile(r"https?://[^/]+/(crl|crl-corim)/([0-9A-Za-z-]+)(?:\.crl)?")
_IDENTITY = Trust.INSTANCE_IDENTITY
_ID_HASHES = (hashes.SHA1, hashes.SHA256, hashes.SHA384)


def check_chain(
    checklist: Checklist,
    chain: Sequence[x509.Certificate],
    root: x509.Certificate,
    source: str,
    question: Question,
) -> None:
    """Check that none of `chain`, which was verified up to `root`, is revoked.

    Args:
        checklist: where the checks go.
        chain: lowest first: those that the source can speak about, without the root.
        root: the pinned one.
        source: `OCSP` or `CRL`.
        question: with the bundle.

    Raises:
        EvidenceRefused: one is revoked, or what would tell is missing, too old, or damaged.
        MalformedMessage: a certificate does not say where its revocation is to be found.
    """
    # From the top: an answer is worth as much as the issuer that stands behind it.
    pairs = list(zip(chain, [*chain[1:], root], strict=True))[::-1]
    if source == OCSP:
        for certificate, issuer in pairs:
            _check_ocsp(checklist, certificate, issuer, question)
        return
    listed = [(pair, url) for pair in pairs if (url := crl_url(pair[0])) is not None]
    if not listed:
        raise MalformedMessage("no certificate of the chain names a revocation list")
    for (certificate, issuer), url in listed:
        _check_crl(checklist, certificate, issuer, crl_name(url), question)


def _check_crl(
    checklist: Checklist,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    name: str,
    question: Question,
) -> None:
    check_revocation(
        checklist,
        [certificate],
        need_crl(checklist, question.collateral, name, question.now),
        issuer,
        name=name,
        now=question.now,
        max_age_seconds=question.collateral_max_age_seconds,
    )


def crl_url(certificate: x509.Certificate) -> str | None:
    """Return where the list is published that covers `certificate`; None if none does.

    Raises:
        MalformedMessage: it names only places at which NVIDIA publishes no lists.
    """
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return None
    for point in points:
        for name in point.full_name or ():
            if isinstance(name, x509.UniformResourceIdentifier) and _LIST.fullmatch(name.value):
                return str(name.value)
    raise MalformedMessage(f"{common_name(certificate)} names a revocation list that has no name")


def crl_name(url: str) -> str:
    """Return the bundle's name of the list that is published at `url`.

    The folder is part of it: `l2-gb100.crl` is a list of devices' issuers in one, and another, of
    manifests' signers, in the other. Some certificates leave the ending out.

    Raises:
        ValueError: NVIDIA publishes no lists there.
    """
    found = _LIST.fullmatch(url)
    if found is None:
        raise ValueError(f"url is {url[:80]!r}, want a folder crl or crl-corim, and a name")
    return f"nvidia/{found[1]}/{found[2]}.crl"


def ocsp_name(certificate: x509.Certificate) -> str:
    """Return the bundle's name of the answer about `certificate`.

    Raises:
        MalformedMessage: its serial number is not positive.
    """
    return f"{OCSP_FOLDER}/{serial_number(certificate):x}.der"


def _check_ocsp(
    checklist: Checklist,
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    question: Question,
) -> None:
    name = ocsp_name(certificate)
    files = question.collateral.need(name, checklist, _IDENTITY)
    answers = read_versions(checklist, name, files, _dated_answer, _IDENTITY)
    chosen = choose_signed(answers, question.now)
    answer = chosen.content
    about = _is_about(answer, certificate, issuer)
    checklist.must(
        f"subject of {name}",
        holds=about,
        found=f"certificate {answer.serial_number:x}" + ("" if about else " of another issuer"),
        wanted=f"certificate {serial_number(certificate):x} by {common_name(issuer)}",
        trust=_IDENTITY,
        hint="it answers for another certificate: fetch it again",
    )
    _verify_answer(checklist, answer, issuer, name, question.now)
    judge_age(
        checklist,
        name,
        issued=chosen.issued,
        next_update=chosen.next_update,
        now=question.now,
        max_age_seconds=question.collateral_max_age_seconds,
        trust=_IDENTITY,
    )
    status = answer.certificate_status
    checklist.must(
        f"revocation of {common_name(certificate)}",
        holds=status is ocsp.OCSPCertStatus.GOOD,
        found=status.name.lower(),
        wanted="good",
        trust=_IDENTITY,
        hint="its vendor says that this key can no longer be trusted, or no longer for now",
    )


def _dated_answer(file: CollateralFile) -> Dated[ocsp.OCSPResponse]:
    answer = _parse_answer(file.data)
    until = answer.next_update_utc
    return Dated(
        file=file,
        content=answer,
        issued=int(answer.this_update_utc.timestamp()),
        next_update=None if until is None else int(until.timestamp()),
    )


def _parse_answer(data: bytes) -> ocsp.OCSPResponse:
    try:
        answer = ocsp.load_der_ocsp_response(data)
        status = answer.response_status
        answered = status is ocsp.OCSPResponseStatus.SUCCESSFUL
        critical = answered and _ask_everything(answer)
    # The library does not say what it raises, and the bytes are anybody's.
    except Exception as error:
        raise MalformedMessage("it is not an ocsp answer that can be read") from error
    if not answered:
        raise MalformedMessage(f"it is an error, no answer: {status.name}")
    if critical:
        raise MalformedMessage("it has a critical extension, which is unknown")
    _delegates(answer)
    return answer


def _delegates(answer: ocsp.OCSPResponse) -> list[x509.Certificate]:
    """Return the certificates in an answer, of which one may be the responder's.

    Raises:
        MalformedMessage: one cannot be read.
    """
    # The library parses an answer's certificates late; here an error is expected.
    ders = [certificate.public_bytes(Encoding.DER) for certificate in answer.certificates]
    return [parse_certificate(der, "a certificate in it") for der in ders]


def _ask_everything(answer: ocsp.OCSPResponse) -> bool:
    """Ask for what the library parses only when asked; return whether an extension is critical."""
    _ = (answer.certificate_status, answer.serial_number, answer.hash_algorithm)
    _ = (answer.issuer_name_hash, answer.issuer_key_hash)
    # A year 0 is well formed, and no date.
    _ = (answer.this_update_utc, answer.next_update_utc)
    _ = (answer.responder_name, answer.responder_key_hash)
    _ = (answer.signature_hash_algorithm, answer.signature, answer.certificates)
    return any(e.critical for e in (*answer.extensions, *answer.single_extensions))


def _key_bits(certificate: x509.Certificate) -> bytes:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return b""
    return x509.SubjectKeyIdentifier.from_public_key(key).digest


def _is_about(
    answer: ocsp.OCSPResponse, certificate: x509.Certificate, issuer: x509.Certificate
) -> bool:
    """Whether the answer is about this certificate, by the three values that RFC 6960 compares."""
    algorithm = answer.hash_algorithm
    if not isinstance(algorithm, _ID_HASHES):
        return False
    try:
        # The library computes the three for a request; so the same code makes both sides.
        request = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, algorithm).build()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return (
        answer.serial_number == request.serial_number
        and answer.issuer_name_hash == request.issuer_name_hash
        and answer.issuer_key_hash == request.issuer_key_hash
    )


def _verify_answer(
    checklist: Checklist,
    answer: ocsp.OCSPResponse,
    issuer: x509.Certificate,
    name: str,
    now: int,
) -> None:
    """Verify that the issuer, or one to whom it delegated, signed the answer."""
    signer = next((c for c in (issuer, *_delegates(answer)) if _is_responder(answer, c)), None)
    if signer is not None and signer != issuer:
        verify_chain(
            checklist,
            [signer],
            issuer,
            name=f"responder of {name}",
            now=now,
            understood=(ExtensionOID.EXTENDED_KEY_USAGE,),
        )
    signed = signer is not None and (signer == issuer or _may_answer(signer))
    signed = signed and signer is not None and _signature_verifies(answer, signer)
    checklist.must(
        f"signature of {name}",
        holds=signed,
        found="verifies" if signed else "does not verify",
        wanted=f"an answer by {common_name(issuer)}, or by whom it delegated this to",
        trust=_IDENTITY,
        hint="fetch it again",
    )


def _is_responder(answer: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    if answer.responder_name is not None:
        return certificate.subject == answer.responder_name
    return answer.responder_key_hash == _key_bits(certificate)


def _may_answer(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.OCSP_SIGNING in usage


def _signature_verifies(answer: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, algorithm = signer.public_key(), answer.signature_hash_algorithm
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(
        algorithm, hashes.SHA256 | hashes.SHA384 | hashes.SHA512
    ):
        return False
    try:
        key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(algorithm))
    except InvalidSignature:
        return False
    return True
