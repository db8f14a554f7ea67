"""The PCK chain in a quote: Intel's certificate for one platform at one TCB level.

It verifies nothing: verify.py does. The chain must be leaf, intermediate, root and nothing else,
written as PEM exactly as this library writes it: a blank line, another certificate or an odd line
break would be bytes that no signature covers. Quoting libraries end the text with a line break, a
zero byte, both or neither, as their C code happens to count it.

Source: Intel SGX PCK Certificate and Certificate Revocation List Profile Specification, revision
1.5 (PCK certificate, and in it the SGX extension, 1.2.840.113741.1.13.1).
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.certificates import parse_certificates
from fedenclave.attestation.intel.dcap import PckExtension, parse_pck_extension
from fedenclave.protocol.errors import MalformedMessage

_CHAIN = 3
_ENDINGS = (b"\n", b"\n\x00", b"", b"\x00")
_ISSUERS = {
    "Intel SGX PCK Processor CA": "processor",
    "Intel SGX PCK Platform CA": "platform",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PckChain:
    """A PCK chain, parsed.

    Attributes:
        ca: which of Intel's two CAs issued the leaf: `processor` or `platform`.
        extension: what Intel says of the platform.
        pem: leaf and intermediate, for who wants the chain as text.
    """

    leaf: x509.Certificate
    intermediate: x509.Certificate
    root: x509.Certificate
    ca: str
    extension: PckExtension
    pem: str


def parse_pck_chain(data: bytes) -> PckChain:
    """Return the PCK chain that is the certification data of type 5.

    Raises:
        MalformedMessage: it is not leaf, intermediate and root, byte for byte; Intel's extension
            is missing or wrong; the leaf's issuer is neither of Intel's two CAs.
    """
    if not data.startswith(b"-----BEGIN CERTIFICATE-----\n"):
        raise MalformedMessage("pck chain does not begin as a certificate in pem")
    chain = parse_certificates(data.removesuffix(b"\x00"), "pck chain")
    if len(chain) != _CHAIN:
        raise MalformedMessage(f"pck chain has {len(chain)} certificates, want 3")
    text = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)
    if data not in [text.removesuffix(b"\n") + ending for ending in _ENDINGS]:
        raise MalformedMessage("pck chain has bytes that belong to no certificate")
    leaf, intermediate, root = chain
    pem = leaf.public_bytes(Encoding.PEM)
    return PckChain(
        leaf=leaf,
        intermediate=intermediate,
        root=root,
        ca=ca_of(intermediate.subject),
        extension=parse_pck_extension(pem),
        pem=(pem + intermediate.public_bytes(Encoding.PEM)).decode("ascii"),
    )


def ca_of(name: x509.Name) -> str:
    """Return which of Intel's two PCK CAs has this name: `processor` or `platform`.

    Raises:
        MalformedMessage: neither.
    """
    common = [str(part.value) for part in name.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]
    if len(common) != 1 or common[0] not in _ISSUERS:
        raise MalformedMessage(
            f"pck issuer is {' '.join(common)[:80]!r}, want {' or '.join(_ISSUERS)}"
        )
    return _ISSUERS[common[0]]
