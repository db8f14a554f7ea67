"""T12 with real programs: of the apps that a SuperLink ships to a node, the owner's runs alone.

Each app leaves a trace when its first line is executed, and the SuperLink is told how it ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

from fedenclave.demo import family
from fedenclave.demo.certificates import NodeKey, make_server_certificate
from fedenclave.demo.deployment import FlowerDeployment, Node
from fedenclave.demo.ports import pick_free_ports
from fedenclave.demo.processes import Child, ProcessGroup
from fedenclave.node.admitted import FOR_HOST
from tests.cli.conftest import Command
from tests.node import apps

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern"),
    pytest.mark.skipif(not family.is_supported(), reason="needs /proc"),
]

PATIENCE_S = 90.0
NO_OFFER = "no offer from an enclave"


def wait_until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"not: {what}"
        time.sleep(0.1)


class Operator:
    """Runs a SuperLink, and sends one node whatever it likes."""

    def __init__(self, folder: Path, group: ProcessGroup, node: Path) -> None:
        self.folder, self.group, self.node = folder, group, node
        self.trace = folder / "trace"
        self.trace.mkdir()
        self.superlink = FlowerDeployment(group, [Node(name="clinic")])
        self.server = make_server_certificate(group.folder / "keys", now=datetime.now(UTC))
        self.superlink._write_connection(self.server)
        started = self.superlink._start_superlink(self.server)
        self.superlink._wait_for(started, self.server)
        self._sent = 0

    def admit(self) -> None:
        key = self.node / "node.key"
        self.superlink._register([NodeKey(private_key=key, public_key=key.with_suffix(".key.pub"))])

    def app(self, files: Mapping[str, bytes]) -> Path:
        """Write an app whose trace, if it runs, is left in our folder."""
        self._sent += 1
        traced = {
            name: content.replace(b'if "FEDENCLAVE_TRACE" in os.environ:', b"if True:").replace(
                b'os.environ["FEDENCLAVE_TRACE"]', repr(str(self.trace)).encode()
            )
            for name, content in files.items()
        }
        return apps.folder_of(self.folder / f"app{self._sent}" / "small", traced)

    def send(self, app: Path) -> tuple[str, list[str]]:
        """Run an app; return what the node answered, and which traces were left."""
        for left in self.trace.iterdir():
            left.unlink()
        lines: list[str] = []
        self.superlink.run(app, on_line=lines.append, timeout_s=2 * PATIENCE_S)
        (reply,) = [line for line in lines if "REPLY" in line]
        return reply, sorted(each.name for each in self.trace.iterdir())


def run_node(group: ProcessGroup, node: Path) -> Child:
    command = [sys.executable, "-m", "fedenclave.cli", "node", "run", "--dir", str(node)]
    return group.start("node", command)


@pytest.fixture
def operator(federation: Path, tmp_path: Path, fedenclave: Command) -> Iterator[Operator]:
    node = federation / "alpha"
    with ProcessGroup(tmp_path / "flower") as group:
        operator = Operator(tmp_path, group, node)
        (port,) = pick_free_ports(1)
        address = operator.superlink.address
        done = fedenclave("node", "init", "--dir", node, "--superlink", address, "--port", port)
        assert done.status == 0, done.err
        # Without this line the owner's own app could not leave its trace either.
        path = node / "node.toml"
        path.write_text(path.read_text().replace("write = []", f'write = ["{operator.trace}"]'))
        (node / "superlink-ca.pem").write_bytes(operator.server.ca_certificate.read_bytes())
        operator.admit()
        yield operator


def pid_of(program: str, parent: int) -> int:
    """Return the process that `parent` has started for a program."""
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            above = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if above == parent and any(program in os.fsdecode(word) for word in words):
            return int(entry.name)
    raise AssertionError(f"{program} does not run")


def test_the_owners_app_runs_and_no_other_whatever_a_superlink_sends(
    operator: Operator, fedenclave: Command
) -> None:
    node, group = operator.node, operator.group
    old, honest = operator.app(apps.files(version="0.9.0")), operator.app(apps.files())
    for app in (old, honest):
        done = fedenclave("node", "approve", app, "--dir", node, "--by", "anna", "--yes")
        assert done.status == 0, done.err
    assert fedenclave("node", "check", "--dir", node).status == 0
    process = run_node(group, node)
    log = node / "logs" / "node.log"
    wait_until(lambda: log.exists() and "SuperNode ID" in log.read_text(), "the node connects")

    # The traces are left where an app does run.
    for app in (honest, old):
        reply, traces = operator.send(app)
        assert NO_OFFER in reply
        assert traces == ["honest"]

    hostile = {
        "without the mod": apps.files(client_app=apps.WITHOUT_MOD),
        "shadowing": apps.files(more={"fedenclave/flower/__init__.py": apps.SHADOW}),
        "another dependency": apps.files(dependencies='"numpy"'),
        "the approved version's name, and a line more": apps.files(
            client_app=apps.CLIENT_APP + "\nSENT = 1\n"
        ),
    }
    for what, files in hostile.items():
        reply, traces = operator.send(operator.app(files))
        assert FOR_HOST in reply, what
        assert not traces, what

    # A version that was approved once, sent again.
    digest = next(
        line.split()[-1]
        for line in fedenclave("node", "revoke", "clinic/small", "--dir", node).out.splitlines()
        if "0.9.0" in line
    )
    assert fedenclave("node", "approve", honest, "--dir", node, "--yes", "--again").status == 0
    reply, traces = operator.send(old)
    assert FOR_HOST in reply
    assert not traces
    assert f"error: app {digest} was revoked by this node's owner" in log.read_text()

    # The launcher dies: nothing runs until there is one again, and then the owner's app does.
    os.kill(pid_of("fedenclave.node.launcher", process.process.pid), signal.SIGKILL)
    reply, traces = operator.send(honest)
    assert NO_OFFER in reply
    assert traces == ["honest"]
    assert "launcher: ended (-9); starts again in 1 s" in log.read_text()

    process.may_end = True
    process.process.terminate()
    wait_until(lambda: process.exit_code is not None, "the node ends")
    assert process.exit_code == 0
    assert "node: ended" in log.read_text()
    assert "Traceback" not in process.log.read_text()


def test_a_node_that_lacks_anything_does_not_start(operator: Operator, fedenclave: Command) -> None:
    done = fedenclave("node", "run", "--dir", operator.node)
    assert done.status == 1
    assert "error: node does not run: apps" in done.err
    assert "hint: " in done.err
