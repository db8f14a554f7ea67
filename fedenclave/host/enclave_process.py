"""Start the enclave process and talk to it over one socket pair.

One request at a time; bulk goes as file descriptors beside the frame. The child gets one inherited
socket, a minimal environment, and nothing else.

SPEC.md, section 12.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TypeVar

from fedenclave.host.journal import JournalFiles
from fedenclave.protocol.errors import (
    ConfigurationError,
    FedEnclaveError,
    Refusal,
    RequestRefused,
)
from fedenclave.protocol.evidence import REPORT_DATA_SIZE
from fedenclave.protocol.frames import LENGTH, Empty, Operation, Reply, Request
from fedenclave.protocol.records import Record

RecordT = TypeVar("RecordT", bound=Record)

_GRACE_SECONDS = 5.0


class EnclaveDied(FedEnclaveError):
    """The enclave process has ended. What it knew is sealed on the disk, or lost."""


class EnclaveProcess:
    """A running enclave process."""

    def __init__(
        self,
        *,
        tee: str,
        code: Path | None = None,
        log: Path | None = None,
        journal: JournalFiles | None = None,
    ) -> None:
        """Start it.

        Args:
            tee: what vouches for it: `auto`, `insecure`, or a TEE's name, perhaps with a path; see
                `aggregator/README.md`.
            code: a folder that holds another copy of the `fedenclave` package to run instead of
                the installed one; its measurement differs if a line of it does.
            log: a file for what the process writes to stderr; None for this process's stderr.
            journal: for its sealed state; None where that is to be lost.

        Raises:
            EnclaveDied: it cannot be started.
            ConfigurationError: the log cannot be written.
        """
        self._lock, self._tee, self._log = threading.Lock(), tee, log
        self._journal = journal
        self._untold: Operation | None = None
        """What the enclave has done, and its hardware has kept it from telling."""
        with contextlib.ExitStack() as passed_on:
            errors = None if log is None else passed_on.enter_context(_appending(log))
            try:
                self._socket, theirs = socket.socketpair()
                passed_on.enter_context(theirs)
                self._process = self._start(theirs.fileno(), code, errors)
            except OSError as error:
                raise EnclaveDied(
                    f"the enclave process cannot be started: {error.strerror}",
                    hint="has this user too many files open, or processes running?",
                ) from error

    def _start(
        self, socket_number: int, code: Path | None, errors: IO[bytes] | None
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                _command("--fd", str(socket_number), "--tee", self._tee),
                pass_fds=[socket_number],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=_environment(code),
                # Not this folder: a file of the caller's must not be imported by accident.
                cwd="/",
            )
        except BaseException:
            self._socket.close()
            raise

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

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
            ConfigurationError: it ended because `tee` gives no evidence on this machine.
            StateUnwritten: the disk does not take its state; it is not asked, or nobody has
                learned of its answer.
            MalformedMessage: its answer does not decode.
        """
        if self._untold is not None and operation not in _LEAVE_NOTHING:
            if operation is not self._untold:
                raise RequestRefused(Refusal.WRONG_STATE, hint=f"ask for {self._untold} again")
            # It is done already: asked again, it is told.
            operation, body, descriptors = Operation.TELL, Empty(), ()
        data = Request(operation=operation, body=body.to_bytes()).to_bytes()
        with self._lock:
            if self._journal is not None and operation not in _LEAVE_NOTHING:
                self._journal.check()
            try:
                self._send(LENGTH.pack(len(data)), descriptors)
                self._socket.sendall(data)
                (size,) = LENGTH.unpack(self._receive(LENGTH.size))
                reply = Reply.from_bytes(self._receive(size))
            except (OSError, EOFError) as error:
                raise self._died() from error
            if self._journal is not None and reply.transition:
                self._journal.write(reply.transition)
        if reply.held:
            self._untold = operation
            return self.request(operation, body, reply_type)
        if reply.refusal:
            raise RequestRefused(
                Refusal(reply.refusal), hint=_HINTS.get(Refusal(reply.refusal), "")
            )
        if operation is Operation.TELL:
            self._untold = None
        return reply_type.from_bytes(reply.body)

    @property
    def untold(self) -> Operation | None:
        """What the enclave has done and not told yet: its hardware had not settled it."""
        return self._untold

    def hurry(self, seconds: float) -> None:
        """From now on, take an enclave that has not answered in `seconds` for one that has ended.

        Raises:
            OSError: it is closed.
        """
        self._socket.settimeout(seconds)

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

    def _died(self) -> FedEnclaveError:
        try:
            status = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        if status == _NO_EVIDENCE:
            return _no_evidence(self._tee, b"" if self._log is None else self._log.read_bytes())
        return EnclaveDied(
            f"the enclave process ended (exit status {status}) before it answered",
            hint="start the aggregator again: where the machine seals its state, the round goes "
            "on; its log says the reason",
        )

    def close(self) -> None:
        """Close the socket, which ends the process, and make sure that it has ended."""
        self._socket.close()
        try:
            self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_LEAVE_NOTHING = (Operation.EVIDENCE, Operation.STATUS)

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
    Refusal.KEYS: "an answer of a key service is another's, was changed on its way, or is to an "
    "earlier question; the enclave's log says which",
    Refusal.STATE: "its sealed state is under a manifest that took this one's place (name that, "
    "manifests/ in the folder has it), or it is damaged, another federation's, or was sealed on "
    "another machine or by other code. Go back to those; in an empty folder it begins "
    "anew, and to the clients that is another enclave",
    Refusal.ROLLED_BACK: "the machine's hardware says that another state is the newest: "
    "put the newest back",
    Refusal.ATTESTATION: "the hardware gives no evidence just now; the enclave's log says why",
    Refusal.INTERNAL: "a defect; the enclave's log says where, without data",
}


# -P and -s keep the working folder and the user's packages off the import path. No cache file runs
# in place of a measured source file: the enclave allows caches again only for its libraries.
_FLAGS = ("-P", "-s", "-X", f"pycache_prefix={os.devnull}")


_ENCLAVE = "fedenclave.enclave"
_NO_EVIDENCE = 3
"""The process's exit status where `tee` gives no evidence; it has then said why on stderr."""


def _appending(log: Path) -> IO[bytes]:
    try:
        return log.open("ab")
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {log}: {error.strerror}",
            hint="name a folder that this user can write to",
        ) from error


def _command(*arguments: str, module: str = _ENCLAVE) -> list[str]:
    return [sys.executable, *_FLAGS, "-m", module, *arguments]


def _environment(code: Path | None) -> dict[str, str]:
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    # An editable or PYTHONPATH install is found where this very package was found.
    package_root = code if code is not None else Path(__file__).parents[2]
    # Absolute: the enclave runs in another working folder, and would find the installed package.
    environment["PYTHONPATH"] = str(package_root.resolve())
    return environment


def measure_enclave(code: Path | None = None) -> str:
    """Return the JSON report of what the enclave's code measures, from a fresh interpreter.

    Args:
        code: as for `EnclaveProcess`.

    Raises:
        EnclaveDied: the interpreter could not say.
    """
    done = _run(code, "--measure")
    if done.returncode != 0:
        raise EnclaveDied(
            f"the enclave's code cannot be measured: {done.stderr.decode(errors='replace')[-300:]}",
            hint="is the package installed completely, with numpy, cryptography and cbor2?",
        )
    return done.stdout.decode()


def collect_evidence(tee: str, challenge: bytes, code: Path | None = None) -> bytes:
    """Return encoded evidence that binds `collected_report_data(challenge)`, without a federation.

    Its signing key was made for it and is forgotten, and nothing binds that key.

    Args:
        tee: as for `EnclaveProcess`.
        challenge: 1 to 64 bytes.
        code: as for `EnclaveProcess`.

    Raises:
        ConfigurationError: `tee` gives no evidence on this machine, or the challenge has another
            length.
        EnclaveDied: the process ended for another reason.
    """
    if not 0 < len(challenge) <= REPORT_DATA_SIZE:
        raise ConfigurationError(
            f"challenge has {len(challenge)} bytes, want 1 to {REPORT_DATA_SIZE}",
            hint="for example 32 random bytes: openssl rand -hex 32",
        )
    done = _run(code, "--collect", tee, challenge.hex())
    if done.returncode == _NO_EVIDENCE:
        raise _no_evidence(tee, done.stderr)
    if done.returncode != 0:
        raise EnclaveDied(
            f"the enclave collects no evidence: {done.stderr.decode(errors='replace')[-300:]}",
            hint="is the package installed completely, with numpy, cryptography and cbor2?",
        )
    # What it says beside is how insecure the evidence is.
    sys.stderr.write(done.stderr.decode(errors="replace"))
    return done.stdout


def enrol_tpm(device: str, *arguments: str) -> bytes:
    """Return the JSON of `python -m fedenclave.enclave.tpm`, run on this machine.

    Args:
        device: the TPM's path.
        arguments: none for its keys, `--answer FILE`, or `--establish-counter`.

    Raises:
        ConfigurationError: there is no TPM at `device`, or it refuses.
    """
    # Absolute, since the process has another working folder.
    done = _run(None, os.path.abspath(device), *arguments, module="fedenclave.enclave.tpm")  # noqa: PTH100
    if done.returncode != 0:
        reason, hint = last_error(done.stderr)
        raise ConfigurationError(f"the tpm at {device!a} cannot be used: {reason}", hint=hint)
    return done.stdout


def _run(
    code: Path | None, *arguments: str, module: str = _ENCLAVE
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        _command(*arguments, module=module),
        env=_environment(code),
        cwd="/",
        capture_output=True,
        check=False,
    )


def _no_evidence(tee: str, said: bytes) -> ConfigurationError:
    reason, hint = last_error(said)
    return ConfigurationError(f"no evidence by tee = {tee!a}: {reason}", hint=hint)


def last_error(said: bytes) -> tuple[str, str]:
    """Return what a process wrote last to stderr as `error:` and `hint:`, or else the end of it."""
    found = dict.fromkeys(("error", "hint"), "")
    for line in said.decode(errors="replace").splitlines():
        name, _, text = line.partition(": ")
        if name in found:
            found[name] = text
    end = said.decode(errors="replace")[-300:].strip()
    return found["error"] or end or "it has said why on stderr", found["hint"]
