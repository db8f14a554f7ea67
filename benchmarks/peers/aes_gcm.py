"""AES-256-GCM alone: how fast these cores decrypt the same bytes, with nothing else to do.

Each client's float32 parameters lie encrypted in memory, in chunks of 256 KiB, under a key for each
client; `AESGCM.decrypt_into` opens every chunk into scratch that stays in the cache. A round reads
all ciphertext once, so that it comes from memory and not from a cache, given enough of it. Ways:
"arrived" with two threads, "one thread". This is no peer but a bound: who gets updates encrypted
with AES-256-GCM, by this library, cannot be faster.
"""

from __future__ import annotations

import secrets
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from benchmarks.measure import timed
from benchmarks.peers.figures import ARRIVED, all_trained, figures, main

CHUNK = 256 << 10
TAG = 16
THREADS = 2


@dataclass(frozen=True)
class Encrypted:
    """One client's ciphertext: chunks with their tags, one after the other."""

    cipher: AESGCM
    data: memoryview

    @property
    def chunks(self) -> int:
        """How many chunks."""
        return -(-len(self.data) // (CHUNK + TAG))

    def open_chunk(self, number: int, into: memoryview) -> memoryview:
        """Decrypt a chunk to the beginning of `into`, and return it."""
        start = number * (CHUNK + TAG)
        sealed = self.data[start : start + CHUNK + TAG]
        plain = into[: len(sealed) - TAG]
        self.cipher.decrypt_into(_nonce(number), sealed, None, plain)
        return plain


def encrypted(trained: NDArray[np.float32]) -> Encrypted:
    """Return a client's parameters under a key of their own."""
    cipher = AESGCM(secrets.token_bytes(32))
    plain = memoryview(trained).cast("B")
    chunks = [
        cipher.encrypt(_nonce(number), plain[start : start + CHUNK], None)
        for number, start in enumerate(range(0, len(plain), CHUNK))
    ]
    made = Encrypted(cipher, memoryview(b"".join(chunks)))
    last = made.open_chunk(made.chunks - 1, memoryview(bytearray(CHUNK)))
    assert last == plain[-len(last) :]
    return made


def open_all(updates: Sequence[Encrypted], first: int, step: int) -> None:
    """Decrypt every `step`-th chunk of every client, beginning with number `first`."""
    scratch = memoryview(bytearray(CHUNK))
    for update in updates:
        for number in range(first, update.chunks, step):
            update.open_chunk(number, scratch)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def measure(clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the figures of decryption alone."""
    updates = [encrypted(values) for values in all_trained(clients, parameters)]
    seconds: dict[str, list[float]] = {ARRIVED: [], "one thread": []}
    with ThreadPoolExecutor(THREADS) as pool:

        def side_by_side() -> None:
            list(pool.map(lambda first: open_all(updates, first, THREADS), range(THREADS)))

        for _ in range(repeat + 1):
            seconds[ARRIVED].append(timed(side_by_side)[1])
            seconds["one thread"].append(timed(lambda: open_all(updates, 0, 1))[1])
    counted = {way: found[1:] for way, found in seconds.items()}
    gigabytes = 4 * parameters * clients / 1e9
    speed = {way: gigabytes / statistics.median(found) for way, found in counted.items()}
    return figures(
        seconds=counted,
        largest_error=None,
        packages=("cryptography",),
        wire=len(updates[0].data) / (4 * parameters),
        gigabytes_per_second=speed,
    )


if __name__ == "__main__":
    sys.exit(main("aes_gcm", measure))
