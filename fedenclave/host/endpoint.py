"""What both ends of the gateway's service agree on beside the .proto: address form and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.frames import MAX_FRAME

PART_BYTES = 1 << 20
"""Updates and models travel in parts of at most this size."""

MAX_REQUEST = PART_BYTES + (64 << 10)
"""The largest request is a part; a cohort of 8,192 names has half of that."""

MAX_REPLY = MAX_FRAME + (1 << 20)
"""What a frame of the enclave may hold, and protobuf's own bytes."""

LEAVES_AT_ONCE = 1 << 16
"""In a message: 2 MiB of them."""

RELEASES_AT_ONCE = 64
"""In a message: a release may have a mebibyte."""

T = TypeVar("T")

_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port`; an IPv6 host stands in brackets and keeps them.

    Raises:
        ConfigurationError: it is anything else.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match["port"]) > 65_535:
        raise ConfigurationError(
            f"address is {address[:80]!r}, want host:port",
            hint="for example 127.0.0.1:9443, aggregator.example.org:9443 or [::1]:9443",
        )
    return match["host"], int(match["port"])


def batches(everything: Sequence[T], count: int) -> Iterator[Sequence[T]]:
    """Yield `count` of them at a time."""
    for first in range(0, len(everything), count):
        yield everything[first : first + count]


def parts_of(data: bytes) -> Iterator[bytes]:
    """Yield `data` in parts of `PART_BYTES`."""
    view = memoryview(data)
    for start in range(0, len(view), PART_BYTES):
        yield bytes(view[start : start + PART_BYTES])
