"""The digest of data that lie there in plain text, given the salt: what an auditor computes."""

from __future__ import annotations

from collections.abc import Callable

from fedenclave.datasets.digest import ContentsDigest, FileDigest, leaf
from fedenclave.datasets.layout import CHUNK, chunk_count
from fedenclave.datasets.source import Source
from fedenclave.protocol.digests import Digest


def contents_digest(
    source: Source, salt: bytes, progress: Callable[[int], None] = lambda done: None
) -> Digest:
    """Return the digest that a sealed dataset of these files has, with this salt.

    Raises:
        SourceRefused: it cannot be read, or changes meanwhile.
    """
    whole, buffer, done = ContentsDigest(salt), memoryview(bytearray(CHUNK)), 0
    for number, file in enumerate(source.files):
        digest = FileDigest(file.size)
        for chunk in range(chunk_count(file.size)):
            part = buffer[: min(CHUNK, file.size - chunk * CHUNK)]
            source.read_into(number, chunk * CHUNK, part)
            digest.add(leaf(part))
            done += len(part)
            progress(done)
        whole.add(file.name, file.size, digest.digest())
    return whole.digest()
