"""The operator's own hands on the socket between host and enclave.

The process that talks to the enclave is the operator's, and so is the socket: nothing here goes
round a protection, since there is none on this side.

SPEC.md, section 12.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedenclave.host.aggregator import Aggregator
from fedenclave.host.enclave_process import EnclaveProcess
from fedenclave.host.optimiser_files import Opened
from fedenclave.protocol.frames import (
    LENGTH,
    AmendRequest,
    Closed,
    CloseRequest,
    Empty,
    FetchRequest,
    Operation,
    Reply,
    SignedStatement,
)

_PATIENCE_SECONDS = 20.0


def enclave_of(aggregator: Aggregator) -> EnclaveProcess:
    """Return the enclave process that `aggregator` has started."""
    return aggregator._enclave


def amend_on(aggregator: Aggregator, manifest: bytes, approvals: Sequence[bytes]) -> None:
    """Ask the enclave to go on under another manifest, without a host that looks first."""
    request = AmendRequest(manifest=manifest, approvals=tuple(approvals), time=int(time.time()))
    enclave_of(aggregator).request(Operation.AMEND, request, SignedStatement)


class Wiretap(socket.socket):
    """A socket that keeps a copy of everything that passes."""

    def __init__(self, inner: socket.socket) -> None:
        """Take the place of `inner`, which is of no use any more."""
        super().__init__(inner.family, inner.type, inner.proto, fileno=inner.detach())
        self.seen = bytearray()

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send, and keep a copy."""
        self.seen += bytes(data)
        super().sendall(data, flags)

    def sendmsg(self, buffers: Any, *rest: Any) -> int:
        """Send with descriptors, and keep a copy."""
        sent = super().sendmsg(buffers, *rest)
        self.seen += b"".join(map(bytes, buffers))[:sent]
        return sent

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Receive, and keep a copy."""
        received = super().recv_into(buffer, nbytes, flags)
        self.seen += memoryview(buffer)[:received]
        return received


def tap(aggregator: Aggregator) -> Wiretap:
    """Listen to everything between host and enclave from now on."""
    enclave = enclave_of(aggregator)
    wiretap = Wiretap(enclave._socket)
    enclave._socket = wiretap
    return wiretap


def exchange(aggregator: Aggregator, data: bytes, descriptors: Sequence[int] = ()) -> Reply:
    """Send any bytes as one frame, with any descriptors beside it, and return the answer.

    Raises:
        OSError: the enclave does not answer in time, or has ended.
        EOFError: it ended in the middle of an answer.
        MalformedMessage: its answer does not decode.
    """
    return send_and_receive(aggregator, LENGTH.pack(len(data)), data, descriptors)


def send_and_receive(
    aggregator: Aggregator, head: bytes, data: bytes, descriptors: Sequence[int] = ()
) -> Reply:
    """Do as `exchange`, with any bytes where the length should be."""
    enclave = enclave_of(aggregator)
    channel = enclave._socket
    with enclave._lock:
        channel.settimeout(_PATIENCE_SECONDS)
        try:
            if descriptors:
                socket.send_fds(channel, [head], list(descriptors))
            else:
                channel.sendall(head)
            # Where the head alone ends the connection, even nothing cannot be sent any more.
            if data:
                channel.sendall(data)
            (size,) = LENGTH.unpack(enclave._receive(LENGTH.size))
            return Reply.from_bytes(enclave._receive(size))
        finally:
            channel.settimeout(None)


def close_on(aggregator: Aggregator, base: Path) -> Empty:
    """Ask the enclave itself to close, on a base model's file of the host's choice.

    Raises:
        RequestRefused: it does not.
    """
    request = CloseRequest(base_offset=0, time=int(time.time()))
    with Opened(base, os.O_RDONLY) as file:
        return enclave_of(aggregator).request(Operation.CLOSE, request, Empty, [file.number])


def fetch_into(aggregator: Aggregator, target: Path) -> Closed:
    """Ask the enclave itself for the newest release, and its model.

    Raises:
        RequestRefused: it gives none.
    """
    request = FetchRequest(model_offset=0)
    with Opened(target, os.O_RDWR | os.O_CREAT) as file:
        return enclave_of(aggregator).request(Operation.FETCH, request, Closed, [file.number])
