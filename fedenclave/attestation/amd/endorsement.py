"""What a VCEK or VLEK certificate says in AMD's own extensions, and who may have signed it.

A VCEK is of one chip at one TCB_VERSION; a VLEK is loaded by a cloud provider into its machines,
and names the provider instead of the chip.

Sources: AMD 57230 (VCEK Certificate and KDS Interface), tables 10 (structVersion 0) and 11
(structVersion 1); VLEKs have the same extensions, but csp_id instead of hwID.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat import asn1

from fedenclave.attestation.amd.products import LINES, Product, product_of_name
from fedenclave.attestation.amd.report import SigningKey
from fedenclave.attestation.certificates import common_name
from fedenclave.attestation.roots import pinned
from fedenclave.protocol.errors import MalformedMessage

AMD_EXTENSIONS = "1.3.6.1.4.1.3704.1."
LEAF_NAMES = {SigningKey.VCEK: "SEV-VCEK", SigningKey.VLEK: "SEV-VLEK"}
_STRUCT_VERSION, _PRODUCT, _HWID, _CSP_ID = "1", "2", "4", "5"
_OCTET_STRING = 0x04


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who certifies one kind of key of one product line: ASK (for VCEKs) or ASVK, under the ARK."""

    product: Product
    kind: SigningKey
    intermediate: x509.Certificate
    root: x509.Certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsement:
    """The extensions of a certificate.

    Attributes:
        product: the line that its product name is of.
        product_name: as it is written, for example `Milan-B0`.
        tcb: TCB_VERSION for which the key was derived, 8 bytes as in a report.
        hwid: of the chip; empty in a VLEK.
        csp_id: of the cloud provider; empty in a VCEK.
    """

    product: Product
    product_name: str
    tcb: bytes
    hwid: bytes
    csp_id: str


def pinned_authorities() -> tuple[Authority, ...]:
    """Return the authorities in this tree: `roots/amd-<product>.pem` holds ARK, ASK and ASVK."""
    found = []
    for product in Product:
        root, ask, asvk = pinned(f"amd-{product}")
        for kind, intermediate in ((SigningKey.VCEK, ask), (SigningKey.VLEK, asvk)):
            found.append(
                Authority(product=product, kind=kind, intermediate=intermediate, root=root)
            )
    return tuple(found)


def authority_of(
    leaf: x509.Certificate, kind: SigningKey, authorities: Sequence[Authority]
) -> Authority | None:
    """Return who must have signed `leaf`, by its issuer's name; None if that is nobody pinned."""
    for authority in authorities:
        if authority.kind is kind and authority.intermediate.subject == leaf.issuer:
            return authority
    return None


def parse_endorsement(leaf: x509.Certificate, kind: SigningKey) -> Endorsement:
    """Return what AMD's extensions in `leaf` say.

    Raises:
        MalformedMessage: one is missing, unknown, twice there, or not encoded as it must be.
    """
    values = _extensions(leaf)
    name = _text(values, _PRODUCT)
    product = product_of_name(name)
    if product is None:
        raise MalformedMessage(f"certificate is for product {name[:40]!r}, which is not known here")
    line = LINES[product]
    version = _number(values, _STRUCT_VERSION)
    if version != line.struct_version:
        raise MalformedMessage(
            f"certificate for {product} has structure version {version}, want {line.struct_version}"
        )
    tcb = bytes(_number(values, arc) for arc in line.tcb_oids)
    hwid, csp_id = b"", ""
    if kind is SigningKey.VCEK:
        hwid = _octets(values, _HWID, line.hwid_size)
    else:
        csp_id = _text(values, _CSP_ID)
    if values:
        raise MalformedMessage(
            f"{common_name(leaf)} certificate has extensions that do not belong there: "
            + ", ".join(AMD_EXTENSIONS + arc for arc in sorted(values))
        )
    return Endorsement(product=product, product_name=name, tcb=tcb, hwid=hwid, csp_id=csp_id)


def _extensions(leaf: x509.Certificate) -> dict[str, bytes]:
    """Return AMD's extensions by their last arcs; that none is there twice the parser checked."""
    return {
        extension.oid.dotted_string.removeprefix(AMD_EXTENSIONS): extension.value.value
        for extension in leaf.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
        and extension.oid.dotted_string.startswith(AMD_EXTENSIONS)
    }


def _take(values: dict[str, bytes], arc: str) -> bytes:
    if arc not in values:
        raise MalformedMessage(f"certificate has no extension {AMD_EXTENSIONS}{arc}")
    return values.pop(arc)


def _number(values: dict[str, bytes], arc: str) -> int:
    try:
        number = asn1.decode_der(int, _take(values, arc))
    except (ValueError, OverflowError) as error:
        raise MalformedMessage(f"extension {AMD_EXTENSIONS}{arc} is not an integer") from error
    if not 0 <= number <= 0xFF:
        raise MalformedMessage(f"extension {AMD_EXTENSIONS}{arc} is not an integer of one byte")
    return number


def _text(values: dict[str, bytes], arc: str) -> str:
    try:
        text = asn1.decode_der(asn1.IA5String, _take(values, arc)).as_str()
    except ValueError as error:
        raise MalformedMessage(f"extension {AMD_EXTENSIONS}{arc} is not an IA5 string") from error
    if not text or not text.isprintable():
        raise MalformedMessage(f"extension {AMD_EXTENSIONS}{arc} is not a printable text")
    return text


def _octets(values: dict[str, bytes], arc: str, size: int) -> bytes:
    """Return `size` bytes: AMD's service writes them bare, and at times as an OCTET STRING."""
    value = _take(values, arc)
    if len(value) == size + 2 and value[0] == _OCTET_STRING and value[1] == size:
        value = value[2:]
    if len(value) != size:
        raise MalformedMessage(
            f"extension {AMD_EXTENSIONS}{arc} has {len(value)} bytes, want {size}"
        )
    return value
