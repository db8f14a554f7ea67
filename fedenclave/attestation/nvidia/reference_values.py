"""Read the reference values of a manifest whose signature `rim.py` has verified.

Rules:
  * A kind of reference value that this version does not know is refused: to pass over one would be
    to skip a comparison.
  * Values that are not digests (`ns3`, minimum security versions of drivers from CUDA 13.5 on) are
    not compared yet, so refused.

Sources: ISO/IEC 19770-2:2015 (SWID tags); TCG Reference Integrity Manifest Information Model 1.01;
NVIDIA Reference Integrity Measurements Guide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from fedenclave.attestation.nvidia.opaque import DIGEST_SIZE
from fedenclave.protocol.errors import MalformedMessage

SWID = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"
_SHA384 = "{http://www.w3.org/2001/04/xmlenc#sha384}"
_ATTRIBUTES = frozenset({"type", "index", "active", "alternatives", "name", "size"})
_NUMBER = re.compile(r"0|[1-9][0-9]{0,2}")
_DIGEST = re.compile(r"[0-9a-f]{96}")
_MAX_ALTERNATIVES = 64
# SPDM blocks are numbered from 1 to 254, and reference values from 0.
MAX_INDEX = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest whose signature and chain are verified; only `rim.need_manifest` gives one out.

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


def read_manifest(
    document: Any, name: str, what: str, chain: tuple[x509.Certificate, ...]
) -> Manifest:
    """Return the manifest that `document` (an lxml element, what was signed) is.

    Raises:
        MalformedMessage: it is none, or has a value of a kind that is unknown.
    """
    metas, payloads = document.findall(f"{SWID}Meta"), document.findall(f"{SWID}Payload")
    if document.tag != f"{SWID}SoftwareIdentity" or len(metas) != 1 or len(payloads) != 1:
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
        chain=chain,
    )


def _read_resource(resource: Any, what: str) -> tuple[int, tuple[bytes, ...], bool]:
    attributes = dict(resource.attrib)
    index, count = attributes.get("index", ""), attributes.get("alternatives", "")
    kind = resource.tag == f"{SWID}Resource" and attributes.get("type") == "Measurement"
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
