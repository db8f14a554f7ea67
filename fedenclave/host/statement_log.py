"""Everything that the enclave has signed, in order, in one file that only grows.

    "FEL1" ‖ u32 length ‖ signed statement ‖ u32 length ‖ signed statement ‖ ...

It is the log that members mirror and auditors walk. The enclave's sealed state holds the statements
of the newest segment, too: what a crash has cut off here is written again from there.

SPEC.md, section 7.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.signing import statement_digest

MAGIC = b"FEL1"
_LENGTH = struct.Struct(">I")


class StatementLog:
    """The file, and the digests of what is in it."""

    def __init__(self, path: Path, *, flushed: bool) -> None:
        """Open `path`, or begin it; an entry that was not written whole is cut off.

        Raises:
            OSError: it cannot be used.
        """
        self._flushed = flushed
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.leaves: list[Digest] = []
        self._ends = [len(MAGIC)]
        self._read(path.read_bytes())
        self.rewind(len(self.leaves))

    def _read(self, data: bytes) -> None:
        at = len(MAGIC)
        while data.startswith(MAGIC) and at + _LENGTH.size <= len(data):
            (size,) = _LENGTH.unpack_from(data, at)
            start, at = at + _LENGTH.size, at + _LENGTH.size + size
            if at > len(data):
                return
            self.leaves.append(statement_digest(data[start:at]))
            self._ends.append(at)

    def rewind(self, count: int) -> None:
        """Keep the first `count` statements.

        Raises:
            OSError: the file cannot be written.
        """
        del self.leaves[count:], self._ends[count + 1 :]
        os.ftruncate(self._descriptor, self._ends[-1])
        os.pwrite(self._descriptor, MAGIC, 0)

    def append(self, *signed: bytes) -> None:
        """Add statements.

        Raises:
            OSError: the file cannot be written; none of them was added.
        """
        data = b"".join(_LENGTH.pack(len(each)) + each for each in signed)
        written = 0
        while written < len(data):
            written += os.pwrite(self._descriptor, data[written:], self._ends[-1] + written)
        for each in signed:
            self.leaves.append(statement_digest(each))
            self._ends.append(self._ends[-1] + _LENGTH.size + len(each))

    def statements(self) -> list[bytes]:
        """Return everything signed so far.

        Raises:
            OSError: the file cannot be read.
        """
        data = os.pread(self._descriptor, self._ends[-1], 0)
        starts = (end + _LENGTH.size for end in self._ends)
        return [data[start:end] for start, end in zip(starts, self._ends[1:], strict=False)]

    def flush(self) -> None:
        """Return once the disk has all of it.

        Raises:
            OSError: the disk refuses.
        """
        if self._flushed:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
