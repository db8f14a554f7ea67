"""Start the enclave process and talk to it over one socket pair.

One request at a time; bulk goes as file descriptors beside the frame. The child gets one inherited
socket, a minimal environment, and nothing else.

SPEC.md, section 12.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypeVar

from fedenclave.protocol.errors import FedEnclaveError, Refusal, RequestRefused
from fedenclave.protocol.frames import LENGTH, Operation, Reply, Request
from fedenclave.protocol.records import Record

RecordT = TypeVar("RecordT", bound=Record)

_GRACE_SECONDS = 5.0


class EnclaveDied(FedEnclaveError):
    """The enclave process has ended, and with it every key of the open round."""


class EnclaveProcess:
    """A running enclave process."""

    def __init__(self, *, code: Path | None = None, log: Path | None = None) -> None:
        """Start it.

        Args:
            code: a folder that holds another copy of the `fedenclave` package to run instead of
                the installed one; its measurement differs if a line of it does.
            log: a file for what the process writes to stderr; None for this process's stderr.

        Raises:
            EnclaveDied: it ended at once.
        """
        ours, theirs = socket.socketpair()
        self._socket, self._lock = ours, threading.Lock()
        error_file: IO[bytes] | None = log.open("ab") if log is not None else None
        try:
            with theirs:
                self._process = subprocess.Popen(
                    _command(theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=error_file,
                    env=_environment(code),
                    # Not this folder: a file of the caller's must not be imported by accident.
                    cwd="/",
                )
        finally:
            if error_file is not None:
                error_file.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def request(
        self,
        operation: Operation,
        body: Record,
        reply_type: type[RecordT],
        descriptors: Sequence[int] = (),
    ) -> RecordT:
        """Ask, wait, and return the decoded answer.

        Raises:
            RequestRefused: the enclave refuses; its state is as before.
            EnclaveDied: it ended before it answered.
            MalformedMessage: its answer does not decode.
        """
        data = Request(operation=operation, body=body.to_bytes()).to_bytes()
        with self._lock:
            try:
                self._send(LENGTH.pack(len(data)), descriptors)
                self._socket.sendall(data)
                (size,) = LENGTH.unpack(self._receive(LENGTH.size))
                reply = Reply.from_bytes(self._receive(size))
            except (OSError, EOFError) as error:
                raise self._died() from error
        if reply.refusal:
            raise RequestRefused(
                Refusal(reply.refusal), hint=_HINTS.get(Refusal(reply.refusal), "")
            )
        return reply_type.from_bytes(reply.body)

    def _send(self, head: bytes, descriptors: Sequence[int]) -> None:
        if descriptors:
            socket.send_fds(self._socket, [head], list(descriptors))
        else:
            self._socket.sendall(head)

    def _receive(self, size: int) -> bytes:
        buffer = bytearray(size)
        view = memoryview(buffer)
        while view:
            got = self._socket.recv_into(view)
            if got == 0:
                raise EOFError
            view = view[got:]
        return bytes(buffer)

    def _died(self) -> EnclaveDied:
        try:
            status = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        return EnclaveDied(
            f"the enclave process ended (exit status {status}) before it answered",
            hint="the open round is lost and its updates can never be opened; start the "
            "aggregator again, and look into its log for the reason",
        )

    def close(self) -> None:
        """Close the socket, which ends the process, and make sure that it has ended."""
        self._socket.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_HINTS = {
    Refusal.WRONG_STATE: "this operation is not possible now: is a round open, or not?",
    Refusal.MANIFEST: "check it with `fedenclave federation show`",
    Refusal.NOT_APPROVED: "collect the approvals of at least `threshold` members of exactly this "
    "file: `fedenclave federation approve`",
    Refusal.WRONG_MODEL: "the model or its schema is not the one that the manifest names, or holds "
    "a NaN or an infinity",
    Refusal.UNKNOWN_CLIENT: "only clients on the manifest's roster can take part",
    Refusal.COHORT_TOO_SMALL: "fewer than min_cohort organisations; wait for more, or abort",
    Refusal.DIFFERENCING: "a release to a cohort this close to an earlier one on the same model "
    "would show what single organisations contributed; abort the round",
    Refusal.STORAGE: "the host's file cannot be read or written: is the disk full?",
    Refusal.INTERNAL: "a defect; the enclave's log says where, without data",
}


# -P and -s keep the working folder and the user's packages off the import path. No cache file runs
# in place of a measured source file: the enclave allows caches again only for its libraries.
_FLAGS = ("-P", "-s", "-X", f"pycache_prefix={os.devnull}")


def _command(descriptor: int) -> list[str]:
    return [sys.executable, *_FLAGS, "-m", "fedenclave.enclave", "--fd", str(descriptor)]


def _environment(code: Path | None) -> dict[str, str]:
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    # An editable or PYTHONPATH install is found where this very package was found.
    package_root = code if code is not None else Path(__file__).parents[2]
    environment["PYTHONPATH"] = str(package_root)
    return environment


def measure_enclave(code: Path | None = None) -> str:
    """Return the JSON report of what the enclave's code measures, from a fresh interpreter.

    Args:
        code: as for `EnclaveProcess`.

    Raises:
        EnclaveDied: the interpreter could not say.
    """
    command = [sys.executable, *_FLAGS, "-m", "fedenclave.enclave", "--measure"]
    done = subprocess.run(
        command, env=_environment(code), cwd="/", capture_output=True, check=False
    )
    if done.returncode != 0:
        raise EnclaveDied(
            f"the enclave's code cannot be measured: {done.stderr.decode(errors='replace')[-300:]}",
            hint="is the package installed completely, with numpy, cryptography and cbor2?",
        )
    return done.stdout.decode()
