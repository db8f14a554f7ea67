"""Of what an app writes nothing goes on: what FedEnclave says comes by a way of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fedenclave.node.launcher import keep, pass_on
from fedenclave.node.log_file import LogFile

# Of an app that looks like us, and of one long line, whose second half does.
WRITTEN = b"""patient 7: ill
error: patient 8: evidence is refused
round 3: patient 9: included; receipt kept
""" + (b"x" * 2000 + b"error: patient 10\n")


def ended(*words: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", *words])
    process.wait()
    return process


def test_nothing_that_an_app_writes_gets_into_the_nodes_log(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    keep(io.BytesIO(WRITTEN), None)
    keep(io.BytesIO(WRITTEN), LogFile(tmp_path / "app.log"))
    assert capfd.readouterr() == ("", "")


def test_our_own_lines_do(capfd: pytest.CaptureFixture[str]) -> None:
    pass_on(io.BytesIO(b"error: evidence is refused\nhint: ask\x1b[2J\n"), ended("pass"))
    assert capfd.readouterr().out.splitlines() == [
        "error: evidence is refused",
        "hint: ask\\x1b[2J",
    ]


def test_a_process_that_is_killed_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    pass_on(io.BytesIO(), ended("import os; os.kill(os.getpid(), 9)"))
    assert "killed by signal 9" in capfd.readouterr().out


def test_what_cannot_be_started_is_said_there_too() -> None:
    reader, writer = os.pipe()
    words = [sys.executable, "-m", "fedenclave.node.bound", str(os.getpid())]
    words += ["--own-lines", str(writer), "--", "/no/such/program"]
    done = subprocess.run(words, pass_fds=(writer,), capture_output=True, check=False)
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert lines.read() == "error: cannot start /no/such/program: No such file or directory\n"
    assert done.returncode == 127
    assert not done.stderr


def test_all_of_them_are_kept_where_the_owner_asked_for_it(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "app.log"
    keep(io.BytesIO(WRITTEN), LogFile(path))
    assert "patient 7: ill" in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_a_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", max_bytes=1000)
    for number in range(200):
        log.write(f"line {number}")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2200
    assert "line 199" in (tmp_path / "a.log").read_text()
