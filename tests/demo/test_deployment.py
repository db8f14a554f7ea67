"""A real SuperLink and two real SuperNodes, with an app that does next to nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("flwr")

from fedenclave.demo import family
from fedenclave.demo.deployment import FlowerDeployment, Node
from fedenclave.demo.environment import MARKER
from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.owner import Owner
from fedenclave.demo.processes import ProcessGroup

PYPROJECT = """
[project]
name = "smoke"
version = "1.0.0"
description = "asks every node for its settings"
license = "Apache-2.0"
dependencies = []
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[tool.flwr.app]
publisher = "fedenclave"
fab-include = ["smoke/*.py"]
[tool.flwr.app.components]
serverapp = "smoke.server_app:app"
clientapp = "smoke.client_app:app"
[tool.flwr.app.config]
fail = false
results = ""
"""

CLIENT_APP = """
import os
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.query()
def query(message: Message, context: Context) -> Message:
    seen = {
        "key": context.node_config["key"],
        "own": os.environ.get("SMOKE_NODE", ""),
        "server": os.environ.get("SMOKE_SERVER", ""),
    }
    return Message(RecordDict({"seen": ConfigRecord(seen)}), reply_to=message)
"""

SERVER_APP = """
import json, os, time
from pathlib import Path
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.serverapp import Grid, ServerApp

app = ServerApp()

@app.main()
def main(grid: Grid, context: Context) -> None:
    if context.run_config["fail"]:
        raise RuntimeError("the server app gave up")
    while len(nodes := list(grid.get_node_ids())) < 2:
        time.sleep(0.1)
    print("[ROUND 1/1]")
    replies = grid.send_and_receive(
        [Message(RecordDict({"ask": ConfigRecord({})}), dst_node_id=node, message_type="query")
         for node in nodes]
    )
    seen = sorted((dict(reply.content["seen"]) for reply in replies), key=lambda one: one["own"])
    server = os.environ.get("SMOKE_SERVER", "")
    Path(context.run_config["results"]).write_text(json.dumps({"nodes": seen, "server": server}))
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    (folder / "smoke").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "smoke" / "__init__.py").write_text("")
    (folder / "smoke" / "client_app.py").write_text(CLIENT_APP)
    (folder / "smoke" / "server_app.py").write_text(SERVER_APP)
    return folder


def processes_with_marker() -> set[int]:
    """Every process that any group of ours still has, whatever its marker's value."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if f"{MARKER}=".encode() in (entry / "environ").read_bytes():
                found.add(int(entry.name))
        except (OSError, ValueError):
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not family.is_supported(), reason="needs /proc")
def test_deployment_runs_an_app_reports_its_failure_and_leaves_nothing(
    tmp_path: Path, app: Path
) -> None:
    before = processes_with_marker()
    folder = tmp_path / "a folder's name"
    results = tmp_path / "results.json"
    nodes = [
        Node(name=name, config={"key": f"{folder}/{name}=1"}, environment={"SMOKE_NODE": name})
        for name in ("a", "b")
    ]
    lines: list[str] = []
    with ProcessGroup(folder) as group:
        deployment = FlowerDeployment(group, nodes, server_environment={"SMOKE_SERVER": "s"})
        deployment.start()
        completed = deployment.run(app, {"results": str(results)}, on_line=lines.append)
        outcome = json.loads((folder / "logs" / "run-1-outcome.log").read_text())
        with pytest.raises(DeploymentError, match="the server app gave up") as refusal:
            deployment.run(app, {"fail": True})

    assert outcome["runs"][0]["status"] == "finished:completed"
    assert str(completed.run_id) == outcome["runs"][0]["run-id"]
    assert any("[ROUND 1/1]" in line for line in lines)
    assert "run-2.log" in refusal.value.hint
    # Each side sees the environment it was given and not the other's.
    assert json.loads(results.read_text()) == {
        "server": "s",
        "nodes": [{"key": f"{folder}/{name}=1", "own": name, "server": ""} for name in ("a", "b")],
    }
    assert processes_with_marker() - before == set()


def test_nodes_of_the_same_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="different names"):
        FlowerDeployment(ProcessGroup(tmp_path), [Node(name="a"), Node(name="a")])


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", "-a"])
def test_node_name_that_flwr_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="node is named"):
        FlowerDeployment(ProcessGroup(tmp_path), [Node(name=name)])


def test_a_node_with_an_owner_needs_an_app_to_approve(tmp_path: Path) -> None:
    owned = Node(name="a", owner=Owner(name="a", folder=tmp_path))
    with pytest.raises(ValueError, match="no app for it to approve"):
        FlowerDeployment(ProcessGroup(tmp_path), [owned])
