"""Whatever ends a supervisor or a launcher, nothing of theirs goes on without them."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fedenclave.node.run_folder import clear_left_behind
from fedenclave.node.run_lock import current_run, running_on
from fedenclave.protocol.errors import ConfigurationError

linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
PATIENCE_S = 30.0

LAUNCHER = """
import os, subprocess, threading, time
from pathlib import Path
from fedenclave.node.launcher import Launcher, _end_with
from fedenclave.node.runtime_api import make_identity
threading.Thread(target=_end_with, args=(0,), daemon=True).start()
launcher = Launcher(
    "127.0.0.1:9", Path(os.environ["MARK"]), None, certificate=make_identity()[0]
)
launcher.launch("token", "flwr-clientapp")
subprocess.Popen(["sleep", "600"])
time.sleep(600)
"""

SUPERVISOR = """
import os, sys
from pathlib import Path
from fedenclave.client.events import EventFile, Part
from fedenclave.node.bound import bound
from fedenclave.node.log_file import LogFile
from fedenclave.node.programs import Program
from fedenclave.node.run_folder import RunFolder
from fedenclave.node.supervisor import Supervisor
folder = Path(sys.argv[1])
supernode = Program(name=Part.SUPERNODE, command=bound([sys.argv[2], "599"], os.getpid()))
launcher = [sys.executable, "-c", sys.argv[3]]
programs = [supernode, Program(name=Part.LAUNCHER, command=launcher, needs=supernode)]
log, made = LogFile(folder / "log"), RunFolder(lambda _: None)
Supervisor(programs, lambda _: os.environ, log, made, EventFile(folder)).run()
"""


def marked(mark: str) -> dict[int, str]:
    """Return the processes that have our mark in their surroundings, and their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes()
            # A process that keeps its memory to itself shows its command line alone.
            private = mark.encode() in words
            environment = [] if private else (entry / "environ").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            continue
        if (private or f"MARK={mark}".encode() in environment) and state != "Z":
            found[int(entry.name)] = words.decode(errors="replace").replace("\0", " ")
    return found


def wait_until(true: Callable[[], object], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


def pid_of(words: str, mark: str) -> int:
    return next((pid for pid, line in marked(mark).items() if words in line), 0)


@linux
def test_a_killed_supervisor_leaves_no_process_and_a_killed_launcher_no_app(tmp_path: Path) -> None:
    mark = secrets.token_hex(8)
    sleep = subprocess.run(["which", "sleep"], capture_output=True, text=True, check=True)
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path), sleep.stdout.strip(), LAUNCHER]
    supervisor = subprocess.Popen(command, env={**os.environ, "MARK": mark})
    try:
        everything = ("sleep 599", "app_process", "sleep 600")
        for words in everything:
            wait_until(lambda words=words: pid_of(words, mark), lambda: marked(mark))
        # Its parent's end is asked for once it has begun to run.
        time.sleep(1.0)
        app = pid_of("app_process", mark)
        parent = int(Path(f"/proc/{app}/stat").read_text().rpartition(")")[2].split()[1])
        started = set(marked(mark)) - {supervisor.pid, pid_of("sleep 599", mark)}
        os.kill(parent, signal.SIGKILL)
        wait_until(lambda: not started & set(marked(mark)), lambda: marked(mark))
        # The supervisor has started the launcher again, and that one an app.
        wait_until(lambda: pid_of("app_process", mark), lambda: marked(mark))
        time.sleep(1.0)
        supervisor.kill()
        supervisor.wait()
        wait_until(lambda: not marked(mark), lambda: marked(mark))
    finally:
        supervisor.kill()
        supervisor.wait()
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)


def test_one_folder_is_one_nodes(tmp_path: Path) -> None:
    assert current_run(tmp_path) is None
    with running_on(tmp_path) as lock:
        assert lock.before is None
        run = current_run(tmp_path)
        assert run is not None
        assert run.pid == os.getpid()
        with (
            pytest.raises(ConfigurationError, match=f"already, process {os.getpid()}"),
            running_on(tmp_path),
        ):
            pass
        assert current_run(tmp_path) == run
    assert current_run(tmp_path) is None


@linux
def test_a_killed_run_is_none_and_the_next_one_clears_what_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "fedenclave-node-x"
    (left / "flower").mkdir(parents=True)
    code = (
        "import sys, time; from pathlib import Path\n"
        "from fedenclave.node.run_lock import running_on\n"
        "with running_on(Path(sys.argv[1])) as lock:\n"
        "    lock.say(Path(sys.argv[2]))\n"
        "    print('held', flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(left)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert current_run(tmp_path) is not None
        process.kill()
    assert current_run(tmp_path) is None
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    with running_on(tmp_path) as lock:
        assert lock.before is not None
        clear_left_behind(Path(lock.before.folder))
    assert not left.exists()


@pytest.mark.parametrize("name", ["elsewhere/fedenclave-node-x", "other", "fedenclave-node-link"])
def test_nothing_but_a_nodes_own_private_folder_is_ever_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    folder = tmp_path / name
    if name.endswith("link"):
        (tmp_path / "precious").mkdir()
        folder.symlink_to(tmp_path / "precious")
    else:
        folder.mkdir(parents=True)
    with running_on(tmp_path) as lock:
        lock.say(folder)
    run = f'{{"pid": 1, "since": 1, "folder": "{folder}"}}'
    (tmp_path / "run.lock").write_text(run)
    with running_on(tmp_path) as lock:
        assert lock.before is not None
        clear_left_behind(Path(lock.before.folder))
    assert folder.exists()


@linux
def test_an_app_gains_no_rights_and_leaves_no_core() -> None:
    code = (
        "from fedenclave.node.process_limits import gain_nothing\n"
        "assert gain_nothing()\n"
        "print(open('/proc/self/status').read()); print(open('/proc/self/limits').read())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "NoNewPrivs:\t1" in done.stdout
    assert "Umask:\t0077" in done.stdout
    (core,) = [line for line in done.stdout.splitlines() if "core file" in line]
    assert core.split()[4:6] == ["0", "0"]
