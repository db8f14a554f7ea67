"""A device's certificate chain, and the signature on its report.

From the leaf: the key of the running firmware; the device's own (`BROM`, burnt in); the chip's
provisioner; the chip family; NVIDIA's Device Identity CA, which is pinned. The certificates of
devices are valid to the year 9999: only revocation ends them.

Rules:
  * The part is PEM, leaf first, byte for byte as an encoder writes it, but for line ends: nothing
    that nobody authenticates may hide between certificates. The root may be its last.
  * What a device *is* (chip, id) is read from the device's own certificate, never from the report.

Sources: NVIDIA Attestation documentation (five certificates, root last); RFC 5280.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.certificates import (
    common_name,
    parse_certificates,
    verify_chain,
)
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.nvidia.dice import Firmware, read_firmware
from fedenclave.attestation.nvidia.serial import serial_number
from fedenclave.attestation.nvidia.spdm import SIGNATURE_SIZE, Report
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import MalformedMessage

HOPPER, BLACKWELL, LS10 = "hopper", "blackwell", "ls10"
ARCHITECTURES = (HOPPER, BLACKWELL, LS10)
_BROM = re.compile(r"(?:(GH)|(GB)|(LS)_?)(\d{2,3}) \S+ \S+ BROM")
MAX_PART = 64 << 10
_MIN_CHAIN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Whom the chain is of.

    Attributes:
        chain: leaf first, without the root.
        architecture: one of `ARCHITECTURES`.
        chip: as reference manifests name the product: `GH100`, `GB100`, `LS10`.
        model: the device certificate's whole name, such as `GH100 A01 GSP BROM`.
        device_id: the serial number of the device's own certificate, hex: it outlives every update
            of firmware.
        ueid: the leaf's serial number in decimal, which NVIDIA's tools call `ueid`; it changes
            with the firmware.
        firmware: of the leaf.
    """

    chain: tuple[x509.Certificate, ...]
    architecture: str
    chip: str
    model: str
    device_id: str
    ueid: str
    firmware: Firmware

    @property
    def switch(self) -> bool:
        """Whether it is an NVSwitch, and no GPU."""
        return self.architecture == LS10


def parse_device(data: bytes, root: x509.Certificate) -> Device:
    """Return the device whose chain `data` is. Nothing of it is verified.

    Raises:
        MalformedMessage: it is no chain of a device that this version knows.
    """
    chain = _parse_chain(data)
    if chain[-1] == root:
        chain = chain[:-1]
    if len(chain) < _MIN_CHAIN:
        raise MalformedMessage(
            f"device certificates are {len(chain)} below the root, want at least {_MIN_CHAIN}"
        )
    leaf, own = chain[:2]
    model = common_name(own)
    match = _BROM.fullmatch(model)
    if match is None:
        raise MalformedMessage(
            f"device certificate is of {model[:60]!a}, which is no device that this version knows"
        )
    hopper, blackwell, _, number = match.groups()
    architecture = HOPPER if hopper else BLACKWELL if blackwell else LS10
    return Device(
        chain=tuple(chain),
        architecture=architecture,
        chip=f"{hopper or blackwell or 'LS'}{number}",
        model=model,
        device_id=_hex(serial_number(own)),
        ueid=str(serial_number(leaf)),
        firmware=read_firmware(leaf, own),
    )


def _parse_chain(data: bytes) -> list[x509.Certificate]:
    if len(data) > MAX_PART:
        raise MalformedMessage(f"device certificates have {len(data)} bytes, want {MAX_PART}")
    chain = parse_certificates(data, "device certificate")
    written = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)
    if data.replace(b"\r\n", b"\n").rstrip(b"\n") != written.rstrip(b"\n"):
        raise MalformedMessage("device certificates are not plain pem: something is between them")
    return chain


def _hex(serial: int) -> str:
    return serial.to_bytes(max(1, (serial.bit_length() + 7) // 8), "big").hex()


def verify_device(
    checklist: Checklist, device: Device, root: x509.Certificate, *, now: int, label: str
) -> None:
    """Verify the chain up to `root`, and that the leaf may only sign.

    Raises:
        EvidenceRefused: a check does not hold.
    """
    verify_chain(checklist, device.chain, root, name=f"{label}device chain", now=now)
    problem = _leaf_problem(device.chain[0])
    checklist.must(
        f"{label}device key",
        holds=not problem,
        found=problem or "a p-384 key for signatures",
        wanted="a p-384 key for signatures that is no CA",
        trust=Trust.INSTANCE_IDENTITY,
    )


def _leaf_problem(leaf: x509.Certificate) -> str:
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        return "another kind of key"
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            return "a CA"
        if isinstance(value, x509.KeyUsage) and not value.digital_signature:
            return "a key that may not sign"
    return ""


def verify_signature(checklist: Checklist, report: Report, device: Device, *, label: str) -> None:
    """Verify the report's signature under the leaf, which `verify_device` has verified.

    Raises:
        EvidenceRefused: it does not verify.
    """
    half = SIGNATURE_SIZE // 2
    encoded = utils.encode_dss_signature(
        int.from_bytes(report.signature[:half], "big"),
        int.from_bytes(report.signature[half:], "big"),
    )
    key = device.chain[0].public_key()
    signed = isinstance(key, ec.EllipticCurvePublicKey)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(encoded, report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        signed = False
    checklist.must(
        f"{label}report signature",
        holds=signed,
        found="verifies" if signed else "does not verify",
        wanted=f"a signature by {common_name(device.chain[0])}",
        trust=Trust.INSTANCE_IDENTITY,
        hint="the report was damaged, or is of another device than the certificates",
    )
