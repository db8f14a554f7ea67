"""Programs that die are started again, more slowly each time, and end with their node."""

from __future__ import annotations

import itertools
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from fedenclave.client.events import EventFile, Kind, Part
from fedenclave.node.configuration import read_configuration, write_configuration
from fedenclave.node.log_file import LogFile
from fedenclave.node.programs import (
    LONGEST_WAIT_S,
    Program,
    environment,
    launcher_command,
    supernode_command,
)
from fedenclave.node.service_notice import tell_service_manager
from fedenclave.node.supervisor import Supervisor


class Ended:
    """A process that has."""

    stdin = None

    def poll(self) -> int:
        return 1


def test_waits_grow_and_are_short_again_after_a_good_run() -> None:
    program, now, waits = Program(name=Part.LAUNCHER, command=["x"]), 0.0, []
    for _ in range(8):
        program.process, program.started = Ended(), now  # type: ignore[assignment]
        assert program.ended(now + 1) == 1
        waits.append(program.due - now - 1)
        now = program.due
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    program.process, program.started = Ended(), now  # type: ignore[assignment]
    program.ended(now + LONGEST_WAIT_S + 1)
    assert program.due - now - LONGEST_WAIT_S - 1 == 1


def test_the_supernode_is_started_in_the_one_way_in_which_it_starts_nothing(tmp_path: Path) -> None:
    write_configuration(tmp_path, address="superlink.example:9092", port=9094)
    configuration = read_configuration(tmp_path)
    command = supernode_command(configuration, tmp_path / "secret")
    pairs = list(itertools.pairwise(command))
    assert ("--isolation", "process") in pairs
    assert ("--host", "127.0.0.1") in pairs
    assert "--auth-supernode-private-key" in command
    assert "--root-certificates" in command
    assert "--superexec-auth-secret-file" in command
    assert "--insecure" not in command
    assert "--allow-runtime-dependency-installation" not in command
    assert "-P" in launcher_command(configuration, tmp_path / "secret")


def test_trusted_entities_are_asked_too_where_they_are_named(tmp_path: Path) -> None:
    path = write_configuration(tmp_path, address="superlink.example:9092", port=9094)
    path.write_text(path.read_text().replace('entities = ""', 'entities = "trusted.yaml"'))
    command = supernode_command(read_configuration(tmp_path), tmp_path / "secret")
    assert command[-2:] == ["--trusted-entities", str(tmp_path.resolve() / "trusted.yaml")]


def test_no_setting_of_flowers_in_the_owners_shell_reaches_the_node(tmp_path: Path) -> None:
    shell = {"FLWR_HOME": "/elsewhere", "FLWR_LOG_LEVEL": "DEBUG", "https_proxy": "x", "HOME": "/h"}
    made = environment(tmp_path, shell)
    assert made["FLWR_HOME"] == str(tmp_path / "flower")
    assert made["FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION"] == "1"
    assert not {"FLWR_LOG_LEVEL", "https_proxy"} & set(made)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_what_dies_starts_again_and_everything_ends_at_the_end(tmp_path: Path) -> None:
    child = "import time; print('child', flush=True); time.sleep(600)"
    lasting = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "print('pid', child.pid, flush=True)\n"
        "time.sleep(600)"
    )
    programs = [
        Program(name=Part.SUPERNODE, command=[sys.executable, "-c", lasting]),
        Program(name=Part.LAUNCHER, command=[sys.executable, "-c", "print('once')"]),
    ]
    log = tmp_path / "node.log"
    supervisor = Supervisor(programs, dict(os.environ), LogFile(log), tmp_path, EventFile(tmp_path))
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while log.read_text().count("once") < 2 or "child" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    finally:
        supervisor.end()
        thread.join()
    (pid,) = [line.split()[-1] for line in log.read_text().splitlines() if "pid" in line]
    time.sleep(0.2)
    status = Path(f"/proc/{pid}/stat")
    assert not status.exists() or status.read_text().split()[2] == "Z"
    assert "launcher: ended (0); starts again in 1 s" in log.read_text()
    assert EventFile(tmp_path).read().count(Kind.DIED, Part.LAUNCHER) >= 1


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_manager_is_told(tmp_path: Path, abstract: bool) -> None:
    name = f"@fedenclave-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name[1:]}" if abstract else name)
        manager.settimeout(10)
        told = {"NOTIFY_SOCKET": name}
        tell_service_manager(state="READY=1", status="not connected yet", environment=told)
        assert manager.recv(1000) == b"READY=1\nSTATUS=not connected yet"
        tell_service_manager(status="connected", environment=told)
        assert manager.recv(1000) == b"STATUS=connected"


def test_where_there_is_no_service_manager_nothing_happens(tmp_path: Path) -> None:
    for name in ("", "relative", str(tmp_path / "gone"), "@nobody-listens-here"):
        tell_service_manager(state="READY=1", environment={"NOTIFY_SOCKET": name})
    assert "NOTIFY_SOCKET" not in environment(tmp_path, {"NOTIFY_SOCKET": "/run/x"})
