"""A maker of TPMs, made up: its root, its intermediate, and certificates of endorsement keys."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.attestation.tpm_structures import Key, ec_key


def _certificate(
    subject: str,
    key: Key,
    issuer: str,
    signer: Key,
    extensions: list[tuple[object, bool]],
    until: int,
) -> x509.Certificate:
    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(key.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big"))
        .not_valid_before(datetime(2025, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(until, 1, 1, tzinfo=UTC))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)  # type: ignore[arg-type]
    return builder.sign(signer, hashes.SHA256())


_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def usage(**chosen: bool) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: chosen.get(name, False) for name in _USES})


def tpm_names(*, leave_out: str = "") -> x509.SubjectAlternativeName:
    names = {"2.23.133.2.1": "id:46414B45", "2.23.133.2.2": "fake", "2.23.133.2.3": "id:0001"}
    attributes = [
        x509.NameAttribute(x509.ObjectIdentifier(oid), value)
        for oid, value in names.items()
        if oid != leave_out
    ]
    return x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(attributes))])


EK_PURPOSE = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.1")])
_CA = [(x509.BasicConstraints(ca=True, path_length=None), True), (usage(key_cert_sign=True), True)]


class Vendor:
    """A maker of TPMs: a root and an intermediate."""

    def __init__(
        self,
        name: str = "fake tpm",
        number: int = 20,
        purpose: x509.ExtendedKeyUsage | None = None,
    ) -> None:
        self._keys = ec_key(number), ec_key(number + 1)
        self._names = f"{name} root", f"{name} intermediate"
        self.root = _certificate(
            self._names[0], self._keys[0], self._names[0], self._keys[0], list(_CA), 2040
        )
        self.intermediate = _certificate(
            self._names[1],
            self._keys[1],
            self._names[0],
            self._keys[0],
            [*_CA, *([(purpose, True)] if purpose else [])],
            2040,
        )

    def collateral(self) -> dict[str, bytes]:
        return {"tpm/ek-roots/fake.pem": self.root.public_bytes(Encoding.PEM)}

    def certify(
        self,
        key: Key,
        *,
        purpose: x509.ExtendedKeyUsage | None = EK_PURPOSE,
        names: x509.SubjectAlternativeName | None = None,
        use: x509.KeyUsage | None = None,
        is_ca: bool = False,
        leave_out: str = "",
        until: int = 2035,
    ) -> x509.Certificate:
        """Return the certificate of an endorsement key."""
        if use is None:
            is_rsa = isinstance(key, rsa.RSAPrivateKey)
            use = usage(key_encipherment=is_rsa, key_agreement=not is_rsa)
        extensions: list[tuple[object, bool]] = [
            (names or tpm_names(), True),
            (x509.BasicConstraints(ca=is_ca, path_length=None), True),
            (use, True),
        ]
        extensions = [e for e in extensions if type(e[0]).__name__ != leave_out]
        if purpose is not None:
            extensions.append((purpose, False))
        return _certificate("", key, self._names[1], self._keys[1], extensions, until)


@cache
def vendor_of(
    name: str = "fake tpm", number: int = 20, purpose: x509.ExtendedKeyUsage | None = None
) -> Vendor:
    """Signatures are random: the same certificates for all tests."""
    return Vendor(name, number, purpose)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
