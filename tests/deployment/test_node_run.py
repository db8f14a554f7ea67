"""Rounds of a federation whose members run `fedenclave node run`: nothing is lost by it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

from fedenclave.client.events import Kind
from fedenclave.client.folder import ClientFolder
from fedenclave.client.identity import Identity
from fedenclave.demo import family
from fedenclave.demo.certificates import NodeKey, ServerCertificate
from fedenclave.demo.deployment import FlowerDeployment
from fedenclave.node.approvals import AppApprovals
from fedenclave.node.bundle import read_app
from fedenclave.node.check import check
from fedenclave.node.configuration import write_configuration
from fedenclave.node.inspection import inspect
from fedenclave.node.status import StatusReader
from tests.deployment import federation
from tests.deployment.federation import STEPS, Deployment, Programs, wait_until
from tests.keys.softhsm import PIN, soft_token

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not family.is_supported(), reason="needs /proc"),
]


class OwnersNodes(FlowerDeployment):
    """A deployment whose SuperNodes are started by their owners' `fedenclave node run`."""

    def _start_supernodes(self, server: ServerCertificate, keys: Sequence[NodeKey]) -> None:
        folders = []
        for node, key, port in zip(self._nodes, keys, self._node_ports, strict=True):
            folder = Path(str(node.config["fedenclave-dir"]))
            path = write_configuration(folder, address=self.address, port=port)
            text = path.read_text()
            text = text.replace('"superlink-ca.pem"', json.dumps(str(server.ca_certificate)))
            text = text.replace('"node.key"', json.dumps(str(key.private_key)))
            text = text.replace("app-output = false", "app-output = true")
            for name in ("hold", "step"):
                text += f"{name} = {json.dumps(node.config[name])}\n"
            path.write_text(text)
            app = read_app(folder.parent / "app")
            assert not inspect(app, None).objections
            AppApprovals(folder).approve(app, by=node.name, now=1)
            assert not [row for row in check(folder) if row.stops]
            command = [sys.executable, "-m", "fedenclave.cli", "node", "run", "--dir", str(folder)]
            # Where a token's folder is, if a node has one.
            tokens = {name: os.environ[name] for name in ("SOFTHSM2_CONF",) if name in os.environ}
            self.supernodes[node.name] = self._group.start(
                f"supernode-{node.name}", command, environment=tokens
            )
            folders.append(folder)
        for folder in folders:
            log = folder / "logs" / "node.log"
            wait_until(
                lambda log=log: log.exists() and "SuperNode ID" in log.read_text(), "it connects"
            )


def test_owners_nodes_seal_train_and_get_their_receipts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(federation, "FlowerDeployment", OwnersNodes)
    with Programs(tmp_path / "flower", None) as programs:
        deployment = Deployment(tmp_path, programs)
        deployment.finish(deployment.start_run(2))
        assert deployment.status() == "finished:completed"
        assert deployment.model() == 6.0
        for name in STEPS:
            assert set(deployment.receipts(name)) == {1, 2}
            log = (tmp_path / name / "logs" / "node.log").read_text()
            assert "round 1: included; receipt kept" in log
            # What the app itself prints stays out of it.
            assert "training" not in log
            status = StatusReader(tmp_path / name).read()
            assert status.run is not None
            assert status.connected
            assert status.last_round[0] == 2
            assert status.outcomes["released"] == 2
            assert status.events.count(Kind.APPRAISED, "warning") == 2
            assert status.events.count(Kind.RECEIPT, "included") == 2
            assert status.insecure
            assert not any(status.refusals.values())
            assert [each.what for each in status.attention()] == ["root certificate"]
        _killed_and_started_again(deployment, programs, tmp_path / "alpha")


def _killed_and_started_again(deployment: Deployment, programs: Programs, node: Path) -> None:
    """A node whose supervisor is killed leaves no process, and starts again: with its rounds."""
    deployment.hold.touch()
    deployment.start_run(1)
    app_log = node / "logs" / "app.log"
    wait_until(lambda: app_log.read_text().count("training") == 3, "it trains a third time")
    started = descendants(programs.newest("supernode-alpha").process.pid)
    names = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in started]
    for name in (b"node.supernode", b"node.launcher", b"node.app_process"):
        assert any(name in each for each in names), names
    programs.kill("supernode-alpha")
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in started), "all of it ends")
    status = StatusReader(node).read()
    assert status.run is None
    assert not status.connected
    deployment.hold.unlink()
    programs.again("supernode-alpha").may_end = False
    wait_until(lambda: StatusReader(node).read().connected, "it connects again", 150)


def descendants(pid: int) -> set[int]:
    """Return all processes that came of one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            stat = (entry / "stat").read_text()
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new} - found
        found |= new
    return found


class WithToken(Deployment):
    """A deployment in which one node's signing key is in a token."""

    def _client(self, name: str) -> ClientFolder:
        if name != "alpha":
            return super()._client(name)
        uri = soft_token("node").uri("alpha")
        identity = Identity(client=f"{name}-1", member=name, signing_key=uri)
        return ClientFolder.create(self.folder / name, identity)


def test_a_node_whose_signing_key_is_in_a_token_is_run_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(federation, "FlowerDeployment", OwnersNodes)
    soft_token("node")  # before the programs start, which are told where its folder is
    with Programs(tmp_path / "flower", None) as programs:
        deployment = WithToken(tmp_path, programs)
        deployment.finish(deployment.start_run(2))
        assert deployment.status() == "finished:completed"
        assert deployment.model() == 6.0
        for name in STEPS:
            assert set(deployment.receipts(name)) == {1, 2}
        assert not (tmp_path / "alpha" / "client.key").exists()
        assert PIN not in (tmp_path / "alpha" / "logs" / "node.log").read_text()
