"""Frames of any bytes on the enclave's socket: an answer or a closed refusal, and never a crash."""

import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from fedenclave.enclave.hardening import Hardening
from fedenclave.enclave.measured import read_measured_code
from fedenclave.enclave.service import Service
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.frames import (
    LENGTH,
    MAX_FRAME,
    CloseRequest,
    Empty,
    EvidenceRequest,
    FetchRequest,
    OpenRequest,
    Operation,
    Reply,
    Request,
    StartRequest,
    StatusReply,
)
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import public_key
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import development_manifest

CLOSED = {refusal.value for refusal in Refusal}
ARRAYS = {"w": np.zeros(10, np.float32)}
SCHEMA = schema_of(ARRAYS)
MODEL = Model(schema=SCHEMA, payload=bytes(pack(SCHEMA, ARRAYS)))
KEYS = {name: Ed25519PrivateKey.generate() for name in "ab"}


def a_manifest() -> tuple[bytes, tuple[bytes, ...]]:
    manifest, approvals = development_manifest(
        MODEL,
        {name: public_key(key) for name, key in KEYS.items()},
        measurement=to_text(read_measured_code().measurement),
    )
    return manifest.source, tuple(approvals)


MANIFEST, APPROVALS = a_manifest()
START = StartRequest(
    manifest=MANIFEST, approvals=APPROVALS, schema=SCHEMA.to_bytes(), payload_offset=0, time=1
)


class Peer:
    """The host's end of a socket whose other end a service serves in a thread."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(20)
        self.thread = threading.Thread(target=self._serve, args=(theirs,), daemon=True)
        self.thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                self.service = Service(connection, Hardening(), "insecure")
                self.service.run()
            except (EOFError, ConnectionError):
                pass

    def receive(self) -> Reply:
        def exactly(size: int) -> bytes:
            data = b""
            while len(data) < size:
                data += self.socket.recv(size - len(data)) or pytest.fail("the service has ended")
            return data

        return Reply.from_bytes(exactly(LENGTH.unpack(exactly(LENGTH.size))[0]))

    def ask(self, frame: bytes, descriptors: tuple[int, ...] = ()) -> Reply:
        socket.send_fds(self.socket, [LENGTH.pack(len(frame))], descriptors)
        self.socket.sendall(frame)
        return self.receive()

    def status(self) -> tuple[object, ...]:
        reply = self.ask(Request(operation="status", body=Empty().to_bytes()).to_bytes())
        status = StatusReply.from_bytes(reply.body)
        return status.state, status.round, status.admitted, status.log_size

    def close(self) -> None:
        self.socket.close()
        self.thread.join(20)
        assert not self.thread.is_alive()


@contextmanager
def opened(path: Path, data: bytes = b"") -> Iterator[int]:
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDWR)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def start(peer: Peer, folder: Path) -> None:
    frame = Request(operation="start", body=START.to_bytes()).to_bytes()
    with opened(folder / "model", bytes(MODEL.payload)) as model:
        assert peer.ask(frame, (model,)).refusal == ""


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """A service with an open round."""
    peer = Peer()
    start(peer, tmp_path_factory.mktemp("service"))
    cohort = OpenRequest(cohort=("a", "b"), training_config=NO_TRAINING_CONFIG, time=2)
    reply = peer.ask(Request(operation="open", body=cohort.to_bytes()).to_bytes())
    assert reply.refusal == ""
    yield peer
    peer.close()


def refused(peer: Peer, frame: bytes, descriptors: tuple[int, ...] = ()) -> str:
    """Ask; the answer must be a closed refusal, and nothing be changed."""
    before = peer.status()
    reply = peer.ask(frame, descriptors)
    assert reply.body == b""
    assert reply.refusal in CLOSED - {Refusal.INTERNAL.value}
    assert peer.status() == before
    return reply.refusal


@given(st.binary(max_size=300))
def test_a_frame_of_any_bytes_is_refused(peer: Peer, frame: bytes) -> None:
    assert refused(peer, frame) == Refusal.MALFORMED


# What the host is told anyway, and the one operation that is answered whatever the bytes say.
ASKED = [operation for operation in Operation if operation is not Operation.ADMIT]


@given(st.sampled_from([*ASKED, "", "stop"]), st.binary(max_size=200), st.integers(0, 3))
@settings(max_examples=150)
def test_a_request_with_any_body_and_any_descriptors_is_refused(
    peer: Peer, operation: str, body: bytes, count: int
) -> None:
    with open(os.devnull, "rb") as null:  # noqa: PTH123
        descriptors = (null.fileno(),) * count
        refused(peer, Request(operation=operation, body=body).to_bytes(), descriptors)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.sampled_from(["close", "fetch"]))
def test_a_position_of_the_hosts_choice_is_refused(
    peer: Peer, base: int, model: int, operation: str
) -> None:
    request = CloseRequest(base_offset=base, time=1)
    if operation == "fetch":
        request = FetchRequest(model_offset=model)
    with open(os.devnull, "rb") as null:  # noqa: PTH123
        frame = Request(operation=operation, body=request.to_bytes()).to_bytes()
        refused(peer, frame, (null.fileno(),))


def test_other_things_than_files_are_refused(peer: Peer, tmp_path: Path) -> None:
    read, write = os.pipe()
    folder = os.open(tmp_path, os.O_RDONLY)
    frame = Request(operation="admit", body=Empty().to_bytes()).to_bytes()
    for descriptor in (folder, read, write):  # a pipe must not be waited for
        assert refused(peer, frame, (descriptor,)) == Refusal.STORAGE
    for descriptor in (read, write, folder):
        os.close(descriptor)


def test_an_update_beside_any_other_body_is_refused(peer: Peer, tmp_path: Path) -> None:
    with opened(tmp_path / "update", b"FEU1" + bytes(50)) as update:
        for body in (b"", b"\xff", b"\xa1aa\x00"):
            frame = Request(operation="admit", body=body).to_bytes()
            assert refused(peer, frame, (update,)) == Refusal.MALFORMED


def test_no_descriptor_is_left_open_whatever_is_asked(peer: Peer, tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    admit = Request(operation="admit", body=Empty().to_bytes()).to_bytes()
    odd = Request(operation="admit", body=b"\xff").to_bytes()
    before = count()
    with opened(tmp_path / "update", b"FEU1" + bytes(50)) as update:
        for frame, descriptors in (
            (admit, (update,)),
            (odd, (update,)),
            (b"\xff", (update, update)),
            (admit, (update, update)),
            (Request(operation="close", body=b"").to_bytes(), (update, update)),
            (Request(operation="status", body=b"").to_bytes(), (update,)),
        ):
            for _ in range(5):
                peer.ask(frame, descriptors)
    assert count() == before


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_nonce_of_another_length_is_refused(peer: Peer, size: int) -> None:
    body = EvidenceRequest(nonce=bytes(size)).to_bytes()
    frame = Request(operation="evidence", body=body).to_bytes()
    assert refused(peer, frame) == Refusal.MALFORMED


@pytest.fixture(scope="module")
def unstarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Peer, Path]]:
    """A service that is asked to start in many wrong ways, and starts in the end."""
    peer, folder = Peer(), tmp_path_factory.mktemp("start")
    yield peer, folder
    start(peer, folder)
    assert peer.status() == ("idle", 0, 0, 1)
    peer.close()


@given(st.data())
def test_a_damaged_start_is_refused_and_leaves_a_service_that_can_start(
    unstarted: tuple[Peer, Path], data: st.DataObject
) -> None:
    peer, folder = unstarted
    body = bytearray(START.to_bytes())
    time_at = body.index(b"dtime") + 5  # the host's own note: any is as good
    at = data.draw(st.integers(0, len(body) - 1).filter(lambda i: i != time_at))
    body[at] ^= 1 << data.draw(st.integers(0, 7))
    frame = Request(operation="start", body=bytes(body)).to_bytes()
    with opened(folder / "model", bytes(MODEL.payload)) as model:
        assert refused(peer, frame, (model,)) != Refusal.WRONG_STATE


def test_a_frame_above_the_limit_ends_the_connection_unread() -> None:
    peer = Peer()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peer.socket.sendall(LENGTH.pack(2**32 - 1))
    assert peer.receive().refusal == Refusal.MALFORMED
    assert peer.socket.recv(1) == b""
    peer.close()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MAX_FRAME // 1024 // 2


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\x05ab", LENGTH.pack(1 << 20) + b"a"])
def test_a_host_that_hangs_up_ends_the_service(data: bytes) -> None:
    peer = Peer()
    peer.socket.sendall(data)
    peer.close()
