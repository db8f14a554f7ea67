"""Carry one command to a TPM and one response back.

A character device (`/dev/tpmrm0`, or `/dev/tpm0` where nothing else uses the TPM), or the Unix
socket of a software TPM, which speaks the same bytes. Neither needs a network.

Rules:
  * A response is as long as its header says, and at most 4,096 bytes.
  * A socket has one time limit for a whole exchange, however slowly it trickles.
  * After anything went wrong the device is used no more: an answer that comes late must not be
    taken for the answer to the next command.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from fedenclave.enclave.tpm.errors import TpmError

HEADER_SIZE = 10
"""Tag, size, code: 2 + 4 + 4 bytes (Part 1, section 18.2)."""

MAX_RESPONSE = 4096
"""The kernel's own limit; no TPM in use has a larger buffer."""

TIMEOUT_SECONDS = 120.0
"""An RSA key in a slow TPM takes half a minute."""

_CLAIM_PAUSE = 0.02

_HINT = "name the tpm's device, such as /dev/tpmrm0, and let this user read and write it"
_KEPT = "another process holds a lock on the device (`lslocks` names it): end it"


class _Stream(Protocol):
    def claim(self) -> None: ...

    def send(self, data: bytes) -> None: ...

    def receive(self, size: int) -> bytes: ...

    def close(self) -> None: ...


class _CharacterDevice:
    """Blocks inside the kernel, which has its own time limit for every command."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def claim(self) -> None:
        # No blocking call: whoever keeps the lock for ever shall be an error, and not a hang.
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(_CLAIM_PAUSE)

    def send(self, data: bytes) -> None:
        # A command must reach the driver in one write.
        written = os.write(self._descriptor, data)
        if written != len(data):
            raise OSError("the device took a part of the command")

    def receive(self, size: int) -> bytes:
        return os.read(self._descriptor, size)

    def close(self) -> None:
        os.close(self._descriptor)


class _Socket:
    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._deadline = connection, 0.0

    def claim(self) -> None:
        # There is nothing to lock. A software TPM serves one connection after the other.
        pass

    def send(self, data: bytes) -> None:
        self._deadline = time.monotonic() + TIMEOUT_SECONDS
        self._connection.settimeout(TIMEOUT_SECONDS)
        self._connection.sendall(data)

    def receive(self, size: int) -> bytes:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left)
        return self._connection.recv(size)

    def close(self) -> None:
        self._connection.close()


class Device:
    """An open TPM."""

    def __init__(self, stream: _Stream) -> None:
        """Wrap what carries the bytes."""
        self._stream, self._usable = stream, True

    def claim(self) -> None:
        """Wait until no other process has claimed the TPM; closing gives it back.

        A promise among processes that ask for it, and only where they see the same device file.

        Raises:
            TpmError: another process keeps it.
        """
        try:
            self._stream.claim()
        except OSError as error:
            raise TpmError(f"cannot have the tpm alone: {error.strerror}", hint=_KEPT) from error

    def exchange(self, command: bytes) -> bytes:
        """Return the response to `command`.

        Raises:
            TpmError: it cannot be had, or has not the size that its header names.
        """
        if not self._usable:
            raise TpmError("the connection to the tpm is broken")
        self._usable = False
        try:
            self._stream.send(command)
            response = self._receive()
        except OSError as error:
            raise TpmError(f"the tpm does not answer: {error.strerror or error}") from error
        self._usable = True
        return response

    def _receive(self) -> bytes:
        response, size = b"", HEADER_SIZE
        while len(response) < size:
            # All that fits is asked for: a device gives what is left of a response only once.
            part = self._stream.receive(MAX_RESPONSE)
            if not part:
                raise TpmError(f"the tpm's response ends after {len(response)} bytes, want {size}")
            response += part
            if len(response) >= HEADER_SIZE:
                size = int.from_bytes(response[2:6], "big")
                if not HEADER_SIZE <= size <= MAX_RESPONSE:
                    raise TpmError(f"the tpm's response claims {size} bytes")
        if len(response) != size:
            raise TpmError(f"the tpm's response has {len(response)} bytes, its header says {size}")
        return response


@contextmanager
def opened(path: str) -> Iterator[Device]:
    """Open the TPM at `path`, and close it in the end.

    Raises:
        TpmError: there is no TPM, or this user may not use it.
    """
    stream = _open(path)
    try:
        yield Device(stream)
    finally:
        stream.close()


def _open(path: str) -> _Stream:
    try:
        kind = os.stat(path).st_mode  # noqa: PTH116
        if stat.S_ISSOCK(kind):
            return _connect(path)
        if stat.S_ISCHR(kind):
            return _CharacterDevice(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TpmError(f"cannot open the tpm {path!r}: {reason}", hint=_HINT) from error
    raise TpmError(f"the tpm {path!r} is neither a character device nor a socket", hint=_HINT)


def _connect(path: str) -> _Socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT_SECONDS)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return _Socket(connection)
