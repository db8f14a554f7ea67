"""A vendor that issues what AMD issues: roots, VCEKs and VLEKs, revocation lists, and reports.

Offsets of the report are written out here a second time, so that a slip in the parser shows.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fedenclave.attestation.amd.endorsement import Authority
from fedenclave.attestation.amd.products import Product
from fedenclave.attestation.amd.report import SigningKey

NOW = int(datetime(2026, 11, 25, tzinfo=UTC).timestamp())
DAY = 24 * 3600
CHIP = bytes(range(1, 65))
CSP = "CN=cc-test-1.example.com"
TITLES = {Product.MILAN: "Milan", Product.GENOA: "Genoa", Product.TURIN: "Turin"}
CERTIFICATE_NAMES = {Product.MILAN: "Milan-B0", Product.GENOA: "Genoa", Product.TURIN: "Turin"}
CPUS = {Product.MILAN: (0x19, 0x01, 1), Product.GENOA: (0x19, 0x11, 1), Product.TURIN: (0x1A, 2, 1)}
TCBS = {
    Product.MILAN: bytes([4, 0, 0, 0, 0, 0, 24, 219]),
    Product.GENOA: bytes([10, 0, 0, 0, 0, 0, 25, 84]),
    Product.TURIN: bytes([1, 2, 3, 4, 0, 0, 0, 75]),
}
SPLS_0 = ("3.1", "3.2", "3.4", "3.5", "3.6", "3.7", "3.3", "3.8")
SPLS_1 = ("3.9", "3.1", "3.2", "3.3", "3.5", "3.6", "3.7", "3.8")
PSS = padding.PSS(mgf=padding.MGF1(SHA384()), salt_length=48)


@cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@cache
def ec_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def name_of(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fake Micro Devices"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def day(offset: int) -> datetime:
    return datetime.fromtimestamp(NOW, UTC) + timedelta(days=offset)


def certificate(
    subject: str,
    issuer: str,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    signer: rsa.RSAPrivateKey,
    *,
    serial: int,
    days: tuple[int, int],
    extensions: list[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(subject))
        .issuer_name(name_of(issuer))
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(day(days[0]))
        .not_valid_after(day(days[1]))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer, SHA384(), rsa_padding=PSS)


CA = [(x509.BasicConstraints(ca=True, path_length=None), True)]


@cache
def root_of(product: Product) -> x509.Certificate:
    name = f"ARK-{TITLES[product]}"
    key = rsa_key(name)
    return certificate(name, name, key.public_key(), key, serial=1, days=(-900, 900), extensions=CA)


def intermediate_name(product: Product, kind: SigningKey) -> str:
    return f"SEV-{'VLEK-' if kind is SigningKey.VLEK else ''}{TITLES[product]}"


@cache
def intermediate_of(product: Product, kind: SigningKey) -> x509.Certificate:
    name = intermediate_name(product, kind)
    return certificate(
        name,
        f"ARK-{TITLES[product]}",
        rsa_key(name).public_key(),
        rsa_key(f"ARK-{TITLES[product]}"),
        serial=257 + kind,
        days=(-800, 800),
        extensions=CA,
    )


def der_integer(number: int) -> bytes:
    return bytes([2, 1, number]) if number < 0x80 else bytes([2, 2, 0, number])


def ia5(text: str) -> bytes:
    return bytes([0x16, len(text)]) + text.encode()


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine of one product line, its keys, and who certified them.

    `extensions` replaces or, with None, removes AMD's extensions by their last arcs.
    """

    product: Product = Product.MILAN
    kind: SigningKey = SigningKey.VCEK
    chip_id: bytes = CHIP
    extensions: Mapping[str, bytes | None] = field(default_factory=dict)
    leaf_days: tuple[int, int] = (-30, 30)
    leaf_name: str = ""
    leaf_curve: ec.EllipticCurve = field(default_factory=ec.SECP384R1)
    issuer_kind: SigningKey | None = None
    signer: str = ""

    @property
    def title(self) -> str:
        return TITLES[self.product]

    @property
    def hwid(self) -> bytes:
        return self.chip_id[: 8 if self.product is Product.TURIN else 64]

    @property
    def root(self) -> x509.Certificate:
        return root_of(self.product)

    @property
    def intermediate(self) -> x509.Certificate:
        return intermediate_of(self.product, self.kind)

    @cached_property
    def key(self) -> ec.EllipticCurvePrivateKey:
        if not isinstance(self.leaf_curve, ec.SECP384R1):
            return ec.generate_private_key(self.leaf_curve)
        return ec_key("leaf")

    @cached_property
    def leaf(self) -> x509.Certificate:
        kind = self.kind if self.issuer_kind is None else self.issuer_kind
        issuer = intermediate_name(self.product, kind)
        return certificate(
            self.leaf_name or ("SEV-VLEK" if self.kind is SigningKey.VLEK else "SEV-VCEK"),
            issuer,
            self.key.public_key(),
            rsa_key(self.signer or issuer),
            serial=5,
            days=self.leaf_days,
            extensions=self._amd_extensions(),
        )

    def _amd_extensions(self) -> list[tuple[x509.ExtensionType, bool]]:
        turin = self.product is Product.TURIN
        values: dict[str, bytes | None] = {
            "1": der_integer(int(turin)),
            "2": ia5(CERTIFICATE_NAMES[self.product]),
        }
        for arc, number in zip(SPLS_1 if turin else SPLS_0, TCBS[self.product], strict=True):
            values[arc] = der_integer(number)
        if self.kind is SigningKey.VCEK:
            values["4"] = self.hwid
        else:
            values["5"] = ia5(CSP)
        values |= self.extensions
        return [
            (
                x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.3.6.1.4.1.3704.1.{arc}"), v),
                False,
            )
            for arc, v in values.items()
            if v is not None
        ]

    @property
    def der(self) -> bytes:
        return self.leaf.public_bytes(Encoding.DER)

    def pem(self, *, chain: bool = False) -> bytes:
        certificates = [self.leaf, self.intermediate, self.root] if chain else [self.leaf]
        return b"".join(c.public_bytes(Encoding.PEM) for c in certificates)

    def crl(
        self,
        *revoked: x509.Certificate,
        days: tuple[int, int] = (-300, 60),
        signer: str = "",
        issuer: str = "",
    ) -> bytes:
        """Return the ARK's list, signed and superseded so many days from now."""
        name = f"ARK-{self.title}"
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(name_of(issuer or name))
            .last_update(day(days[0]))
            .next_update(day(days[1]))
        )
        for one in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(one.serial_number)
                .revocation_date(day(-310))
                .build()
            )
        signed = builder.sign(rsa_key(signer or name), SHA384(), rsa_padding=PSS)
        return signed.public_bytes(Encoding.DER)

    def sign(self, report: bytes) -> bytes:
        """Return `report` with this machine's signature, as AMD writes it."""
        r, s = decode_dss_signature(self.key.sign(report[:0x2A0], ec.ECDSA(SHA384())))
        return report[:0x2A0] + r.to_bytes(72, "little") + s.to_bytes(72, "little") + bytes(368)

    def report(self, **changes: object) -> bytes:
        """Return a signed report; `changes` are fields of `Fields`."""
        chip_id = self.hwid.ljust(64, b"\0") if self.kind is SigningKey.VCEK else bytes(64)
        fields = Fields(
            tcb=TCBS[self.product],
            cpu=CPUS[self.product],
            key_info=self.kind << 2,
            chip_id=chip_id,
        )
        return self.sign(replace(fields, **changes).to_bytes())


@dataclass(frozen=True, kw_only=True)
class Fields:
    """A report's fields; `raw` overwrites bytes at offsets, last of all."""

    version: int = 5
    guest_svn: int = 7
    policy: int = 0x30000
    vmpl: int = 0
    algorithm: int = 1
    tcb: bytes
    current_tcb: bytes | None = None
    committed_tcb: bytes | None = None
    launch_tcb: bytes | None = None
    platform_info: int = 0x25
    key_info: int
    report_data: bytes = b"\xd0" * 64
    measurement: bytes = b"\xaa" * 48
    host_data: bytes = b"\xbb" * 32
    id_key_digest: bytes = bytes(48)
    author_key_digest: bytes = bytes(48)
    report_id_ma: bytes = b"\xff" * 32
    cpu: tuple[int, int, int]
    chip_id: bytes
    current_firmware: tuple[int, int, int] = (1, 55, 43)
    committed_firmware: tuple[int, int, int] = (1, 55, 43)
    mitigations: tuple[int, int] = (3, 7)
    raw: Mapping[int, bytes] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        data = bytearray(0x4A0)
        places: dict[int, bytes] = {
            0x000: struct.pack("<IIQ", self.version, self.guest_svn, self.policy),
            0x010: b"\x0f" * 16 + b"\x0e" * 16,
            0x030: struct.pack("<II", self.vmpl, self.algorithm),
            0x038: self.tcb if self.current_tcb is None else self.current_tcb,
            0x040: struct.pack("<QI", self.platform_info, self.key_info),
            0x050: self.report_data,
            0x090: self.measurement,
            0x0C0: self.host_data,
            0x0E0: self.id_key_digest,
            0x110: self.author_key_digest,
            0x140: b"\x1d" * 32,
            0x160: self.report_id_ma,
            0x180: self.tcb,
            0x1A0: self.chip_id,
            0x1E0: self.tcb if self.committed_tcb is None else self.committed_tcb,
            0x1E8: bytes(reversed(self.current_firmware)),
            0x1EC: bytes(reversed(self.committed_firmware)),
            0x1F0: self.tcb if self.launch_tcb is None else self.launch_tcb,
        }
        if self.version >= 3:
            places[0x188] = bytes(self.cpu)
        if self.version >= 5:
            places[0x1F8] = struct.pack("<QQ", *self.mitigations)
        for offset, value in (places | dict(self.raw)).items():
            data[offset : offset + len(value)] = value
        return bytes(data)


GUIDS = {
    "vcek": uuid.UUID("63da758d-e664-4564-adc5-f4b93be8accd"),
    "vlek": uuid.UUID("a8074bc2-a25a-483e-aae6-39c045a0b8a1"),
    "ask": uuid.UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782"),
    "ark": uuid.UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae"),
}


def table(entries: Mapping[str, bytes], *, little: bool = False, padding_bytes: int = 100) -> bytes:
    """Return a host's certificate table."""
    at = 24 * (len(entries) + 1)
    head, body = b"", b""
    for name, data in entries.items():
        guid = GUIDS[name].bytes_le if little else GUIDS[name].bytes
        head += guid + struct.pack("<II", at + len(body), len(data))
        body += data
    return head + bytes(24) + body + bytes(padding_bytes)


def authorities() -> list[Authority]:
    return [
        Authority(
            product=product,
            kind=kind,
            root=root_of(product),
            intermediate=intermediate_of(product, kind),
        )
        for product in Product
        for kind in (SigningKey.VCEK, SigningKey.VLEK)
    ]
