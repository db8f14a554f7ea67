"""Make round keys and open what is sealed to them: the enclave's side, imported by nothing else.

SPEC.md, section 8.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedenclave.protocol.hpke import cipher_suite, update_info
from fedenclave.protocol.sealed_update import CONTENT_KEY_SIZE, Envelope
from fedenclave.protocol.statements import Suite

_X25519_SIZE = 32


class CannotOpen(Exception):
    """The wrapped key or a chunk does not open. Says nothing more, on purpose."""


class RoundKey:
    """The private HPKE key of one round. Dropping the object is the destruction of the key.

    Python cannot promise that the memory is wiped; OpenSSL cleanses its own copy on free.
    """

    def __init__(self, suite: Suite, private: bytes = b"") -> None:
        """Make a new key pair for `suite`, or the one again that `private_bytes` has written.

        Raises:
            ValueError: `private` is no such key.
        """
        x25519, mlkem = _pair(suite, private)
        self._suite = suite
        self._key: X25519PrivateKey | hpke.MLKEM768X25519PrivateKey = x25519
        self.public_bytes = x25519.public_key().public_bytes_raw()
        if mlkem is not None:
            self._key = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
            self.public_bytes = mlkem.public_key().public_bytes_raw() + self.public_bytes
        self._private = x25519, mlkem

    def private_bytes(self) -> bytes:
        """Return the key for the enclave's sealed state: X25519's 32 bytes, ML-KEM's seed of 64."""
        x25519, mlkem = self._private
        return x25519.private_bytes_raw() + (mlkem.private_bytes_raw() if mlkem else b"")

    def unwrap(self, envelope: Envelope) -> bytes:
        """Return the content key of an update whose signature has been checked.

        Raises:
            CannotOpen: it was not sealed to this key with exactly this header.
        """
        key = self.open(envelope.wrapped_key, update_info(envelope.header))
        if len(key) != CONTENT_KEY_SIZE:
            raise CannotOpen
        return key

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Return what was sealed to this key with exactly this `info`.

        Raises:
            CannotOpen: nothing was.
        """
        try:
            return cipher_suite(self._suite).decrypt(sealed, self._key, info=info)
        except (InvalidTag, ValueError):
            raise CannotOpen from None


def _pair(suite: Suite, private: bytes) -> tuple[X25519PrivateKey, MLKEM768PrivateKey | None]:
    hybrid = suite is Suite.HYBRID
    if not private:
        return X25519PrivateKey.generate(), MLKEM768PrivateKey.generate() if hybrid else None
    x25519 = X25519PrivateKey.from_private_bytes(private[:_X25519_SIZE])
    seed = private[_X25519_SIZE:]
    if bool(seed) != hybrid:
        raise ValueError(f"a private key of {len(private)} bytes for {suite}")
    return x25519, MLKEM768PrivateKey.from_seed_bytes(seed) if hybrid else None
