"""A TPM, made up: the parts of its evidence, its counter, and policies that accept it."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.certificates import fingerprint
from fedenclave.attestation.tpm.statements import pack_activations
from fedenclave.protocol.activation import Activation
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.signing import key_to_text, public_key, sign
from tests.attestation.fake_event_log import Log, boot_log
from tests.attestation.fake_tpm_vendor import Vendor, pem, vendor_of
from tests.attestation.tpm_structures import (
    Key,
    attest,
    ec_key,
    name_of,
    public_area,
    quote_body,
    signature_of,
    sized,
    u16,
    u32,
)

NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
MEASUREMENT = hashlib.sha256(b"the enclave").digest()
MEMBERS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32)
    for i, name in enumerate(("alpha", "beta", "gamma"), 1)
}
_SELECTED = (0, 1, 4, 7, 11)


@dataclass
class FakeTpm:
    """One machine: its keys, and the parts of its evidence, each of which a test may replace."""

    ak_key: Key = field(default_factory=ec_key)
    ek_key: Key = field(default_factory=lambda: ec_key(1))
    vendor: Vendor = field(default_factory=vendor_of)
    log: Log = field(default_factory=boot_log)
    selected: tuple[int, ...] = _SELECTED
    scheme: int = 0
    hash_: str = "sha256"

    def __post_init__(self) -> None:
        self.ak = public_area(self.ak_key, scheme=self.scheme or None, hash_=self.hash_)
        self.ek_certificate = self.vendor.certify(self.ek_key)
        measured = hashlib.sha256(bytes(32) + MEASUREMENT).digest()
        registers = {**self.log.registers, 11: measured}
        self.values = {i: registers.get(i, bytes(32)) for i in self.selected}

    @property
    def name(self) -> bytes:
        return name_of(self.ak)

    def sign(self, message: bytes) -> bytes:
        return signature_of(self.ak_key, message, scheme=self.scheme, hash_=self.hash_)

    def signed(self, quote: bytes) -> dict[str, bytes]:
        return {"quote": quote, "signature": self.sign(quote)}

    def parts(self, **quote: int | bytes) -> dict[str, bytes]:
        """Return the four parts that are always there."""
        message = attest(0x8018, quote_body(self.values, self.hash_), **quote)  # type: ignore[arg-type]
        values = b"".join(self.values[i] for i in sorted(self.values))
        return {"ak": self.ak, "pcrs": values, **self.signed(message)}

    def counter(self, value: int = 41, **certified: int | bytes) -> dict[str, bytes]:
        body = sized(self.counter_name) + u16(0) + sized(value.to_bytes(8, "big"))
        message = attest(0x8014, body, **certified)  # type: ignore[arg-type]
        return {"counter": message, "counter-signature": self.sign(message)}

    counter_name = u16(0x000B) + hashlib.sha256(b"nv public area").digest()

    def chain(self) -> bytes:
        return pem(self.ek_certificate, self.vendor.intermediate)

    def activation(self, member: str, **fields: object) -> bytes:
        values = {
            "version": 1,
            "member": member,
            "attestation_key": self.name,
            "ek_certificate": sha256(self.ek_certificate.public_bytes(Encoding.DER)),
            "time": NOW - 1000,
        }
        return sign(Activation(**{**values, **fields}), MEMBERS[member])  # type: ignore[arg-type]

    def endorsed(self, *members: str) -> dict[str, bytes]:
        signed = [self.activation(member) for member in members]
        return {"ek-certificates": self.chain(), "activations": pack_activations(signed)}

    def answer(self, file: bytes, name: bytes) -> bytes | None:
        """Do what TPM2_ActivateCredential does, for the loaded key `name`; None if it refuses."""
        at = 8
        parts = []
        while at < len(file):
            size = int.from_bytes(file[at : at + 2], "big")
            parts.append(file[at + 2 : at + 2 + size])
            at += 2 + size
        blob, secret = parts
        seed = self._open_seed(secret)
        integrity, identity = blob[2:34], blob[34:]
        mac = hmac.digest(_kdfa(seed, b"INTEGRITY", b"", 256), identity + name, "sha256")
        if not hmac.compare_digest(mac, integrity):
            return None
        cipher = Cipher(algorithms.AES(_kdfa(seed, b"STORAGE", name, 128)), CFB(bytes(16)))
        return cipher.decryptor().update(identity)[2:]

    def _open_seed(self, secret: bytes) -> bytes:
        if isinstance(self.ek_key, rsa.RSAPrivateKey):
            mask = padding.MGF1(hashes.SHA256())
            oaep = padding.OAEP(mask, hashes.SHA256(), b"IDENTITY\x00")
            return self.ek_key.decrypt(secret, oaep)
        x, y = secret[2:34], secret[36:68]
        theirs = ec.EllipticCurvePublicNumbers(
            int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()
        ).public_key()
        shared = self.ek_key.exchange(ec.ECDH(), theirs)
        our_x = self.ek_key.public_key().public_numbers().x.to_bytes(32, "big")
        return hashlib.sha256(u32(1) + shared + b"IDENTITY\x00" + x + our_x).digest()


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    fixed = u32(1) + label + b"\x00" + context + u32(bits)
    return hmac.digest(key, fixed, "sha256")[: bits // 8]


def policy(tpm: FakeTpm, *, more: str = "", pcrs: str = "", **changed: str) -> str:
    """Return the body of a policy that accepts this TPM; a value changed is TOML."""
    values = {
        "exceptions": "[]",
        "aks": f'["{tpm.name.hex()}"]',
        "activated_by": "0",
        "activators": '["none"]',
        "ek_roots": '["none"]',
        "measurements": f'["{MEASUREMENT.hex()}"]',
        "firmware_versions": '["2024010100123400"]',
        "secure_boot": '"any"',
        "boot_applications": '["any"]',
        "counter_name": '"none"',
        **changed,
    }
    lines = [f"{key} = {value}" for key, value in values.items() if value]
    pcrs = pcrs or "".join(f'{i} = ["{tpm.values[i].hex()}"]\n' for i in (0, 4, 7))
    return "\n".join([*lines, more, "[pcrs]", pcrs])


def by_challenge(tpm: FakeTpm, wanted: int = 2, *members: str, **changed: str) -> str:
    """Return a policy that knows attestation keys by the members' word."""
    keys = ", ".join(
        f'"{key_to_text(public_key(MEMBERS[m]))}"' for m in members or ("alpha", "beta", "gamma")
    )
    return policy(
        tpm,
        **{
            "aks": '["none"]',
            "activated_by": str(wanted),
            "activators": f"[{keys}]",
            "ek_roots": f'["{fingerprint(tpm.vendor.root)}"]',
            **changed,
        },
    )
