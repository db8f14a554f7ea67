"""A TPM's structures, written by hand: keys, signatures, statements, registers.

They are written here by themselves, so that a mistake in the parser is not one here too.
"""

from __future__ import annotations

import hashlib
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from fedenclave.attestation.tpm.signature import PublicKey

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
REPORT_DATA = bytes(range(64))
BOUND = hashlib.sha256(REPORT_DATA).digest()
HASH_IDS = {"sha1": 0x0004, "sha256": 0x000B, "sha384": 0x000C}

RSASSA, RSAPSS, ECDSA, NO_ALGORITHM = 0x0014, 0x0016, 0x0018, 0x0010
# fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign.
AK_ATTRIBUTES = 0x00050072
_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384()}


def u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


def sized(data: bytes) -> bytes:
    return u16(len(data)) + data


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
