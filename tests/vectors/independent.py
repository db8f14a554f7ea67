"""A second reading of SPEC.md, as small as it goes: decodes, verifies and opens test vectors.

Imports nothing of FedEnclave. Primitives come from `hashlib`, `hmac` and `cryptography`; what is
built from them there (HPKE) is built here once more, by RFC 9180 and draft-connolly-cfrg-xwing.
"""

import hashlib
import hmac
import struct
from fractions import Fraction
from math import frexp, ldexp

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEM_X25519, KEM_XWING = 0x0020, 0x647A
HKDF_SHA256, AES_256_GCM = 0x0001, 0x0002


def cbor(data: bytes) -> object:
    """Decode one value: unsigned, bytes, text, array, map with text keys, true, false."""
    value, end = _cbor(data, 0)
    assert end == len(data)
    return value


def _cbor(data: bytes, at: int) -> tuple[object, int]:
    kind, argument = data[at] >> 5, data[at] & 31
    at += 1
    if 24 <= argument <= 27:
        size = 1 << (argument - 24)
        argument, at = int.from_bytes(data[at : at + size], "big"), at + size
    if kind == 0:
        return argument, at
    if kind == 2:
        return data[at : at + argument], at + argument
    if kind == 3:
        return data[at : at + argument].decode(), at + argument
    if kind == 7:
        return {20: False, 21: True}[argument], at
    items: list[object] = []
    for _ in range(argument * (kind - 3)):  # 4 an array, 5 a map of pairs
        item, at = _cbor(data, at)
        items.append(item)
    return (items if kind == 4 else dict(zip(items[::2], items[1::2], strict=True))), at


def domain_digest(domain: str, *parts: bytes) -> bytes:
    """SHA-256 under a name."""
    return hashlib.sha256(f"fedenclave/{domain}/v1\0".encode() + b"".join(parts)).digest()


def report_data(nonce: bytes, key: bytes, manifest: bytes) -> bytes:
    """The 64 bytes that evidence binds."""
    bound = b"fedenclave/att/v1\0" + nonce + hashlib.sha256(key).digest() + manifest
    return hashlib.sha512(bound).digest()


def evidence_parts(data: bytes) -> tuple[str, bytes, dict[str, bytes]]:
    """Format, signing key, and the parts of evidence of a format of hardware."""
    evidence = cbor(data)
    parts = cbor(evidence["document"])["parts"]
    return (
        evidence["format"],
        evidence["signing_key"],
        {part["name"]: part["data"] for part in parts},
    )


def verify(kind: str, payload: bytes, signature: bytes, key: bytes) -> None:
    """Raise where the signature over the typed payload does not hold."""
    message = f"fedenclave/sig/{kind}/v1\0".encode() + payload
    Ed25519PublicKey.from_public_bytes(key).verify(signature, message)


def merkle_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, MTH."""
    if len(leaves) < 2:
        return hashlib.sha256(b"\0" + leaves[0] if leaves else b"").digest()
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + merkle_root(leaves[:half]) + merkle_root(leaves[half:])).digest()


# -- HPKE, RFC 9180, base mode, single shot


def _extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + material, "sha256")


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    labelled = struct.pack(">H", size) + b"HPKE-v1" + suite + label + info
    return hmac.digest(key, labelled + b"\1", "sha256")[:size]  # size is at most one block


def _dhkem(enc: bytes, private: X25519PrivateKey) -> bytes:
    """Section 4.1, Decap."""
    shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
    suite = b"KEM" + struct.pack(">H", KEM_X25519)
    eae = _extract(suite, b"", b"eae_prk", shared)
    context = enc + private.public_key().public_bytes_raw()
    return _expand(suite, eae, b"shared_secret", context, 32)


def _xwing(enc: bytes, mlkem: MLKEM768PrivateKey, private: X25519PrivateKey) -> bytes:
    """The combiner, section 5.3."""
    ciphertext, ephemeral = enc[:1088], enc[1088:]
    shared = private.exchange(X25519PublicKey.from_public_bytes(ephemeral))
    own = private.public_key().public_bytes_raw()
    label = bytes.fromhex("5c2e2f2f5e5c")
    return hashlib.sha3_256(
        mlkem.decapsulate(ciphertext) + shared + ephemeral + own + label
    ).digest()


def hpke_open(wrapped: bytes, info: bytes, x25519: bytes, mlkem_seed: bytes | None = None) -> bytes:
    """Return the plaintext of a single-shot message, by the raw private keys."""
    private = X25519PrivateKey.from_private_bytes(x25519)
    if mlkem_seed is None:
        kem, enc, sealed = KEM_X25519, wrapped[:32], wrapped[32:]
        shared = _dhkem(enc, private)
    else:
        kem, enc, sealed = KEM_XWING, wrapped[:1120], wrapped[1120:]
        shared = _xwing(enc, MLKEM768PrivateKey.from_seed_bytes(mlkem_seed), private)
    suite = b"HPKE" + struct.pack(">HHH", kem, HKDF_SHA256, AES_256_GCM)
    context = (
        b"\0" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    )
    secret = _extract(suite, shared, b"secret", b"")
    key = _expand(suite, secret, b"key", context, 32)
    nonce = _expand(suite, secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, sealed, b"")


# -- a sealed update


def open_update(
    sealed: bytes, chunk_sizes: list[int], x25519: bytes, mlkem_seed: bytes | None
) -> tuple[dict, bytes, int, bytes]:
    """Return header, the client's signature, `num_examples` and the payload."""
    assert sealed[:4] == b"FEU1"
    end = 8 + int.from_bytes(sealed[4:8], "big")
    envelope = cbor(sealed[8:end])
    assert isinstance(envelope, dict)
    info = b"fedenclave/update/v1\0" + envelope["header"]
    key = hpke_open(envelope["wrapped_key"], info, x25519, mlkem_seed)
    plain = []
    for number, size in enumerate([8, *chunk_sizes]):
        last = number == len(chunk_sizes)
        nonce = bytes(7) + struct.pack(">IB", number, last)
        plain.append(AESGCM(key).decrypt(nonce, sealed[end : end + size + 16], None))
        end += size + 16
    assert end == len(sealed)
    header = cbor(envelope["header"])
    assert isinstance(header, dict)
    return header, envelope["signature"], int.from_bytes(plain[0], "big"), b"".join(plain[1:])


def signed_payload(header: bytes, wrapped_key: bytes) -> bytes:
    """The CBOR array of the two byte strings, written by hand."""

    def text(data: bytes) -> bytes:
        assert 24 <= len(data) < 1 << 16
        head = (
            b"\x58" + bytes([len(data)]) if len(data) < 256 else struct.pack(">BH", 0x59, len(data))
        )
        return head + data

    return b"\x82" + text(header) + text(wrapped_key)


# -- the exact mean


def exact_mean(rows: list[list[float]], weights: list[int], max_abs: float) -> list[float]:
    """The weighted mean in fixed point, in Python's integers."""
    mantissa, exponent = frexp(max_abs)
    bits = 50 - (exponent - 1 if mantissa == 0.5 else exponent)
    total = sum(weights)
    sums = [0] * len(rows[0])
    for row, weight in zip(rows, weights, strict=True):
        factor = ldexp(weight / total, bits)
        for i, value in enumerate(row):
            sums[i] += round(value * factor)  # ties to even
    return [float(Fraction(value, 1) * Fraction(2) ** -bits) for value in sums]
