"""A TPM and its vendor, made up: keys, certificates, registers, log, quotes, counter.

It writes the structures by itself, so that a mistake in the parser is not one here too.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from fedenclave.attestation.certificates import fingerprint
from fedenclave.attestation.tpm.signature import PublicKey
from fedenclave.attestation.tpm.statements import pack_activations
from fedenclave.protocol.activation import Activation
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.signing import key_to_text, public_key, sign

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())
REPORT_DATA = bytes(range(64))
BOUND = hashlib.sha256(REPORT_DATA).digest()
MEASUREMENT = hashlib.sha256(b"the enclave").digest()
MEMBERS = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([i]) * 32)
    for i, name in enumerate(("alpha", "beta", "gamma"), 1)
}
HASH_IDS = {"sha1": 0x0004, "sha256": 0x000B, "sha384": 0x000C}

RSASSA, RSAPSS, ECDSA, NO_ALGORITHM = 0x0014, 0x0016, 0x0018, 0x0010
# fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign.
AK_ATTRIBUTES = 0x00050072
_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384()}
_SELECTED = (0, 1, 4, 7, 11)


def u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def sized(data: bytes) -> bytes:
    return u16(len(data)) + data


def le32(number: int) -> bytes:
    return number.to_bytes(4, "little")


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    """Making one is slow: the same ones for all tests."""
    return rsa.generate_private_key(65537, 2048 if number < 9 else 1024)


@cache
def ec_key(number: int = 0, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> Key:
    return ec.generate_private_key(curve())


def public_area(
    key: Key | PublicKey,
    *,
    attributes: int = AK_ATTRIBUTES,
    scheme: int | None = None,
    hash_: str = "sha256",
    name_hash: str = "sha256",
    symmetric: bytes = u16(NO_ALGORITHM),
) -> bytes:
    """Return a TPMT_PUBLIC."""
    public = key.public_key() if isinstance(key, Key) else key
    numbers = public.public_numbers()
    is_rsa = isinstance(numbers, rsa.RSAPublicNumbers)
    if scheme is None:
        scheme = RSASSA if is_rsa else ECDSA
    details = u16(scheme) + (u16(HASH_IDS[hash_]) if scheme != NO_ALGORITHM else b"")
    head = u16(0x0001 if is_rsa else 0x0023) + u16(HASH_IDS[name_hash]) + u32(attributes)
    head += sized(b"") + symmetric + details
    if isinstance(numbers, rsa.RSAPublicNumbers):
        modulus = numbers.n.to_bytes(numbers.n.bit_length() // 8, "big")
        return head + u16(8 * len(modulus)) + u32(0) + sized(modulus)
    size, curve = {"secp256r1": (32, 3), "secp384r1": (48, 4)}.get(numbers.curve.name, (66, 5))
    x, y = (number.to_bytes(size, "big") for number in (numbers.x, numbers.y))
    return head + u16(curve) + u16(NO_ALGORITHM) + sized(x) + sized(y)


def name_of(area: bytes) -> bytes:
    return area[2:4] + hashlib.new({0x0C: "sha384"}.get(area[3], "sha256"), area).digest()


def signature_of(key: Key, message: bytes, *, scheme: int = 0, hash_: str = "sha256") -> bytes:
    """Return a TPMT_SIGNATURE."""
    algorithm = _HASHES[hash_]
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(algorithm), padding.PSS.MAX_LENGTH)
        value = key.sign(message, pss if scheme == RSAPSS else padding.PKCS1v15(), algorithm)
        return u16(scheme or RSASSA) + u16(HASH_IDS[hash_]) + sized(value)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(algorithm)))
    size = key.key_size // 8
    numbers = (sized(number.to_bytes(size, "big")) for number in (r, s))
    return u16(scheme or ECDSA) + u16(HASH_IDS[hash_]) + b"".join(numbers)


def attest(
    kind: int,
    body: bytes,
    *,
    extra: bytes = BOUND,
    magic: bytes = b"\xffTCG",
    resets: int = 7,
    safe: int = 1,
    firmware: int = 0x2024_0101_0012_3400,
) -> bytes:
    """Return a TPMS_ATTEST."""
    clock = (123456).to_bytes(8, "big") + u32(resets) + u32(1) + bytes([safe])
    signer = sized(u16(0x000B) + hashlib.sha256(b"qualified").digest())
    return magic + u16(kind) + signer + sized(extra) + clock + firmware.to_bytes(8, "big") + body


def selection(indices: tuple[int, ...], bank: str = "sha256") -> bytes:
    bits = sum(1 << index for index in indices)
    return u16(HASH_IDS[bank]) + b"\x03" + bits.to_bytes(3, "little")


def quote_body(values: dict[int, bytes], hash_: str = "sha256", bank: str = "sha256") -> bytes:
    digest = hashlib.new(hash_, b"".join(values[i] for i in sorted(values))).digest()
    return u32(1) + selection(tuple(sorted(values)), bank) + sized(digest)


@dataclass
class Log:
    """An event log and the registers it leads to."""

    banks: tuple[str, ...] = ("sha1", "sha256")
    events: list[bytes] = field(default_factory=list)
    registers: dict[int, bytes] = field(default_factory=dict)

    def header(self) -> bytes:
        algorithms = b"".join(
            HASH_IDS[b].to_bytes(2, "little") + hashlib.new(b).digest_size.to_bytes(2, "little")
            for b in self.banks
        )
        data = b"Spec ID Event03\x00" + le32(0) + bytes([0, 2, 0, 2]) + le32(len(self.banks))
        data += algorithms + b"\x00"
        return le32(0) + le32(3) + bytes(20) + le32(len(data)) + data

    def add(self, index: int, type_: int, data: bytes, measured: bytes | None = None) -> None:
        """Log `data`; what is hashed is `measured` where that is something else."""
        digests = b"".join(
            HASH_IDS[b].to_bytes(2, "little")
            + (bytes(hashlib.new(b).digest_size) if type_ == 3 else self._hash(b, data, measured))
            for b in self.banks
        )
        entry = le32(index) + le32(type_) + le32(len(self.banks)) + digests
        self.events.append(entry + le32(len(data)) + data)
        if type_ != 3:
            before = self.registers.get(index, bytes(32))
            extended = self._hash("sha256", data, measured)
            self.registers[index] = hashlib.sha256(before + extended).digest()

    @staticmethod
    def _hash(bank: str, data: bytes, measured: bytes | None) -> bytes:
        return hashlib.new(bank, data if measured is None else measured).digest()

    def to_bytes(self) -> bytes:
        return self.header() + b"".join(self.events)


def variable(
    name: str, value: bytes, vendor: str = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
) -> bytes:
    head = uuid.UUID(vendor).bytes_le + len(name).to_bytes(8, "little")
    return head + len(value).to_bytes(8, "little") + name.encode("utf-16-le") + value


def boot_log(*, secure_boot: bool = True, loader: bytes = b"shim") -> Log:
    """Return what a usual firmware logs, shortened."""
    log = Log()
    log.add(0, 0x8, b"firmware 1.0")
    log.add(0, 0x8000000A, b"where the firmware lies", b"the firmware")
    log.add(7, 0x80000001, variable("SecureBoot", bytes([secure_boot])))
    log.add(7, 0x80000001, variable("PK", b"platform key"))
    log.add(1, 0x80000002, variable("BootOrder", b"\x01\x00"))
    log.add(1, 0x80000002, variable("Boot0001", b"disk"), b"disk")
    log.add(4, 0x80000007, b"Calling EFI Application from Boot Option")
    for index in (0, 1, 4, 7):
        log.add(index, 0x4, bytes(4))
    log.add(4, 0x80000003, b"path of the loader", loader)
    log.add(8, 0xD, b"grub_cmd: linux", b"linux")
    return log


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
