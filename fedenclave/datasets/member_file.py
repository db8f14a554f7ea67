"""One file of a sealed dataset, as a stream and at offsets.

Whole chunks are decrypted to where they are wanted; of a chunk that is wanted in part the plaintext
is kept until another is, in memory alone.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from fedenclave.datasets.layout import CHUNK, TAG_SIZE

if TYPE_CHECKING:
    from collections.abc import Buffer

    from fedenclave.datasets.index import Member
    from fedenclave.datasets.reader import SealedDataset


class MemberFile(io.RawIOBase):
    """A readable, seekable stream. Not for several threads at once: each opens its own."""

    def __init__(self, dataset: SealedDataset, member: Member) -> None:
        """Take an open dataset and which of its files this is."""
        super().__init__()
        self._dataset, self._member = dataset, member
        self._position = 0
        self._sealed = memoryview(bytearray(min(member.size, CHUNK) + TAG_SIZE))
        self._kept = memoryview(bytearray(min(member.size, CHUNK)))
        self._kept_chunk = -1

    @property
    def name(self) -> str:
        """Return the file's name in the dataset."""
        return self._member.name

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in the plaintext."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, also one behind the end, where nothing is read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._member.size}
        if whence not in base:
            raise ValueError(f"whence is {whence}, want 0, 1 or 2")
        if (position := base[whence] + offset) < 0:
            raise ValueError(f"position is {position}, want 0 or more")
        self._position = position
        return position

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill `buffer` as far as the file goes, and return how far that is.

        Raises:
            DatasetDamaged, StorageFailed: see `SealedDataset.open_chunk`.
        """
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._member.size - self._position))
        self.fill(self._position, view[:count])
        self._position += count
        return count

    def readall(self) -> bytes:
        """Return the rest of the file."""
        data = bytearray(max(0, self._member.size - self._position))
        self.readinto(data)
        return bytes(data)

    def fill(self, offset: int, into: memoryview) -> None:
        """Fill `into` with the plaintext from `offset` on; it must be there.

        Raises:
            DatasetDamaged, StorageFailed: see `SealedDataset.open_chunk`.
        """
        done = 0
        while done < len(into):
            chunk, within = divmod(offset + done, CHUNK)
            size = min(CHUNK, self._member.size - chunk * CHUNK)
            part = into[done : done + size - within]
            if len(part) == size:
                self._dataset.open_chunk(self._member, chunk, part, self._sealed)
            else:
                part[:] = self._chunk(chunk, size)[within : within + len(part)]
            done += len(part)

    def _chunk(self, chunk: int, size: int) -> memoryview:
        kept = self._kept[:size]
        if chunk != self._kept_chunk:
            self._kept_chunk = -1
            self._dataset.open_chunk(self._member, chunk, kept, self._sealed)
            self._kept_chunk = chunk
        return kept
