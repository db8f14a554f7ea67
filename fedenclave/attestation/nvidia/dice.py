"""The firmware's identity in a device's leaf certificate.

DICE: the device's ROM derives the leaf's key from a secret and from the digest of the first
firmware, and certifies both. So the key that signs a report belongs to this device *and* to that
firmware.

Two extensions, by generation:
  * Hopper and NVSwitch: 2.23.133.5.4.1, in the layout of RIoT's CompositeDeviceID: version 1, the
    public key of the issuer, and one firmware id.
  * Blackwell: 2.23.133.5.4.1.1, DiceTcbInfo of TCG, whose first firmware id is the one, and whose
    flags tell debug and recovery.

Sources: TCG DICE Attestation Architecture 1.1, section 6.1.1 (DiceTcbInfo, OperationalFlags);
Microsoft RIoT (CompositeDeviceID). The ASN.1 is decoded by `cryptography`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ObjectIdentifier

from fedenclave.attestation.nvidia.opaque import DIGEST_SIZE
from fedenclave.protocol.errors import MalformedMessage

COMPOSITE_DEVICE_ID = ObjectIdentifier("2.23.133.5.4.1")
TCB_INFO = ObjectIdentifier("2.23.133.5.4.1.1")
_SHA384 = ObjectIdentifier("2.16.840.1.101.3.4.2.2")

# Bits of OperationalFlags, the first being the highest of the first byte.
_REFUSED_FLAGS = {1: "not secure", 2: "recovery", 3: "debug"}


@asn1.sequence
class _Fwid:
    algorithm: ObjectIdentifier
    digest: bytes


@asn1.sequence
class _CompositeDeviceId:
    version: int
    device_id: asn1.TLV
    fwid: _Fwid


@asn1.sequence
class _TcbInfo:
    vendor: Annotated[str | None, asn1.Implicit(0)]
    model: Annotated[str | None, asn1.Implicit(1)]
    version: Annotated[str | None, asn1.Implicit(2)]
    svn: Annotated[int | None, asn1.Implicit(3)]
    layer: Annotated[int | None, asn1.Implicit(4)]
    index: Annotated[int | None, asn1.Implicit(5)]
    fwids: Annotated[list[_Fwid] | None, asn1.Implicit(6)]
    flags: Annotated[asn1.BitString | None, asn1.Implicit(7)]
    vendor_info: Annotated[bytes | None, asn1.Implicit(8)]
    type: Annotated[bytes | None, asn1.Implicit(9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """What the certificate says of the firmware.

    Attributes:
        fwid: SHA-384 of the first firmware.
        flags: what is wrong with the device's state (debug, recovery, not secure); empty if
            nothing is, None if the certificate's generation does not tell.
    """

    fwid: bytes
    flags: tuple[str, ...] | None


def read_firmware(leaf: x509.Certificate, issuer: x509.Certificate) -> Firmware:
    """Return the firmware's identity in `leaf`, which `issuer` certified.

    Raises:
        MalformedMessage: it has none of the two extensions, or both, or one that does not decode.
    """
    values = {
        extension.oid: extension.value.value
        for extension in leaf.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
        and extension.oid in (COMPOSITE_DEVICE_ID, TCB_INFO)
    }
    if len(values) != 1:
        raise MalformedMessage(f"device certificate has {len(values)} dice extensions, want 1")
    [(oid, value)] = values.items()
    try:
        if oid == TCB_INFO:
            return _of_tcb_info(asn1.decode_der(_TcbInfo, value))
        return _of_composite(asn1.decode_der(_CompositeDeviceId, value), issuer)
    except ValueError as error:
        raise MalformedMessage(
            "dice extension of the device certificate does not decode"
        ) from error


def _of_composite(decoded: _CompositeDeviceId, issuer: x509.Certificate) -> Firmware:
    if decoded.version != 1:
        raise MalformedMessage(f"dice extension is of version {decoded.version}, want 1")
    key = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    # The library gives the content only; before it are a tag and, for a p-384 key, one length byte.
    if key[2:] != bytes(decoded.device_id.data):
        raise MalformedMessage("dice extension names another device key than the issuer's")
    return Firmware(fwid=_digest(decoded.fwid), flags=None)


def _of_tcb_info(decoded: _TcbInfo) -> Firmware:
    if not decoded.fwids:
        raise MalformedMessage("dice extension has no firmware id")
    bits = b"" if decoded.flags is None else decoded.flags.as_bytes()
    found = tuple(
        name
        for bit, name in _REFUSED_FLAGS.items()
        if bit // 8 < len(bits) and bits[bit // 8] >> (7 - bit % 8) & 1
    )
    return Firmware(fwid=_digest(decoded.fwids[0]), flags=None if decoded.flags is None else found)


def _digest(fwid: _Fwid) -> bytes:
    if fwid.algorithm != _SHA384 or len(fwid.digest) != DIGEST_SIZE:
        raise MalformedMessage("dice extension has a firmware id that is no sha-384")
    return bytes(fwid.digest)
