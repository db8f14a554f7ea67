"""Frames over the enclave's one socket, with the descriptors that come along.

SPEC.md, section 12.1.
"""

from __future__ import annotations

import socket

from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.frames import LENGTH, MAX_FRAME


class FrameSocket:
    """The enclave's end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        """Use a connected stream socket."""
        self._connection = connection

    def receive(self, max_descriptors: int) -> tuple[bytes, list[int]] | None:
        """Return the next frame and its descriptors, the caller's to close; None at the end.

        Raises:
            MalformedMessage: it is too long. What follows cannot be told from a new frame: the
                connection is over.
            EOFError: the other end closed within a frame.
        """
        head, descriptors, _, _ = socket.recv_fds(self._connection, LENGTH.size, max_descriptors)
        if not head:
            return None
        head += self._read(LENGTH.size - len(head))
        (size,) = LENGTH.unpack(head)
        if size > MAX_FRAME:
            raise MalformedMessage(f"a frame has {size} bytes; want at most {MAX_FRAME}")
        return self._read(size), descriptors

    def send(self, data: bytes) -> None:
        """Send one frame."""
        self._connection.sendall(LENGTH.pack(len(data)) + data)

    def _read(self, size: int) -> bytes:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            got = self._connection.recv_into(view)
            if got == 0:
                raise EOFError
            view = view[got:]
        return bytes(buffer)
