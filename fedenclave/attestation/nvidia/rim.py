"""NVIDIA's reference integrity manifests: what a driver or a VBIOS must measure to.

A manifest is a SWID tag in XML with a signature in XML inside, and the signer's certificates inside
that. Neither is ours: `lxml` parses, and `signxml` verifies; both are optional
(`pip install fedenclave[nvidia]`), and without them a policy that requires manifests is refused.

Rules:
  * XML is parsed without entities, document types and network, up to 1 MiB, with at most 80
    attributes to an element: to bring them into canonical order takes time that grows with the
    square of their number.
  * There is one signature, directly below the root; it covers the whole document (`URI=""`), by
    ECDSA with SHA-384. Only what `signxml` returns as signed is read.
  * The signer's chain is verified here, at the time of the question, up to NVIDIA's pinned root:
    `signxml` is given the certificate and decides nothing about it.
  * A manifest has no date. Of several versions under one name the one counts whose signer has the
    latest certificate that was issued by the time of the question, even if it has expired since,
    and is then refused; of those by one signer, the one that was fetched last by then.

Sources: NVIDIA Reference Integrity Measurements Guide; XML Signature 1.1; and those of
reference_values.py, which reads what is signed.
"""

from __future__ import annotations

import base64
import functools
import importlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography import x509

from fedenclave.attestation.certificates import (
    MAX_CERTIFICATES,
    common_name,
    parse_certificate,
    verify_chain,
)
from fedenclave.attestation.chain_versions import Chain, dated_chain
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import (
    Collateral,
    CollateralFile,
    Dated,
    choose_signed,
    read_versions,
)
from fedenclave.attestation.nvidia.reference_values import SWID, Manifest, read_manifest
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import MalformedMessage

FOLDER = "nvidia/rim"
INSTALL_HINT = "pip install 'fedenclave[nvidia]': it verifies the signatures of XML documents"
MAX_SIZE = 1 << 20
MAX_ATTRIBUTES = 80
"""A reference value has six, and up to 64 alternatives."""
_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_TRANSFORMS = (
    "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
    "http://www.w3.org/2006/12/xml-c14n11",
)


def need_manifest(
    checklist: Checklist, name: str, root: x509.Certificate, collateral: Collateral, now: int
) -> Manifest:
    """Return the manifest `name` of the bundle, verified at `now`.

    Raises:
        EvidenceRefused: it is missing, damaged, does not verify, has values that this version
            cannot compare, or what verifies it is not installed.
    """
    file_name = f"{FOLDER}/{name}.xml"
    etree, signxml = _libraries(checklist)
    versions = collateral.need(file_name, checklist, Trust.EXECUTABLES)
    chosen = _choose(checklist, etree, versions, root, file_name, now)
    chain = chosen.content
    verify_chain(
        checklist, chain, root, name=f"signer of {file_name}", now=now, trust=Trust.EXECUTABLES
    )

    def read(file: CollateralFile) -> Manifest | None:
        return _signed_manifest(signxml, etree, file.data, chain, name, now)

    [manifest] = read_versions(checklist, file_name, [chosen.file], read, Trust.EXECUTABLES)
    wanted = f"a signature of the whole document by {common_name(chain[0])}"
    if manifest is None:
        checklist.refuse(
            f"signature of {file_name}",
            found="does not verify",
            wanted=wanted,
            trust=Trust.EXECUTABLES,
            hint="fetch it again: it was changed",
        )
    checklist.must(
        f"signature of {file_name}",
        holds=True,
        found="verifies",
        wanted=wanted,
        trust=Trust.EXECUTABLES,
    )
    return manifest


def _choose(
    checklist: Checklist,
    etree: Any,
    versions: Sequence[CollateralFile],
    root: x509.Certificate,
    name: str,
    now: int,
) -> Dated[Chain]:
    """Return the version that counts, with its signer's chain, of which nothing is verified."""
    # Where the signers' dates are the same, the first one is taken.
    by_then = [file for file in versions if file.fetched <= now]
    later = [file for file in versions if file.fetched > now]

    def parse(file: CollateralFile) -> Dated[Chain]:
        return dated_chain(file, _read_chain(_parse(etree, file.data, "it"), root, "it"))

    found = read_versions(checklist, name, [*by_then, *later], parse, Trust.EXECUTABLES)
    return choose_signed(found, now)


def _libraries(checklist: Checklist) -> tuple[Any, Any]:
    try:
        # By name, since both are optional and carry no types.
        etree = importlib.import_module("lxml.etree")
        signxml = importlib.import_module("signxml")
    except ImportError:
        checklist.refuse(
            "reference manifests",
            found="lxml or signxml is not installed",
            wanted="what verifies them",
            trust=Trust.EXECUTABLES,
            hint=INSTALL_HINT,
        )
    return etree, signxml


def _parser(etree: Any) -> Any:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
    )


def _parse(etree: Any, data: bytes, what: str) -> Any:
    if len(data) > MAX_SIZE:
        raise MalformedMessage(f"{what} has {len(data)} bytes, want at most {MAX_SIZE}")
    try:
        document = etree.fromstring(data, parser=_parser(etree))
    # What lxml says of bad encodings is a ValueError.
    except (etree.LxmlError, ValueError) as error:
        raise MalformedMessage(f"{what} is not xml") from error
    if document.getroottree().docinfo.doctype:
        raise MalformedMessage(f"{what} has a document type, want none")
    if document.tag != f"{SWID}SoftwareIdentity":
        raise MalformedMessage(f"{what} is no swid tag")
    if any(len(element.attrib) > MAX_ATTRIBUTES for element in document.iter("*")):
        raise MalformedMessage(f"{what} has an element of more than {MAX_ATTRIBUTES} attributes")
    signatures = list(document.iter(f"{_DS}Signature"))
    if len(signatures) != 1 or signatures[0].getparent() is not document:
        raise MalformedMessage(f"{what} has not one signature below its root")
    _check_scope(signatures[0], what)
    return document


def _check_scope(signature: Any, what: str) -> None:
    """Refuse a signature over anything but the whole document."""
    references = list(signature.iter(f"{_DS}Reference"))
    transforms = tuple(t.get("Algorithm") for t in signature.iter(f"{_DS}Transform"))
    if len(references) != 1 or references[0].get("URI") != "" or transforms != _TRANSFORMS:
        raise MalformedMessage(f"{what} has a signature that is not over the whole document")


def _read_chain(document: Any, root: x509.Certificate, what: str) -> Chain:
    path = f"{_DS}Signature/{_DS}KeyInfo/{_DS}X509Data/{_DS}X509Certificate"
    found = document.findall(path)
    if not 0 < len(found) <= MAX_CERTIFICATES:
        raise MalformedMessage(f"{what} has {len(found)} certificates")
    try:
        ders = [base64.b64decode("".join((e.text or "").split()), validate=True) for e in found]
    except ValueError as error:
        raise MalformedMessage(f"{what} has a certificate that is not base64") from error
    chain = [parse_certificate(der, f"certificate of {what}") for der in ders]
    chain = chain[:-1] if chain[-1] == root else chain
    if not chain:
        raise MalformedMessage(f"{what} is signed by nobody below the root")
    return tuple(chain)


@functools.lru_cache(maxsize=16)
def _signed_manifest(
    signxml: Any,
    etree: Any,
    data: bytes,
    chain: tuple[x509.Certificate, ...],
    name: str,
    now: int,
) -> Manifest | None:
    """Return what is signed by `chain[0]`; None if it does not verify.

    Kept for the other GPUs of the machine, which need the same two manifests at the same time.
    """
    signed = _verify(signxml, etree, data, chain[0], now)
    return None if signed is None else read_manifest(signed, name, "it", chain)


def _verify(signxml: Any, etree: Any, data: bytes, signer: x509.Certificate, now: int) -> Any:
    """Return what is signed, parsed again from its canonical form; None if it does not verify."""
    expected = signxml.SignatureConfiguration(
        location="./",
        expect_references=1,
        signature_methods=frozenset({signxml.SignatureMethod.ECDSA_SHA384}),
        digest_algorithms=frozenset({signxml.DigestAlgorithm.SHA384}),
        verification_time=datetime.fromtimestamp(now, UTC),
    )
    try:
        result = signxml.XMLVerifier().verify(
            data, x509_cert=signer, parser=_parser(etree), expect_config=expected
        )
    # Its own errors, and what its parts say of elements that are missing or of a wrong kind.
    except (
        signxml.exceptions.SignXMLException,
        etree.LxmlError,
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
        NotImplementedError,
        AssertionError,
        OverflowError,
    ):
        return None
    return result.signed_xml
