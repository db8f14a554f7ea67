"""A node behind a proxy, with real programs: its SuperNode goes through it, nothing else does."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

from fedenclave.demo import family
from fedenclave.demo.processes import Child
from fedenclave.node.status import StatusReader
from tests.cli.conftest import Command
from tests.cli.test_hostile_superlink import NO_OFFER, Operator, wait_until
from tests.cli.test_hostile_superlink import operator as operator  # the fixture
from tests.node import apps
from tests.node.connect_proxy import ConnectProxy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:GitWildMatchPattern"),
    pytest.mark.skipif(not family.is_supported(), reason="needs /proc"),
]


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    made = ConnectProxy(password="hunter2")
    yield made
    made.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Return what a service manager listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(30)
        yield listening


def run(operator: Operator, name: str, environment: Mapping[str, str]) -> Child:
    command = [sys.executable, "-m", "fedenclave.cli", "node", "run", "--dir", str(operator.node)]
    return operator.group.start(name, command, environment=environment)


def test_a_node_reaches_its_superlink_through_the_proxy_alone(
    operator: Operator, proxy: ConnectProxy, manager: socket.socket, fedenclave: Command
) -> None:
    node = operator.node
    honest = operator.app(apps.files())
    assert fedenclave("node", "approve", honest, "--dir", node, "--yes").status == 0
    path = node / "node.toml"
    url = f"http://user:hunter2@127.0.0.1:{proxy.port}"
    path.write_text(path.read_text().replace("[node]", f'proxy = "{url}"\n[node]'))

    # The environment names another one, behind which there is nobody.
    nobody = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    nobody["all_proxy"] = "http://127.0.0.1:9"
    process = run(operator, "node", {**nobody, "NOTIFY_SOCKET": str(manager.getsockname())})
    wait_until(lambda: StatusReader(node).read().connected, "the node connects")
    reply, traces = operator.send(honest)
    assert NO_OFFER in reply
    assert traces == ["honest"]
    # Not one connection between SuperNode, launcher and app is among them.
    assert set(proxy.seen) == {f"CONNECT {operator.superlink.address}"}
    assert "hunter2" not in process.log.read_text()
    assert "hunter2" not in (node / "logs" / "node.log").read_text()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (entry / "cmdline").exists():
            assert b"hunter2" not in (entry / "cmdline").read_bytes()

    process.may_end = True
    process.process.send_signal(signal.SIGTERM)
    wait_until(lambda: process.exit_code is not None, "the node ends")
    assert process.exit_code == 0
    told = [manager.recv(1000).decode().splitlines() for _ in range(3)]
    assert told[0][0] == "READY=1"
    assert told[1] == ["STATUS=connected"]
    assert told[2][0] == "STOPPING=1"

    # A proxy that is gone is named, and the node tries on.
    proxy.close()
    process = run(operator, "again", {})
    text = f"proxy 127.0.0.1:{proxy.port} (node.toml) does not answer"
    wait_until(lambda: text in process.log.read_text(), "the proxy is named")
    log = node / "logs" / "node.log"
    wait_until(lambda: "Connection attempt failed, retrying" in log.read_text(), "it tries")
    assert process.exit_code is None
    assert not StatusReader(node).read().connected
    process.may_end = True
    process.process.send_signal(signal.SIGTERM)
    wait_until(lambda: process.exit_code is not None, "the node ends")
