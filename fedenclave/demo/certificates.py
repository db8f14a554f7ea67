"""Certificates and keys for a Flower deployment that lives on loopback for minutes.

Not a PKI: one certificate authority signs one server certificate, and its private key is
dropped at once, so that nothing else can ever be signed in its name. Nothing here protects
an update: that is the sealing's work, and TLS is only what Flower's node authentication
insists on.

Rules:
  * A private key's file is made with mode 0600 and never overwrites a file.
  * The certificate authority's private key is never written.
  * The clock is an argument.

Formats: what flwr 1.41 reads. TLS files are PEM. A SuperNode's private key is in OpenSSH's
format and its public key is one OpenSSH line, both on NIST P-384.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK_NAMES = (
    x509.DNSName("localhost"),
    x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
    x509.IPAddress(ipaddress.IPv6Address("::1")),
)
# Two clocks on one machine agree, but a container may lag behind the host that looks at it.
CLOCK_SKEW = timedelta(minutes=5)
LIFETIME = timedelta(days=7)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """Where the server's TLS files lie."""

    ca_certificate: Path
    certificate: Path
    private_key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKey:
    """Where the two halves of a SuperNode's authentication key lie."""

    private_key: Path
    public_key: Path


def make_server_certificate(folder: Path, *, now: datetime) -> ServerCertificate:
    """Write `ca.crt`, `server.crt` and `server.key` for 127.0.0.1, ::1 and localhost.

    Args:
        folder: Made if absent, then closed to others (mode 0700).
        now: The present time, with a time zone; the certificates are valid for 7 days.

    Raises:
        FileExistsError: One of the files is there already.
        ValueError: `now` has no time zone.
    """
    if now.tzinfo is None:
        raise ValueError("now has no time zone, want one: certificates hold UTC")
    _make_private_folder(folder)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("FedEnclave demo CA")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server = (
        _builder(_name("localhost"), ca_name, server_key.public_key(), ca_key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(LOOPBACK_NAMES), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    files = ServerCertificate(
        ca_certificate=folder / "ca.crt",
        certificate=folder / "server.crt",
        private_key=folder / "server.key",
    )
    _write(files.ca_certificate, ca.public_bytes(Encoding.PEM), mode=0o644)
    _write(files.certificate, server.public_bytes(Encoding.PEM), mode=0o644)
    _write(
        files.private_key,
        server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        mode=0o600,
    )
    return files


def make_node_key(folder: Path, name: str) -> NodeKey:
    """Write the SuperNode authentication key pair `name` and `name.pub`.

    Args:
        folder: Made if absent, then closed to others (mode 0700).
        name: The file's name and the public key's comment; has no slash.

    Raises:
        FileExistsError: One of the files is there already.
        ValueError: `name` is no plain file name.
    """
    if not name or name != Path(name).name or any(character.isspace() for character in name):
        raise ValueError(f"node key is named {name!r}, want a plain file name")
    _make_private_folder(folder)
    key = ec.generate_private_key(ec.SECP384R1())
    files = NodeKey(private_key=folder / name, public_key=folder / f"{name}.pub")
    public_line = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    _write(
        files.private_key,
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        mode=0o600,
    )
    _write(files.public_key, public_line + b" " + name.encode() + b"\n", mode=0o644)
    return files


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    subject_key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    now: datetime,
) -> x509.CertificateBuilder:
    # Python 3.13 verifies strictly by default and refuses a chain without both identifiers.
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(subject_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _make_private_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def _write(path: Path, content: bytes, *, mode: int) -> None:
    # The mode is set as the file is made: a chmod afterwards would leave a moment in which
    # anybody may open a private key.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
