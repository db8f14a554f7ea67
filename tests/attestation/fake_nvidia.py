"""An NVIDIA that exists in tests alone: device chains, reports, manifests, OCSP answers, CRLs.

Everything is valid unless an argument says otherwise, so that each test changes one thing.
"""

from __future__ import annotations

import functools
import itertools
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from fedenclave.attestation.nvidia import opaque
from fedenclave.attestation.nvidia.appraisal import Roots
from fedenclave.attestation.nvidia.dice import COMPOSITE_DEVICE_ID, TCB_INFO
from fedenclave.attestation.nvidia.format import CERTIFICATES, REPORT, make_format
from fedenclave.attestation.nvidia.gpu import gpu_nonce

NOW = 1_790_000_000
DAY = 24 * 3600
REPORT_DATA = bytes(range(64))
NONCE = gpu_nonce(REPORT_DATA)
FWID = bytes([0xF1]) * 48
DRIVER, VBIOS = "580.95.05", "96.00.9F.00.01"
DRIVER_RIM = f"nvidia/rim/NV_GPU_DRIVER_GH100_{DRIVER}.xml"
VBIOS_RIM = "nvidia/rim/NV_GPU_VBIOS_1010_0200_882_96009F0001.xml"
SWITCH_RIM = "nvidia/rim/NV_SWITCH_BIOS_5612_0002_890_9610550001.xml"
LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_SHA384_OID = bytes.fromhex("0609608648016503040202")


@functools.cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """Return one P-384 key per name, made once per run; P-256 for a name that says so."""
    return ec.generate_private_key(ec.SECP256R1() if "P-256" in name else ec.SECP384R1())


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def name_of(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "NVIDIA Corporation"),
        ]
    )


@functools.cache
def certificate(
    subject: str,
    issuer: str,
    *,
    ca: bool = True,
    serial: int = 7,
    crl: str = "",
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    first: int = NOW - 1000 * DAY,
    last: datetime = LAST,
    signs: bool = True,
) -> x509.Certificate:
    """Return a certificate of the key named `subject` by the key named `issuer`."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(subject))
        .issuer_name(name_of(issuer))
        .public_key(key(subject).public_key())
        .serial_number(serial)
        .not_valid_before(at(first))
        .not_valid_after(last)
        .add_extension(_usage(ca=ca, signs=signs), critical=True)
    )
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    if crl:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(key(issuer), hashes.SHA384())


def _usage(*, ca: bool, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs and not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=not signs,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


DEVICE_ROOT_NAME, RIM_ROOT_NAME = "Fake Device Identity CA", "Fake Reference Value Root CA"
DEVICE_ROOT = certificate(DEVICE_ROOT_NAME, DEVICE_ROOT_NAME, serial=1)
RIM_ROOT = certificate(RIM_ROOT_NAME, RIM_ROOT_NAME, serial=2)
ROOTS = Roots(device=DEVICE_ROOT, manifests=RIM_ROOT)
FORMAT = make_format(ROOTS)


def composite(issuer: str, fwid: bytes = FWID, version: int = 1) -> bytes:
    """Return Hopper's DICE extension."""
    spki = key(issuer).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    inner = bytes([2, 1, version]) + spki + _fwid(fwid)
    return bytes([0x30, 0x81, len(inner)]) + inner


def _fwid(fwid: bytes) -> bytes:
    inner = _SHA384_OID + bytes([4, len(fwid)]) + fwid
    return bytes([0x30, len(inner)]) + inner


def tcb_info(fwid: bytes = FWID, flags: bytes = b"\x80\x00\x00\x01") -> bytes:
    """Return Blackwell's DICE extension."""
    listed = _fwid(fwid)
    inner = b"\x80\x06NVIDIA\x83\x01\x01" + bytes([0xA6, len(listed)]) + listed
    inner += bytes([0x87, len(flags) + 1, 0]) + flags
    return bytes([0x30, len(inner)]) + inner


def dice(oid: ObjectIdentifier, value: bytes) -> tuple[x509.ExtensionType, bool]:
    return x509.UnrecognizedExtension(oid, value), False


@functools.cache
def device_chain(
    chip: str = "GH100",
    *,
    serial: int = 0x41E23D711E1C4FBFAC,
    extension: tuple[x509.ExtensionType, bool] | None = None,
    leaf_ca: bool = False,
    leaf_signs: bool = True,
    leaf: str = "",
) -> tuple[x509.Certificate, ...]:
    """Return leaf, BROM, provisioner, identity, root of a device."""
    kind = "FSP" if chip == "LS_10" else "GSP"
    identity, provisioner = f"NVIDIA {chip} Identity", f"NVIDIA {chip} Provisioner"
    brom = f"{chip} A01 {kind} BROM"
    if extension is None:
        own = (TCB_INFO, tcb_info()) if chip == "GB100" else (COMPOSITE_DEVICE_ID, composite(brom))
        extension = dice(*own)
    low = chip.lower().replace("_", "")
    return (
        certificate(
            leaf or f"{chip} A01 {kind} FMC LF",
            brom,
            ca=leaf_ca,
            serial=serial + 1,
            extra=(extension,),
            signs=leaf_signs,
        ),
        certificate(brom, provisioner, serial=serial),
        certificate(
            provisioner,
            identity,
            serial=5,
            crl=f"http://crl.ndis.nvidia.com/crl/l2-{low}.crl",
        ),
        certificate(
            identity, DEVICE_ROOT_NAME, serial=4, crl="http://crl.ndis.nvidia.com/crl/l1-root.crl"
        ),
        DEVICE_ROOT,
    )


def pem(chain: Sequence[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


GPU_OPAQUE: Mapping[int, bytes] = {
    opaque.VBIOS: bytes.fromhex("009f009601000000"),
    opaque.CHIP_SKU: b"882\0\0\0\0\0\0",
    opaque.PROJECT: b"1010\0",
    opaque.PROJECT_SKU: b"0200\0",
    opaque.DRIVER: DRIVER.encode() + b"\0",
    opaque.NVDEC0: b"\xaa",
    opaque.FIRMWARE_ID: FWID,
    opaque.PROTECTED_PCIE: b"\x55",
    opaque.OPAQUE_VERSION: b"\x01\x00",
    opaque.FEATURE_FLAG: b"\x00\x00",
}
SWITCH_OPAQUE: Mapping[int, bytes] = {
    opaque.VBIOS: b"96.10.55.00.01",
    opaque.DEVICE_PDI: bytes.fromhex("203eb31ad9ed0008"),
    opaque.SWITCH_GPU_PDIS: bytes(8 * 8 + 64),
}
MEASUREMENTS: Mapping[int, bytes] = {index: bytes([index]) * 48 for index in range(1, 65)}


def opaque_data(fields: Mapping[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HH", n, len(value)) + value for n, value in fields.items())


def versioned_opaque_data(
    fields: Mapping[int, bytes], types: Mapping[int, int] | None = None, header: bytes = b""
) -> bytes:
    """Return opaque data of version 2."""
    types = types or {}
    header = header or b"NVDAOD\x00\x00\x02\x00\x00\x00"
    return header + b"".join(
        struct.pack("<HHH", n, types.get(n, 0x82), len(value)) + value
        for n, value in fields.items()
    )


def report(
    *,
    nonce: bytes = NONCE,
    fields: Mapping[int, bytes] | None = None,
    data: bytes | None = None,
    measurements: Mapping[int, bytes] = MEASUREMENTS,
    record: bytes | None = None,
    signer: str = "GH100 A01 GSP FMC LF",
    request: bytes = b"\x11\xe0\x01\xff",
    slot: int = 0,
    answer: bytes = b"\x11\x60\x00\x00",
    trailing: bytes = b"",
) -> bytes:
    """Return a signed report."""
    if record is None:
        record = b"".join(
            struct.pack("<BBHBH", index, 1, 51, 1, 48) + value
            for index, value in measurements.items()
        )
    data = opaque_data(GPU_OPAQUE if fields is None else fields) if data is None else data
    signed = request + nonce + bytes([slot]) + answer + bytes([len(measurements)])
    signed += len(record).to_bytes(3, "little") + record + bytes(range(32))
    signed += struct.pack("<H", len(data)) + data
    r, s = utils.decode_dss_signature(key(signer).sign(signed, ec.ECDSA(hashes.SHA384())))
    return signed + r.to_bytes(48, "big") + s.to_bytes(48, "big") + trailing


def switch_report(**changes: Any) -> bytes:
    fields = changes.pop("fields", SWITCH_OPAQUE)
    return report(fields=fields, signer="LS_10 A01 FSP FMC LF", **changes)


def parts(**changes: Any) -> dict[str, bytes]:
    """Return the parts of a Hopper GPU."""
    return {REPORT: report(**changes), CERTIFICATES: pem(device_chain())}


# What signs the manifests.


@functools.cache
def rim_chain(*, last: datetime = LAST) -> tuple[x509.Certificate, ...]:
    ca, middle, leaf = "Fake Reference Value GH100 CA", "Fake Reference Value L3", "Fake L4 Signer"
    crl = "http://crl.ndis.nvidia.com/crl-corim/l1-corim"
    return (
        certificate(leaf, middle, ca=False, serial=0xA3, last=last),
        certificate(middle, ca, serial=0xA2),
        certificate(ca, RIM_ROOT_NAME, serial=0xA1, crl=crl),
        RIM_ROOT,
    )


def resource(
    index: int, values: Sequence[bytes], *, active: bool = True, attributes: str = ""
) -> str:
    hashed = " ".join(f'ns2:Hash{n}="{value.hex()}"' for n, value in enumerate(values))
    return (
        f'<ns0:Resource type="Measurement" index="{index}" active="{active}" '
        f'alternatives="{len(values)}" {hashed} name="M{index}" size="48"{attributes}/>'
    )


def rim_xml(resources: str, *, product: str, version: str, head: str = "") -> bytes:
    return (
        f"{head}"
        '<SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" '
        'xmlns:ns0="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" '
        'xmlns:ns2="http://www.w3.org/2001/04/xmlenc#sha384" name="x" tagId="t">'
        f'<ns0:Meta colloquialVersion="{version}" product="{product}"/>'
        f"<ns0:Payload>{resources}</ns0:Payload></SoftwareIdentity>"
    ).encode()


def sign_rim(
    document: bytes,
    *,
    chain: Sequence[x509.Certificate] | None = None,
    algorithm: str = "ECDSA_SHA384",
    signer: str = "Fake L4 Signer",
) -> bytes:
    """Return the document with a signature inside."""
    from lxml import etree
    from signxml import CanonicalizationMethod, DigestAlgorithm, SignatureMethod, XMLSigner

    root = XMLSigner(
        signature_algorithm=SignatureMethod[algorithm],
        digest_algorithm=DigestAlgorithm.SHA384,
        c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_1,
    ).sign(
        etree.fromstring(document),
        key=key(signer),
        cert=list(rim_chain() if chain is None else chain),
    )
    return bytes(etree.tostring(root))


DRIVER_INDEXES, VBIOS_INDEXES = range(20, 40), range(20)


def golden(indexes: Sequence[int], changes: Mapping[int, bytes] | None = None) -> str:
    """Return reference values that match `MEASUREMENTS`, as one alternative of two."""
    changes = changes or {}
    other = bytes(48)
    return "".join(
        resource(i, [other, changes.get(i, MEASUREMENTS[i + 1])]) for i in indexes
    ) + "".join(resource(i, [other], active=False) for i in range(40, 64))


@functools.cache
def driver_rim(version: str = DRIVER) -> bytes:
    return sign_rim(rim_xml(golden(DRIVER_INDEXES), product="GH100", version=version))


@functools.cache
def vbios_rim() -> bytes:
    return sign_rim(rim_xml(golden(VBIOS_INDEXES), product="GH100", version=VBIOS.lower()))


def manifests() -> dict[str, bytes]:
    return {DRIVER_RIM: driver_rim(), VBIOS_RIM: vbios_rim()}


# What revokes.


def ocsp_answer(
    subject: x509.Certificate,
    issuer: x509.Certificate,
    *,
    status: ocsp.OCSPCertStatus = ocsp.OCSPCertStatus.GOOD,
    issued: int = NOW - 3600,
    responder: str = "Fake OCSP Responder",
    usage: ObjectIdentifier = ExtendedKeyUsageOID.OCSP_SIGNING,
    signer: str = "",
    issuer_name: str = "",
) -> bytes:
    """Return an answer by a responder to whom `issuer` delegated, or by `signer` itself."""
    by = issuer_name or str(issuer.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    eku = (x509.ExtendedKeyUsage([usage]), True)
    delegate = certificate(responder, by, ca=False, serial=0x99, extra=(eku,))
    builder = ocsp.OCSPResponseBuilder().add_response(
        cert=subject,
        issuer=issuer,
        algorithm=hashes.SHA384(),
        cert_status=status,
        this_update=at(issued),
        next_update=at(issued) + timedelta(days=1),
        revocation_time=at(issued) if revoked else None,
        revocation_reason=x509.ReasonFlags.certificate_hold if revoked else None,
    )
    if signer:
        builder = builder.responder_id(ocsp.OCSPResponderEncoding.NAME, issuer)
        return builder.sign(key(signer), hashes.SHA384()).public_bytes(Encoding.DER)
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, delegate)
    builder = builder.certificates([delegate])
    return builder.sign(key(responder), hashes.SHA384()).public_bytes(Encoding.DER)


def ocsp_files(*chains: Sequence[x509.Certificate], **changes: Any) -> dict[str, bytes]:
    """Return answers for every certificate of the chains; the last of each is its root."""
    return {
        f"nvidia/ocsp/{subject.serial_number:x}.der": ocsp_answer(subject, issuer, **changes)
        for chain in chains
        for subject, issuer in itertools.pairwise(chain)
    }


def crl(issuer: str, revoked: Sequence[int] = (), issued: int = NOW - DAY) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name_of(issuer))
        .last_update(at(issued))
        .next_update(at(issued + 60 * DAY))
    )
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at(issued))
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key(issuer), hashes.SHA384()).public_bytes(Encoding.DER)


def crl_files(**changes: Any) -> dict[str, bytes]:
    return {
        "nvidia/crl/l1-root.crl": crl(DEVICE_ROOT_NAME),
        "nvidia/crl/l2-gh100.crl": crl("NVIDIA GH100 Identity", **changes),
        "nvidia/crl-corim/l1-corim.crl": crl(RIM_ROOT_NAME),
    }
