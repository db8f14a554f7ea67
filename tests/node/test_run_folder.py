"""A node goes on whatever becomes of its private folder, and no name of it is used twice."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedenclave.client.events import EventFile, Part
from fedenclave.node.log_file import LogFile
from fedenclave.node.programs import Program
from fedenclave.node.run_folder import CERTIFICATE, KEY, SECRET, RunFolder
from fedenclave.node.supervisor import Supervisor
from fedenclave.protocol.errors import ConfigurationError

PATIENCE_S = 30.0
SLEEPS = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


class Node:
    """A supervisor of two programs that do nothing."""

    def __init__(self, folder: Path, launcher: list[str]) -> None:
        self.folder, self.log = folder, folder / "node.log"
        self.announced: list[Path] = []
        supernode = Program(name=Part.SUPERNODE, command=SLEEPS)
        self.programs = [supernode, Program(name=Part.LAUNCHER, command=launcher, needs=supernode)]
        self.supervisor = Supervisor(
            self.programs,
            lambda _: os.environ,
            LogFile(self.log),
            RunFolder(self.announced.append),
            EventFile(folder),
        )

    def wait_until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def started(self, part: Part) -> int:
        return self.log.read_text().count(f"{part}: started")


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    made = Node(tmp_path, SLEEPS)
    thread = threading.Thread(target=made.supervisor.run)
    thread.start()
    try:
        made.wait_until(lambda: made.started(Part.LAUNCHER))
        yield made
    finally:
        made.supervisor.end()
        thread.join()
        assert list((tmp_path / "tmp").iterdir()) == []


def test_a_folder_that_is_taken_away_is_replaced_by_another(node: Node) -> None:
    first = node.announced[0]
    shutil.rmtree(first)
    first.mkdir()  # anybody can, where the temporary folder is everybody's
    node.wait_until(lambda: node.started(Part.LAUNCHER) == 2)
    assert node.started(Part.SUPERNODE) == 2
    assert len(set(node.announced)) == 2
    assert list(first.iterdir()) == []
    first.rmdir()


def test_a_launcher_that_lacks_the_secret_gets_another_with_another_supernode(node: Node) -> None:
    (node.announced[0] / SECRET).unlink()
    process = node.programs[1].process
    assert process is not None
    process.kill()
    node.wait_until(lambda: node.started(Part.LAUNCHER) == 2)
    assert node.started(Part.SUPERNODE) == 2
    assert len(node.announced) == 2


def test_the_launcher_ends_with_its_supernode_and_starts_with_the_next_under_another_key(
    node: Node,
) -> None:
    supernode, launcher = (each.process for each in node.programs)
    assert supernode is not None
    assert launcher is not None
    before = (node.announced[0] / KEY).read_bytes()
    supernode.kill()
    node.wait_until(lambda: launcher.poll() is not None)
    node.wait_until(lambda: node.started(Part.LAUNCHER) == 2)
    log = node.log.read_text()
    assert log.index("launcher: ended with the supernode") < log.rindex("supernode: started")
    assert (node.announced[1] / KEY).read_bytes() != before


def test_what_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    node = Node(tmp_path, [str(tmp_path / "absent")])
    thread = threading.Thread(target=node.supervisor.run)
    thread.start()
    try:
        node.wait_until(lambda: node.log.read_text().count("launcher: cannot be started") >= 2)
        assert thread.is_alive()
        assert node.started(Part.SUPERNODE) == 1
    finally:
        node.supervisor.end()
        thread.join()


def test_its_files_are_its_owners_alone(tmp_path: Path) -> None:
    folder = RunFolder(lambda _: None)
    folder.renew()
    assert folder.path.stat().st_mode & 0o077 == 0
    for name in (SECRET, KEY, CERTIFICATE):
        assert (folder.path / name).stat().st_mode & 0o077 == 0
    made = folder.path
    folder.remove()
    assert not made.exists()
    assert not folder.is_there()


def test_a_folder_that_cannot_be_made_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match="cannot make a folder"):
        RunFolder(lambda _: None).renew()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def full(path: Path) -> None:
        raise ConfigurationError("cannot write run.lock: No space left on device")

    folder = RunFolder(full)
    with pytest.raises(ConfigurationError, match="No space left"):
        folder.renew()
    assert list(tmp_path.iterdir()) == []
    assert not folder.is_whole()
