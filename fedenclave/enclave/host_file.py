"""A file of the host's, read into the enclave's own memory before anything looks at it.

The host may change the file at any moment. Whoever reads here gets a private copy, checks that
copy, and computes on that copy: never on memory that the host shares.
"""

from __future__ import annotations

import contextlib
import os

from fedenclave.protocol.errors import Refusal, RequestRefused


class HostFile:
    """A descriptor that the host passed. Closed with `close`."""

    def __init__(self, descriptor: int, offset: int = 0) -> None:
        """Own `descriptor`; positions count from `offset`."""
        self._descriptor = descriptor
        self._offset = offset

    def size(self) -> int:
        """Return the bytes after `offset`, as they are now: the host may change that.

        Raises:
            RequestRefused: it cannot be said.
        """
        try:
            return os.fstat(self._descriptor).st_size - self._offset
        except OSError:
            raise RequestRefused(Refusal.STORAGE) from None

    def read_into(self, buffer: memoryview, position: int) -> None:
        """Fill all of `buffer` from `position`. Releases the GIL.

        Raises:
            RequestRefused: the file cannot be read, or ends before.
        """
        filled = 0
        try:
            # Once, but for a segment of the state: Linux reads less than 2 GiB at a time.
            while not filled or filled < len(buffer):
                at = self._offset + position + filled
                got = os.preadv(self._descriptor, [buffer[filled:]], at)
                if not got:
                    break
                filled += got
        except (OSError, OverflowError):  # the latter for a position of the host's above 2**63
            raise RequestRefused(Refusal.STORAGE) from None
        if filled != len(buffer):
            raise RequestRefused(Refusal.STORAGE)

    def read(self, size: int, position: int) -> bytes:
        """Return `size` bytes from `position`.

        Raises:
            RequestRefused: as for `read_into`.
        """
        buffer = bytearray(size)
        self.read_into(memoryview(buffer), position)
        return bytes(buffer)

    def write(self, data: memoryview, position: int = 0) -> None:
        """Write all of `data` from `position`.

        Raises:
            RequestRefused: it cannot be written.
        """
        written = 0
        try:
            while written < len(data):
                at = self._offset + position + written
                written += os.pwrite(self._descriptor, data[written:], at)
        except (OSError, OverflowError):
            raise RequestRefused(Refusal.STORAGE) from None

    def close(self) -> None:
        """Give the descriptor back."""
        close_quietly(self._descriptor)


def close_quietly(descriptor: int) -> None:
    """Close a descriptor of the host's.

    A file system may report here what it could not write; the descriptor is gone all the same, and
    a step of the enclave's must not end by half for it. The host sees to its own files.
    """
    with contextlib.suppress(OSError):
        os.close(descriptor)
