"""A fake Intel: root, PCK and TCB signing chains, revocation lists, TCB info, quoting enclave.

Everything is valid unless a test says otherwise: each function takes what it shall say instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier

from fedenclave.attestation.intel.quote import INTEL_QE

NOW = 1_764_000_000
DAY = 24 * 3600
FMSPC, PCE_ID = bytes.fromhex("b0c06f000000"), bytes(2)
PPID, INSTANCE = bytes(range(16)), bytes(range(16, 32))
QE_SIGNER = hashlib.sha256(b"quoting enclave").digest()
CPU_SVN, PCE_SVN, QE_SVN = bytes([5, 5, 2, 2, 3, 1, 0, 5] + [0] * 8), 11, 6
TEE_SVN = bytes([6, 1, 3] + [0] * 13)
SGX_OID = "1.2.840.113741.1.13.1"

Key = ec.EllipticCurvePrivateKey


def when(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def named(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fake Intel"),
        ]
    )


def sign(key: Key, data: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def point(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def tlv(tag: int, value: bytes) -> bytes:
    size = len(value)
    if size < 128:
        return bytes([tag, size]) + value
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + value


def entry(suffix: str, tag: int, value: bytes) -> bytes:
    """One pair of OID and value of the SGX extension."""
    body = bytearray()
    for arc in f"{SGX_OID}{suffix}".split(".")[2:]:
        number = int(arc)
        digits = [number & 0x7F]
        while number := number >> 7:
            digits.append(0x80 | number & 0x7F)
        body += bytes(reversed(digits))
    return tlv(0x30, tlv(0x06, b"\x2a" + body) + tlv(tag, value))


def integer(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big")


def sgx_extension(**changes: Any) -> bytes:
    said = {
        "ppid": PPID,
        "cpu_svn": CPU_SVN,
        "pce_svn": PCE_SVN,
        "pce_id": PCE_ID,
        "fmspc": FMSPC,
        "sgx_type": 1,
        "instance": INSTANCE,
    } | changes
    svns = [entry(f".2.{i}", 0x02, integer(v)) for i, v in enumerate(said["cpu_svn"], 1)]
    svns += [
        entry(".2.17", 0x02, integer(said["pce_svn"])),
        entry(".2.18", 0x04, said["cpu_svn"]),
    ]
    parts = [
        entry(".1", 0x04, said["ppid"]),
        entry(".2", 0x30, b"".join(svns)),
        entry(".3", 0x04, said["pce_id"]),
        entry(".4", 0x04, said["fmspc"]),
        entry(".5", 0x0A, integer(said["sgx_type"])),
    ]
    if said["instance"]:
        parts.append(entry(".6", 0x04, said["instance"]))
        flags = [entry(f".7.{i}", 0x01, b"\xff") for i in (1, 2, 3)]
        parts.append(entry(".7", 0x30, b"".join(flags)))
    return tlv(0x30, b"".join(parts))


def certify(
    subject: str,
    key: Key,
    issuer: str,
    issuer_key: Key,
    *,
    ca: bool = False,
    path: int | None = None,
    extension: bytes | None = None,
    first: int = NOW - 400 * DAY,
    last: int = NOW + 400 * DAY,
) -> x509.Certificate:
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(when(first))
        .not_valid_after(when(last))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
    )
    if extension is not None:
        builder = builder.add_extension(
            x509.UnrecognizedExtension(ObjectIdentifier(SGX_OID), extension), critical=False
        )
    return builder.sign(issuer_key, hashes.SHA256())


def revoke(
    issuer: str,
    key: Key,
    revoked: Sequence[x509.Certificate] = (),
    *,
    issued: int = NOW - DAY,
    days: int = 30,
) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(named(issuer))
        .last_update(when(issued))
        .next_update(when(issued) + timedelta(days=days))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
    )
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(when(issued)).build())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def enclave_report(**changes: Any) -> bytes:
    said = {
        "cpu_svn": CPU_SVN,
        "misc_select": bytes(4),
        "ext_prod_id": bytes(16),
        "flags": 0x05,
        "xfrm": bytes.fromhex("e700000000000000"),
        "mrenclave": b"\x11" * 32,
        "mrsigner": b"\x22" * 32,
        "config_id": bytes(64),
        "isv_prod_id": 7,
        "isv_svn": 3,
        "config_svn": 0,
        "family_id": bytes(16),
        "report_data": bytes(64),
        "reserved": bytes(12),
    } | changes
    return b"".join(
        [
            said["cpu_svn"] + said["misc_select"] + said["reserved"] + said["ext_prod_id"],
            said["flags"].to_bytes(8, "little") + said["xfrm"],
            said["mrenclave"] + bytes(32) + said["mrsigner"] + bytes(32) + said["config_id"],
            *(said[k].to_bytes(2, "little") for k in ("isv_prod_id", "isv_svn", "config_svn")),
            bytes(42) + said["family_id"] + said["report_data"],
        ]
    )


def td_report(*, later: bool = False, **changes: Any) -> bytes:
    """A TD report 1.0, or with `later` 1.5."""
    said = {
        "tee_tcb_svn": TEE_SVN,
        "mrseam": b"\x33" * 48,
        "mrsignerseam": bytes(48),
        "seam_attributes": bytes(8),
        "td_attributes": bytes.fromhex("0000001000000000"),
        "xfam": bytes.fromhex("e702060000000000"),
        "mrtd": b"\x44" * 48,
        "mrconfigid": bytes(48),
        "mrowner": bytes(48),
        "mrownerconfig": bytes(48),
        "rtmr0": b"\x50" * 48,
        "rtmr1": b"\x51" * 48,
        "rtmr2": b"\x52" * 48,
        "rtmr3": bytes(48),
        "report_data": bytes(64),
        "tee_tcb_svn2": TEE_SVN,
        "mrservicetd": bytes(48),
    } | changes
    names = list(said) if later else [k for k in said if k not in ("tee_tcb_svn2", "mrservicetd")]
    return b"".join(said[name] for name in names)


def level(status: str = "UpToDate", *, advisories: Sequence[str] = (), **tcb: Any) -> Any:
    """One TCB level; the platform's own SVNs unless told otherwise."""
    said = {"sgx": CPU_SVN, "pce_svn": PCE_SVN, "tdx": bytes([5, 0, 2] + [0] * 13)} | tcb
    return {
        "tcb": {
            "sgxtcbcomponents": [{"svn": svn} for svn in said["sgx"]],
            "pcesvn": said["pce_svn"],
            "tdxtcbcomponents": [{"svn": svn} for svn in said["tdx"]],
        },
        "tcbDate": "2024-03-13T00:00:00Z",
        "tcbStatus": status,
        "advisoryIDs": list(advisories),
    }


def svn_level(svn: int, status: str = "UpToDate", advisories: Sequence[str] = ()) -> Any:
    return {
        "tcb": {"isvsvn": svn},
        "tcbDate": "2024-03-13T00:00:00Z",
        "tcbStatus": status,
        "advisoryIDs": list(advisories),
    }


def stamp(seconds: int) -> str:
    return when(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def dated(issued: int) -> dict[str, Any]:
    return {
        "issueDate": stamp(issued),
        "nextUpdate": stamp(issued + 30 * DAY),
        "tcbEvaluationDataNumber": 17,
    }


def module(levels: Sequence[Any] = (), **changes: Any) -> dict[str, Any]:
    said = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    if levels:
        said |= {"id": "TDX_01", "tcbLevels": list(levels)}
    return said | changes


def tcb_info(tee: str, **changes: Any) -> dict[str, Any]:
    said = {
        "id": tee,
        "version": 3,
        **dated(NOW - DAY),
        "fmspc": FMSPC.hex().upper(),
        "pceId": PCE_ID.hex(),
        "tcbType": 0,
        "tcbLevels": [level()],
    }
    if tee == "TDX":
        said |= {"tdxModule": module(), "tdxModuleIdentities": [module([svn_level(4)])]}
    return said | changes


def qe_identity(tee: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": "QE" if tee == "SGX" else "TD_QE",
        "version": 2,
        **dated(NOW - DAY),
        "miscselect": "00" * 4,
        "miscselectMask": "FF" * 4,
        "attributes": "11" + "00" * 15,
        "attributesMask": "FBFFFFFFFFFFFFFF" + "00" * 8,
        "mrsigner": QE_SIGNER.hex().upper(),
        "isvprodid": 2,
        "tcbLevels": [svn_level(4)],
    } | changes


ROOT, TCB = "Intel SGX Root CA", "Intel SGX TCB Signing"
PLATFORM, PROCESSOR = "Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"
LEAF = "Intel SGX PCK Certificate"


@dataclass
class FakeIntel:
    """Keys and certificates; each can be replaced before it is used."""

    keys: dict[str, Key] = field(default_factory=dict)
    root: x509.Certificate = field(init=False)
    ca: x509.Certificate = field(init=False)
    leaf: x509.Certificate = field(init=False)
    signer: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        for name in ("root", "ca", "leaf", "signer", "attestation"):
            self.keys.setdefault(name, ec.generate_private_key(ec.SECP256R1()))
        self.root = certify(ROOT, self.keys["root"], ROOT, self.keys["root"], ca=True, path=1)
        self.certify_ca(PLATFORM)
        self.signer = certify(TCB, self.keys["signer"], ROOT, self.keys["root"])

    def certify_ca(self, name: str, **extension: Any) -> None:
        self.ca = certify(name, self.keys["ca"], ROOT, self.keys["root"], ca=True, path=0)
        self.certify_leaf(issuer=name, **extension)

    def certify_leaf(
        self,
        *,
        subject: str = LEAF,
        issuer: str = PLATFORM,
        window: Mapping[str, int] | None = None,
        **extension: Any,
    ) -> None:
        self.leaf = certify(
            subject,
            self.keys["leaf"],
            issuer,
            self.keys["ca"],
            extension=sgx_extension(**extension),
            **(window or {}),
        )

    def sign_document(self, key: str, body: Any, *, by: str = "signer") -> bytes:
        text = json.dumps(body, separators=(",", ":"))
        signature = sign(self.keys[by], text.encode()).hex()
        return f'{{"{key}":{text},"signature":"{signature}"}}'.encode()

    def collateral(self, tee: str, **changes: Any) -> dict[str, bytes]:
        """The bundle's files; `tcb_info` and `qe_identity` are fields to replace."""
        folder, name = f"intel/{tee.lower()}", f"tcb-info/{FMSPC.hex()}"
        info = tcb_info(tee, **changes.pop("tcb_info", {}))
        identity = qe_identity(tee, **changes.pop("qe_identity", {}))
        by = changes.pop("by", "signer")
        files = {
            "intel/root-ca-crl.der": revoke(ROOT, self.keys["root"], days=365),
            "intel/pck-crl-platform.der": revoke(PLATFORM, self.keys["ca"]),
            f"{folder}/{name}.json": self.sign_document("tcbInfo", info, by=by),
            f"{folder}/{name}.pem": pem(self.signer, self.root),
            f"{folder}/qe-identity.json": self.sign_document("enclaveIdentity", identity, by=by),
            f"{folder}/qe-identity.pem": pem(self.signer, self.root),
        }
        return files | changes

    def sgx_quote(self, *, quoted: Mapping[str, Any] | None = None, **report: Any) -> bytes:
        """A quote of version 3 over an enclave report; `quoted` says what else to change."""
        header = self._header(3, 0, qe_svns=b"\x06\x00\x0b\x00")
        return self._quote(header, enclave_report(**report), **quoted or {})

    def td_quote(
        self, version: int = 4, *, quoted: Mapping[str, Any] | None = None, **report: Any
    ) -> bytes:
        """A quote of version 4, or of version 5 over TD report 1.5."""
        body = td_report(later=version == 5, **report)
        if version == 5:
            body = b"\x03\x00" + len(body).to_bytes(4, "little") + body
        return self._quote(self._header(version, 0x81), body, **quoted or {})

    def _header(self, version: int, tee: int, qe_svns: bytes = bytes(4)) -> bytes:
        return b"".join(
            [
                version.to_bytes(2, "little") + b"\x02\x00" + tee.to_bytes(4, "little"),
                qe_svns + INTEL_QE + b"\x77" * 16 + bytes(4),
            ]
        )

    def _quote(
        self,
        header: bytes,
        body: bytes,
        *,
        qe: Mapping[str, Any] | None = None,
        auth_data: bytes = bytes(range(32)),
        chain: bytes | None = None,
        certification_type: int = 5,
        signature: bytes | None = None,
        qe_signature: bytes | None = None,
        after: bytes = b"",
        section_after: bytes = b"",
    ) -> bytes:
        key = point(self.keys["attestation"])
        report_data = hashlib.sha256(key + auth_data).digest() + bytes(32)
        report = enclave_report(
            **{
                "flags": 0x11,
                "mrsigner": QE_SIGNER,
                "isv_prod_id": 2,
                "isv_svn": QE_SVN,
                "report_data": report_data,
            }
            | dict(qe or {})
        )
        certificates = pem(self.leaf, self.ca, self.root) if chain is None else chain
        certification = b"".join(
            [
                report + (qe_signature or sign(self.keys["leaf"], report)),
                len(auth_data).to_bytes(2, "little") + auth_data,
                certification_type.to_bytes(2, "little"),
                len(certificates).to_bytes(4, "little") + certificates,
            ]
        )
        section = (signature or sign(self.keys["attestation"], header + body)) + key
        if header[0] >= 4:
            section += b"\x06\x00" + len(certification).to_bytes(4, "little")
        section += certification + section_after
        return header + body + len(section).to_bytes(4, "little") + section + after
