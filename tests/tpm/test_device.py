"""The transport: one command, one response of the size it claims, or the one error."""

import fcntl
import os
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedenclave.enclave.tpm import device
from fedenclave.enclave.tpm.device import opened
from fedenclave.enclave.tpm.errors import TpmError

COMMAND = bytes.fromhex("80010000000c0000017b0020")
ANSWER = bytes.fromhex("80010000000e000000000002abcd")
Serve = Callable[[list[bytes]], str]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Listen on a Unix socket, take a command, and answer with the given pieces."""
    monkeypatch.chdir(tmp_path)  # a short path, whatever this test's folder is called
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("tpm")
    listener.listen()
    threads = []

    def answer(pieces: list[bytes]) -> None:
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(4096) == COMMAND
            for piece in pieces:
                connection.sendall(piece)
            # The client ends it, so that what it does with the pieces is not a race.
            connection.settimeout(5)
            connection.recv(1)

    def start(pieces: list[bytes]) -> str:
        threads.append(threading.Thread(target=answer, args=[pieces]))
        threads[-1].start()
        return "tpm"

    yield start
    for thread in threads:
        thread.join()
    listener.close()


def test_a_response_may_come_in_pieces(serve: Serve) -> None:
    with opened(serve([ANSWER[:1], ANSWER[1:9], ANSWER[9:]])) as tpm:
        assert tpm.exchange(COMMAND) == ANSWER


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([ANSWER + b"\x00"], "has 15 bytes, its header says 14"),
        ([bytes(10)], "claims 0 bytes"),
        ([bytes.fromhex("800100000009000000000000")], "claims 9 bytes"),
        ([bytes.fromhex("80010000100100000000")], "claims 4097 bytes"),
        ([bytes.fromhex("8001ffffffff00000000")], "claims 4294967295 bytes"),
    ],
)
def test_a_response_of_another_size_is_refused(
    serve: Serve, pieces: list[bytes], message: str
) -> None:
    with opened(serve(pieces)) as tpm, pytest.raises(TpmError, match=message):
        tpm.exchange(COMMAND)


def test_a_tpm_that_does_not_answer_in_time_is_given_up(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "TIMEOUT_SECONDS", 0.05)
    with opened(serve([ANSWER[:12]])) as tpm, pytest.raises(TpmError, match="does not answer"):
        tpm.exchange(COMMAND)


def test_a_tpm_that_trickles_is_given_up_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "TIMEOUT_SECONDS", 0.1)
    ours, theirs = socket.socketpair()

    def trickle() -> None:
        for byte in ANSWER:
            theirs.sendall(bytes([byte]))
            time.sleep(0.03)

    with ours, theirs:
        thread = threading.Thread(target=trickle)
        thread.start()
        with pytest.raises(TpmError, match="does not answer: timed out"):
            device.Device(device._Socket(ours)).exchange(COMMAND)
        # The last wait was only for what was left.
        assert (ours.gettimeout() or 0) < device.TIMEOUT_SECONDS
        thread.join()


@pytest.fixture
def device_file() -> Iterator[str]:
    """A character device that two may open."""
    master, slave = os.openpty()
    yield os.ttyname(slave)
    os.close(master)
    os.close(slave)


def test_a_device_is_claimed_by_one_at_a_time(
    device_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(device_file) as second:
        with opened(device_file) as first:
            first.claim()
            monkeypatch.setattr(device, "TIMEOUT_SECONDS", 0.05)
            with pytest.raises(TpmError, match="cannot have the tpm alone") as refused:
                second.claim()
            assert "lslocks" in refused.value.hint
        second.claim()


def test_a_claim_waits_until_the_other_has_closed(device_file: str) -> None:
    closed = []
    with opened(device_file) as first, opened(device_file) as second:
        first.claim()

        def close() -> None:
            time.sleep(0.1)
            closed.append(True)
            fcntl.flock(first._stream._descriptor, fcntl.LOCK_UN)  # type: ignore[attr-defined]

        thread = threading.Thread(target=close)
        thread.start()
        second.claim()
        assert closed
        thread.join()


def test_after_an_error_no_late_answer_is_taken_for_the_next(serve: Serve) -> None:
    with opened(serve([bytes(10) + ANSWER])) as tpm:
        with pytest.raises(TpmError):
            tpm.exchange(COMMAND)
        with pytest.raises(TpmError, match="connection to the tpm is broken"):
            tpm.exchange(COMMAND)


def test_a_tpm_that_hangs_up_is_said_to_have_done_so(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(ANSWER[:11])
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(TpmError, match="ends after 11 bytes, want 14"):
            device.Device(device._Socket(ours)).exchange(COMMAND)


def test_a_character_device_is_written_and_read() -> None:
    master, slave = os.openpty()
    tty.setraw(master)
    path = os.ttyname(slave)
    os.write(master, ANSWER)
    with opened(path) as tpm:
        assert tpm.exchange(COMMAND) == ANSWER
    assert os.read(master, 100) == COMMAND
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/dev/null", "ends after 0 bytes, want 10"),
        ("/dev/zero", "has|claims 0 bytes"),
        ("/dev/full", "does not answer: No space left on device"),
    ],
)
def test_a_device_that_is_no_tpm_is_refused(path: str, message: str) -> None:
    with opened(path) as tpm, pytest.raises(TpmError, match=message):
        tpm.exchange(COMMAND)


def test_a_device_that_takes_half_a_command_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda _, data: len(data) - 1)
    with opened("/dev/null") as tpm, pytest.raises(TpmError, match="a part of the command"):
        tpm.exchange(COMMAND)


@pytest.mark.parametrize("path", ["/nonexistent/tpm", "/", "/etc/passwd", "", "a\0b", "x" * 5000])
def test_what_is_no_device_is_said_to_be_none(path: str) -> None:
    with pytest.raises(TpmError, match="the tpm") as refused, opened(path):
        pass
    assert "/dev/tpmrm0" in refused.value.hint


def test_a_socket_that_nobody_serves_is_said_to_be_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("dead")
    with pytest.raises(TpmError, match="Connection refused"), opened("dead"):
        pass
