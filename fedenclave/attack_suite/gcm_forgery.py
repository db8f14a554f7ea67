"""A second ciphertext with the same AES-GCM tag, for whoever knows the key (SP 800-38D).

The tag is a polynomial in H = AES(key, 0), whose coefficients are the ciphertext's blocks. Change
one block by d and the block after it by d times H, and the two changes cancel out.
"""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 16
_REDUCTION = 0xE1 << 120


def _multiply(x: int, y: int) -> int:
    """Return x times y in GF(2**128), in GCM's order of bits (SP 800-38D, algorithm 1)."""
    product = 0
    for i in range(127, -1, -1):
        if x >> i & 1:
            product ^= y
        y = (y >> 1) ^ (_REDUCTION if y & 1 else 0)
    return product


def same_tag(key: bytes, sealed: bytes, *, block: int, change: bytes) -> bytes:
    """Return `sealed` (ciphertext, tag) with `block` changed by `change`, and the next to fit."""
    h = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(bytes(BLOCK))  # noqa: S305
    other = _multiply(int.from_bytes(change, "big"), int.from_bytes(h, "big"))
    forged = bytearray(sealed)
    for at, difference in ((block, change), (block + 1, other.to_bytes(BLOCK, "big"))):
        place = slice(BLOCK * at, BLOCK * (at + 1))
        forged[place] = bytes(a ^ b for a, b in zip(forged[place], difference, strict=True))
    return bytes(forged)
