"""Where an app's process may write and whom it may connect to, as the kernel holds it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.node.bound import Confinement, bound
from fedenclave.node.landlock import NETWORK_LEVEL, level

pytestmark = pytest.mark.skipif(
    level() < NETWORK_LEVEL, reason="this kernel has no Landlock that knows of TCP"
)


def run(code: str, confinement: Confinement | None, *words: object) -> str:
    """Run Python code as an app is run; return what it printed, or the exception's name."""
    wrapped = (
        "import sys\ntry:\n"
        + "".join(f"    {line}\n" for line in code.splitlines())
        + "except OSError as error:\n    print(type(error).__name__)\n"
    )
    command = [sys.executable, "-c", wrapped, *map(str, words)]
    done = subprocess.run(
        bound(command, os.getpid(), confinement),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return (done.stdout + done.stderr).strip()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("data")
    return folder


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


WRITES = """
from pathlib import Path
import os
own, other = Path(sys.argv[1]), Path(sys.argv[2])
(own / "state.new").write_text("x")
os.replace(own / "state.new", own / "state")
os.replace(own / "state", own / "sub" / "state")
(own / "sub" / "state").unlink()
open("/dev/null", "w").write("x")
print((other / "file").read_text(), "written")
"""


def test_an_app_writes_its_own_folder_and_reads_others(own: Path, tmp_path: Path) -> None:
    confinement = Confinement(write=(own,), connect=())
    assert run(WRITES, confinement, own, tmp_path / "other") == "data written"


@pytest.mark.parametrize(
    "code",
    [
        "open(sys.argv[1] + '/new', 'w')",
        "open(sys.argv[1] + '/file', 'a')",
        "import os; os.truncate(sys.argv[1] + '/file', 0)",
        "import os; os.unlink(sys.argv[1] + '/file')",
        "import os; os.mkdir(sys.argv[1] + '/new')",
        "import os; os.symlink('/', sys.argv[1] + '/new')",
        "import os; os.rename(sys.argv[1] + '/file', sys.argv[2] + '/file')",
        "import os; os.link(sys.argv[1] + '/file', sys.argv[2] + '/file')",
        # What it starts is confined with it.
        "import subprocess; print('OSError' if subprocess.run(['touch', sys.argv[1] + '/new'], "
        "stderr=-3).returncode else 'done')",
    ],
)
def test_an_app_changes_nothing_elsewhere(own: Path, tmp_path: Path, code: str) -> None:
    other = tmp_path / "other"
    confinement = Confinement(write=(own,), connect=())
    assert "Error" in run(code, confinement, other, own)
    assert [path.name for path in other.iterdir()] == ["file"]
    assert (other / "file").read_text() == "data"
    # It is the confinement that holds it: without one the same is done.
    assert "Error" not in run(code, None, other, own)


CONNECT = """
import socket
socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=5).close()
print("connected")
"""


def test_an_app_connects_to_its_ports_and_to_no_others(own: Path, listening: socket.socket) -> None:
    port = listening.getsockname()[1]
    assert run(CONNECT, Confinement(write=(own,), connect=(port,)), port) == "connected"
    assert run(CONNECT, Confinement(write=(own,), connect=(9,)), port) == "PermissionError"
    assert run(CONNECT, None, port) == "connected"
    serve = "import socket; socket.create_server(('127.0.0.1', 0))"
    assert run(serve, Confinement(write=(own,), connect=(port,))) == "PermissionError"


def test_an_app_signals_nobody_else(own: Path) -> None:
    code = "import os; os.kill(int(sys.argv[1]), 0)"
    assert run(code, Confinement(write=(own,), connect=()), os.getpid()) == "PermissionError"
    assert run(code, None, os.getpid()) == ""


def test_a_folder_that_is_not_there_starts_nothing(own: Path) -> None:
    confinement = Confinement(write=(own, own / "none"), connect=())
    printed = run("print('ran')", confinement)
    assert printed.startswith(f"error: an app may write below {own / 'none'}")
    assert "hint: " in printed
    assert "ran" not in printed
