"""A synthetic AWS: root, region, zone, instance, enclave; and documents that a hypervisor signs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fedenclave.attestation.aws.nitro import make_format
from fedenclave.attestation.format import Format
from tests.attestation.fake_cose import ES384, new_key, sign1

NOW = 1_800_000_000
BOUND = bytes(range(64))
MODULE = "i-0123456789abcdef0-enc0123456789abcdef0"
PCRS = {
    **{index: bytes([index + 1]) * 48 for index in (0, 1, 2, 3, 4, 8)},
    **{index: bytes(48) for index in (5, 6, 7, 9, 10, 11, 12, 13, 14, 15)},
}


def name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class FakeAws:
    """The chain, made once; every method returns what one enclave would send."""

    def __init__(self) -> None:
        self.keys = [new_key(ES384) for _ in range(5)]
        names = [name(n) for n in ("root", "region", "zone", "instance")]
        self.issuers: list[x509.Certificate] = []
        for depth, (key, subject) in enumerate(zip(self.keys, names, strict=False)):
            above = max(depth - 1, 0)
            self.issuers.append(
                self.certificate(
                    subject,
                    key.public_key(),
                    names[above],
                    self.keys[above],
                    path_length=None if depth == 0 else 3 - depth,
                )
            )
        self.leaf = self.leaf_certificate()

    @property
    def root(self) -> x509.Certificate:
        return self.issuers[0]

    def certificate(
        self,
        subject: x509.Name,
        key: Any,
        issuer: x509.Name,
        issuer_key: ec.EllipticCurvePrivateKey,
        *,
        ca: bool = True,
        path_length: int | None = None,
        signs: bool = False,
        usage: bool = True,
        constraints: bool = True,
        starts: int = NOW - 3600,
        ends: int = NOW + 3 * 3600,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(at(starts))
            .not_valid_after(at(ends))
        )
        if constraints:
            basic = x509.BasicConstraints(ca=ca, path_length=path_length)
            builder = builder.add_extension(basic, critical=True)
        if usage:
            builder = builder.add_extension(
                x509.KeyUsage(
                    digital_signature=signs,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=ca,
                    crl_sign=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
        return builder.sign(issuer_key, hashes.SHA384())

    def leaf_certificate(self, **changes: Any) -> x509.Certificate:
        arguments: dict[str, Any] = {"ca": False, "signs": True} | changes
        key = arguments.pop("key", self.keys[4].public_key())
        return self.certificate(name("enclave"), key, name("instance"), self.keys[3], **arguments)

    def fields(self, **changes: Any) -> dict[str, Any]:
        fields = {
            "module_id": MODULE,
            "digest": "SHA384",
            "timestamp": (NOW - 10) * 1000,
            "pcrs": dict(PCRS),
            "certificate": der(self.leaf),
            "cabundle": [der(issuer) for issuer in self.issuers],
            "public_key": None,
            "user_data": BOUND,
            "nonce": None,
        }
        return fields | changes

    def document(
        self,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
        tag: int | None = None,
        indefinite: bool = False,
        protected: dict[Any, Any] | None = None,
        unprotected: dict[Any, Any] | None = None,
        without: Sequence[str] = (),
        **changes: Any,
    ) -> bytes:
        fields = {n: value for n, value in self.fields(**changes).items() if n not in without}
        return sign1(
            cbor2.dumps(fields, indefinite_containers=indefinite),
            key or self.keys[4],
            tag=tag,
            protected=protected,
            unprotected=unprotected,
        )

    def format(self) -> Format[Any]:
        return make_format([self.root])


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def seconds(hours: int) -> int:
    return int(timedelta(hours=hours).total_seconds())


@cache
def fake_aws() -> FakeAws:
    return FakeAws()


def policy(**changes: str) -> str:
    """Return a policy that the synthetic enclave satisfies; values are TOML."""
    top = {"bind": '"user_data"', "instances": '["i-0123456789abcdef0"]', "exceptions": "[]"}
    registers = {str(i): f'["{PCRS[i].hex()}"]' for i in (0, 1, 2, 3, 4, 8)} | {"others": '"zero"'}
    for key, value in changes.items():
        (registers if key.startswith("pcr_") else top)[key.removeprefix("pcr_")] = value
    lines = [f"{key} = {value}" for key, value in top.items() if value]
    lines += ["[pcrs]", *(f"{key} = {value}" for key, value in registers.items() if value)]
    return "\n".join(lines)
