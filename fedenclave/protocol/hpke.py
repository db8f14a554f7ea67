"""HPKE suites and how their public keys travel. Holds no private key.

`MLKEM768-X25519` is the hybrid KEM of draft-ietf-hpke-pq; its public key is the ML-KEM-768
encapsulation key (1,184 bytes) followed by the X25519 public key (32 bytes).

SPEC.md, section 8.1.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.statements import Suite

_MLKEM_SIZE = 1184
_X25519_SIZE = 32
_KEM = {Suite.HYBRID: hpke.KEM.MLKEM768_X25519, Suite.X25519: hpke.KEM.X25519}

HpkePublicKey = X25519PublicKey | hpke.MLKEM768X25519PublicKey


def cipher_suite(suite: Suite) -> hpke.Suite:
    """Return the library's object for `suite`."""
    return hpke.Suite(_KEM[suite], hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def load_public_key(suite: Suite, raw: bytes) -> HpkePublicKey:
    """Return the public key that `raw` encodes.

    Raises:
        MalformedMessage: it has the wrong length or is not a valid key.
    """
    want = _X25519_SIZE + (_MLKEM_SIZE if suite is Suite.HYBRID else 0)
    if len(raw) != want:
        raise MalformedMessage(f"hpke key has {len(raw)} bytes, want {want} for {suite}")
    try:
        x25519 = X25519PublicKey.from_public_bytes(raw[-_X25519_SIZE:])
        if suite is Suite.X25519:
            return x25519
        mlkem = MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_SIZE])
        return hpke.MLKEM768X25519PublicKey(mlkem, x25519)
    except ValueError as error:
        raise MalformedMessage(f"hpke key is not a valid {suite} key") from error


def update_info(header: bytes) -> bytes:
    """Return HPKE's `info` for an update: the whole header is bound into the wrapping."""
    return b"fedenclave/update/v1\x00" + header
