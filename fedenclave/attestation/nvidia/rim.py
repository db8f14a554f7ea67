"""NVIDIA's reference integrity manifests: what a driver or a VBIOS must measure to.

A manifest is a SWID tag in XML with a signature in XML inside, and the signer's certificates inside
that. Neither is ours: `lxml` parses, and `signxml` verifies; both are optional
(`pip install fedenclave[nvidia]`), and without them a policy that requires manifests is refused.

Rules:
  * XML is parsed without entities, document types and network, up to 1 MiB.
  * There is one signature, directly below the root; it covers the whole document (`URI=""`), by
    ECDSA with SHA-384. Only what `signxml` returns as signed is read.
  * The signer's chain is verified here, at the time of the question, up to NVIDIA's pinned root:
    `signxml` is given the certificate and decides nothing about it.
  * A kind of reference value that this version does not know is refused: to pass over one would be
    to skip a comparison.

Sources: NVIDIA Reference Integrity Measurements Guide; ISO/IEC 19770-2:2015; TCG Reference
Integrity Manifest Information Model 1.01; XML Signature 1.1. Values that are not digests (`ns3`,
minimum security versions of drivers from CUDA 13.5 on) are not compared yet, so refused.
"""

from __future__ import annotations

import base64
import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography import x509

from fedenclave.attestation.certificates import (
    MAX_CERTIFICATES,
    common_name,
    parse_certificate,
    verify_chain,
)
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import Collateral
from fedenclave.attestation.nvidia.opaque import DIGEST_SIZE
from fedenclave.attestation.nvidia.revocation import current
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import MalformedMessage

FOLDER = "nvidia/rim"
INSTALL_HINT = "pip install 'fedenclave[nvidia]': it verifies the signatures of XML documents"
MAX_SIZE = 1 << 20
_SWID = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"
_DS = "{http://www.w3.org/2000/09/xmldsig#}"
_SHA384 = "{http://www.w3.org/2001/04/xmlenc#sha384}"
_TRANSFORMS = (
    "http://www.w3.org/2000/09/xmldsig#enveloped-signature",
    "http://www.w3.org/2006/12/xml-c14n11",
)
_ATTRIBUTES = frozenset({"type", "index", "active", "alternatives", "name", "size"})
_NUMBER = re.compile(r"0|[1-9][0-9]{0,2}")
_DIGEST = re.compile(r"[0-9a-f]{96}")
_MAX_ALTERNATIVES = 64
# SPDM blocks are numbered from 1 to 254, and reference values from 0.
MAX_INDEX = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest whose signature and chain are verified; only `need_manifest` makes one.

    Attributes:
        name: as NVIDIA's service calls it.
        product: the chip.
        version: of the driver or VBIOS.
        golden: the digests that are accepted, by index from 0; only active ones.
        chain: the signer's certificates, without the root.
    """

    name: str
    product: str
    version: str
    golden: Mapping[int, tuple[bytes, ...]]
    chain: tuple[x509.Certificate, ...]


def need_manifest(
    checklist: Checklist, name: str, root: x509.Certificate, collateral: Collateral, now: int
) -> Manifest:
    """Return the manifest `name` of the bundle, verified at `now`.

    Raises:
        EvidenceRefused: it is missing, does not verify, or what verifies it is not installed.
        MalformedMessage: it is no manifest.
    """
    file_name = f"{FOLDER}/{name}.xml"
    etree, signxml = _libraries(checklist)
    data = current(collateral.need(file_name, checklist, Trust.EXECUTABLES), now).data
    document = _parse(etree, data, file_name)
    chain = _read_chain(document, root, file_name)
    verify_chain(
        checklist, chain, root, name=f"signer of {file_name}", now=now, trust=Trust.EXECUTABLES
    )
    signed = _verify(signxml, etree, data, chain[0], now)
    checklist.must(
        f"signature of {file_name}",
        holds=signed is not None,
        found="does not verify" if signed is None else "verifies",
        wanted=f"a signature of the whole document by {common_name(chain[0])}",
        trust=Trust.EXECUTABLES,
        hint="fetch it again: it was changed",
    )
    return _read_manifest(signed, name, file_name, chain)


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
        raise AssertionError("refuse raises") from None
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
    if document.tag != f"{_SWID}SoftwareIdentity":
        raise MalformedMessage(f"{what} is no swid tag")
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


def _read_chain(document: Any, root: x509.Certificate, what: str) -> list[x509.Certificate]:
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
    return chain


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


def _read_manifest(
    document: Any, name: str, what: str, chain: Sequence[x509.Certificate]
) -> Manifest:
    metas, payloads = document.findall(f"{_SWID}Meta"), document.findall(f"{_SWID}Payload")
    if document.tag != f"{_SWID}SoftwareIdentity" or len(metas) != 1 or len(payloads) != 1:
        raise MalformedMessage(f"{what} has not one meta element and one payload")
    golden: dict[int, tuple[bytes, ...]] = {}
    seen: set[int] = set()
    for resource in payloads[0].iterchildren(tag="*"):
        index, digests, active = _read_resource(resource, what)
        if index in seen:
            raise MalformedMessage(f"{what} has reference value {index} twice")
        seen.add(index)
        if active:
            golden[index] = digests
    return Manifest(
        name=name,
        product=metas[0].get("product", ""),
        version=metas[0].get("colloquialVersion", ""),
        golden=golden,
        chain=tuple(chain),
    )


def _read_resource(resource: Any, what: str) -> tuple[int, tuple[bytes, ...], bool]:
    attributes = dict(resource.attrib)
    index, count = attributes.get("index", ""), attributes.get("alternatives", "")
    kind = resource.tag == f"{_SWID}Resource" and attributes.get("type") == "Measurement"
    if not kind or not _NUMBER.fullmatch(index) or int(index) > MAX_INDEX:
        raise MalformedMessage(f"{what} has a reference value of a kind that is unknown")
    if not _NUMBER.fullmatch(count) or not 0 < int(count) <= _MAX_ALTERNATIVES:
        raise MalformedMessage(f"{what} has reference value {index} without alternatives")
    names = [f"{_SHA384}Hash{number}" for number in range(int(count))]
    texts = [attributes.get(name, "").lower() for name in names]
    wanted = attributes.keys() == _ATTRIBUTES | set(names)
    well_formed = attributes.get("active") in ("True", "False") and all(
        _DIGEST.fullmatch(text) for text in texts
    )
    if not wanted or not well_formed or attributes.get("size") != str(DIGEST_SIZE):
        raise MalformedMessage(f"{what} has a reference value {index} that this version cannot use")
    digests = tuple(bytes.fromhex(text) for text in texts)
    return int(index), digests, attributes["active"] == "True"
