"""Asks a SuperNode for tasks, and starts `app_process` for each: the node's own SuperExec.

A SuperNode that is started with `--isolation process` starts no program itself, and waits for
somebody who asks for its tasks. That is this process alone: it knows a secret that was made for it.
Every kind of task is taken, so that one that may not run is answered and not waited for.

Rules:
  * Nothing is taken from, and nothing asked of, another than the SuperNode whose certificate it was
    given (runtime_api.py); each app's process gets that certificate with its token.
  * No program is started but `app_process` (by way of bound.py), whatever a task says.
  * It ends with its supervisor, and everything that it and its apps have started ends with it: the
    pipe to it is closed by whatever ends the supervisor. Each app ends with the launcher besides.
  * What an app writes may hold data. It goes to a file where the owner asked for that, and nowhere
    else. FedEnclave's own lines come by a pipe that no app's code has (own_lines.py, app_alone.py).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from fedenclave.node.bound import Confinement, add_options, bound, confinement_of
from fedenclave.node.landlock import NETWORK_LEVEL, level
from fedenclave.node.log_file import LogFile
from fedenclave.node.runtime_api import runtime_client
from fedenclave.protocol.errors import printable

_METHODS = frozenset({"/flwr.proto.Runtime/AcquireTask"})
_POLL_S = 0.5
_LONGEST = 2000


class Launcher:
    """Starts a process for each task, and knows those that run."""

    def __init__(
        self,
        address: str,
        client_folder: Path,
        app_output: LogFile | None,
        confinement: Confinement | None = None,
        *,
        certificate: bytes,
    ) -> None:
        """Serve the SuperNode whose Runtime API has this address.

        Args:
            address: host:port, on this machine.
            client_folder: the node's.
            app_output: takes all that apps write; None for nobody.
            confinement: of the apps' processes, besides the folder and the port that they need;
                None for none.
            certificate: the SuperNode's, in PEM.
        """
        self._certificate = certificate
        if confinement is not None:
            if (known := level()) < NETWORK_LEVEL:
                print(f"warning: Landlock's level here is {known}: apps are confined less, or not")
            port = int(address.rpartition(":")[2])
            folders = (client_folder, Path(tempfile.gettempdir()))
            confinement = confinement.wider(Confinement(write=folders, connect=(port,)))
        self._confinement = confinement
        self._words = ["--runtime-api-address", address, "--client-folder", str(client_folder)]
        self._app_output = app_output
        self._running: list[subprocess.Popen[bytes]] = []

    def launch(self, token: str, task_type: str) -> None:
        """Start a process for one task."""
        command = [sys.executable, "-P", "-m", "fedenclave.node.app_process", *self._words]
        command += ["--task-type", task_type, "--parent-pid", str(os.getpid())]
        own_lines, theirs = os.pipe()
        command += ["--own-lines", str(theirs)]
        try:
            process = subprocess.Popen(
                bound(command, os.getpid(), self._confinement, own_lines=theirs),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs,),
            )
        except BaseException:
            os.close(own_lines)
            raise
        finally:
            os.close(theirs)
        self._running = [each for each in self._running if each.poll() is None] + [process]
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        _in_background(pass_on, os.fdopen(own_lines, "rb"), process)
        _in_background(keep, process.stdout, self._app_output)
        with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
            stdin.write(token.encode() + b"\n" + self._certificate)

    def end(self) -> None:
        """End every process that still runs."""
        for process in self._running:
            process.terminate()


def _in_background(follow: Callable[..., None], *arguments: object) -> None:
    threading.Thread(target=follow, args=arguments, daemon=True).start()


def pass_on(own_lines: IO[bytes], process: subprocess.Popen[bytes]) -> None:
    """Print what FedEnclave itself says in a process, and that it was killed, if it was."""
    for line in _lines(own_lines):
        print(line, flush=True)
    if (code := process.wait()) < 0 and -code != signal.SIGTERM:
        print(f"error: the process for a message was killed by signal {-code}", flush=True)


def keep(output: IO[bytes], app_output: LogFile | None) -> None:
    """Keep what an app writes where its owner asked for that, and read it in any case."""
    for line in _lines(output):
        if app_output is not None:
            app_output.write(line)


def _lines(output: IO[bytes]) -> Iterable[str]:
    # A line without an end must not fill the memory.
    with output:
        while raw := output.readline(_LONGEST):
            yield printable(raw.decode(errors="replace").rstrip("\n"))


def main() -> int:
    """Ask for tasks until the SuperNode's supervisor, or this process, is ended."""
    parser = argparse.ArgumentParser(description="starts approved apps for a SuperNode")
    parser.add_argument("--runtime-api-address", required=True)
    parser.add_argument("--client-folder", type=Path, required=True)
    parser.add_argument("--secret-file", type=Path, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--ends-with-stdin", action="store_true")
    parser.add_argument("--app-output", type=Path)
    add_options(parser)
    words = parser.parse_args()
    if words.ends_with_stdin:
        threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    kept = LogFile(words.app_output) if words.app_output else None
    secret, certificate = words.secret_file.read_bytes(), words.certificate.read_bytes()
    address = words.runtime_api_address
    launcher = Launcher(
        address, words.client_folder, kept, confinement_of(words), certificate=certificate
    )
    signal.signal(signal.SIGTERM, _leave)
    try:
        _serve(launcher, address, secret, certificate)
    except KeyboardInterrupt:
        return 0
    except ConnectionError as refused:
        print(f"error: {refused}", flush=True)
        return 1
    finally:
        launcher.end()


def _end_with(pipe: int) -> None:
    """End this process and all of its group when the pipe is closed: the supervisor is gone."""
    while os.read(pipe, 1):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _serve(launcher: Launcher, address: str, secret: bytes, certificate: bytes) -> NoReturn:
    import httpx
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.supercore.constant import TaskType
    from flwr.supercore.interceptors import (
        RuntimeVersionHttpInterceptor,
        SuperExecAuthHttpInterceptor,
    )
    from flwr.supercore.protobuf.client import ProtobufClientInterceptor

    interceptors: list[ProtobufClientInterceptor] = [
        RuntimeVersionHttpInterceptor(component_name="SuperExec"),
        SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=_METHODS),
    ]
    client = runtime_client(address, certificate, interceptors)
    asked = AcquireTaskRequest(supported_task_types=list(TaskType))
    while True:
        try:
            taken = client.AcquireTask(asked)
        except httpx.HTTPError as error:
            raise ConnectionError(
                f"no task: whoever has {address} is not this node's SuperNode, or refuses this "
                f"launcher: {type(error).__name__}"
            ) from error
        if taken.HasField("task") and taken.token:
            launcher.launch(taken.token, taken.task.type)
        else:
            time.sleep(_POLL_S)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main())
