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


class CannotOpen(Exception):
    """The wrapped key or a chunk does not open. Says nothing more, on purpose."""


class RoundKey:
    """The private HPKE key of one round. Dropping the object is the destruction of the key.

    Python cannot promise that the memory is wiped; OpenSSL cleanses its own copy on free.
    """

    def __init__(self, suite: Suite) -> None:
        """Make a new key pair for `suite`."""
        x25519 = X25519PrivateKey.generate()
        self._suite = suite
        self._key: X25519PrivateKey | hpke.MLKEM768X25519PrivateKey = x25519
        self.public_bytes = x25519.public_key().public_bytes_raw()
        if suite is Suite.HYBRID:
            mlkem = MLKEM768PrivateKey.generate()
            self._key = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
            self.public_bytes = mlkem.public_key().public_bytes_raw() + self.public_bytes

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
