"""A 16-byte fingerprint per chunk, under a key that only this enclave has.

What one pass has read must be what the next pass reads (T16). An AES-GCM tag does not say so: the
sender knows the content key and can make a second ciphertext with the same tag. GMAC under a key
of the enclave's own does, at 25 GB/s where SHA-256 makes 1.4.

A nonce never repeats: it is the file's serial number and the chunk's.

SPEC.md, section 11.2.
"""

from __future__ import annotations

import hmac
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SIZE = 16


class Fingerprinter:
    """Makes and compares fingerprints. The tags never leave the enclave."""

    def __init__(self, key: bytes = b"") -> None:
        """Draw a new key, or use the one of an earlier fingerprinter again."""
        self.key = key or os.urandom(32)
        self._mac = AESGCM(self.key)

    def of(self, data: memoryview, *, serial: int, chunk: int) -> bytes:
        """Return the fingerprint of `data` as chunk `chunk` of file `serial` (below 2**32)."""
        nonce = serial.to_bytes(4, "big") + chunk.to_bytes(8, "big")
        return self._mac.encrypt(nonce, b"", data)

    def matches(self, expected: bytes, data: memoryview, *, serial: int, chunk: int) -> bool:
        """Return whether `data` has the fingerprint `expected`."""
        return hmac.compare_digest(expected, self.of(data, serial=serial, chunk=chunk))
