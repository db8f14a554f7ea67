"""CRC-32C, by which Google's key service and its callers see what was damaged on the way.

No protection from anybody: whoever changes bytes can change it, too. In plain Python, since what it
is of has some hundred bytes.

Source: RFC 3720, appendix B.4.
"""

from __future__ import annotations

_POLYNOMIAL = 0x82F63B78


def _row(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (_POLYNOMIAL if byte & 1 else 0)
    return byte


_TABLE = tuple(map(_row, range(256)))


def crc32c(data: bytes) -> int:
    """Return the checksum of `data`, 32 bits."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
