"""Sizes, names, nonces and keys of a sealed dataset: what FORMAT.md says in numbers.

Rules:
  * Each data key seals one dataset, once. So nonces may count: no two chunks share one.
  * A nonce is the file's number, the chunk's number and whether it is the file's last. What was
    moved, left out, doubled or cut off therefore does not open.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

VERSION = 1
ID_SIZE = 16
TAG_SIZE = 16

CHUNK = 256 << 10
"""Bytes of plaintext in a chunk. From here on AES-GCM is at its full speed and threads gain; four
times as much would make a random row of an array cost four times as much."""

HEAD = "head"
INDEX_MAGIC, BODY_MAGIC = b"FSI1", b"FSB1"
PREFIX_SIZE = 4 + ID_SIZE
"""A magic and the dataset's id, in the clear: so that a mix-up can be named."""

MAX_FILES = 2**32 - 2
MAX_FILE_SIZE = 2**56 - 1


def chunk_nonce(file: int, chunk: int, *, last: bool) -> bytes:
    """Return the 12 bytes for chunk `chunk` (from 0) of file `file` (from 1; pages: 0)."""
    return struct.pack(">IQ", file, chunk << 8 | last)


def chunk_count(size: int) -> int:
    """Return how many chunks a file of `size` bytes has: an empty one has an empty chunk."""
    return max(1, -(-size // CHUNK))


def sealed_size(size: int) -> int:
    """Return how many bytes a file of `size` bytes takes in the body."""
    return size + TAG_SIZE * chunk_count(size)


def index_name(dataset: bytes) -> str:
    """Return the name of the object with a dataset's index."""
    return f"index-{dataset.hex()}"


def body_name(dataset: bytes) -> str:
    """Return the name of the object with a dataset's chunks."""
    return f"body-{dataset.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetKeys:
    """What a data key gives: ciphers for body and index, and a key for the head's MAC."""

    dataset: bytes
    body: AESGCM
    index: AESGCM
    head: bytes

    @classmethod
    def derive(cls, data_key: bytes, dataset: bytes) -> DatasetKeys:
        """Return the keys of the dataset with that id."""
        kdf = HKDF(algorithm=SHA256(), length=96, salt=dataset, info=b"fedenclave/dataset/v1")
        keys = kdf.derive(data_key)
        return cls(
            dataset=dataset, body=AESGCM(keys[:32]), index=AESGCM(keys[32:64]), head=keys[64:]
        )
