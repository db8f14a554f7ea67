"""One app, both of Flower's engines: the quickstart in a simulation and as a deployment. Slow."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedenclave.demo.deployment import FlowerDeployment, Node
from fedenclave.demo.environment import child_environment
from fedenclave.demo.ports import pick_free_ports
from fedenclave.demo.processes import ProcessGroup

pytest.importorskip("torch", reason="torch is not installed: pip install 'fedenclave[demo]'")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

APP = Path(__file__).parents[2] / "clients" / "simulation"
ACCURACY = re.compile(r"MetricRecord: \{'accuracy': ([0-9.]+)\}")


def check(log: str, *, rounds: int, clients: int) -> None:
    """Look for what a confidential run says, and for a model that got better."""
    assert "insecure: development mode" in log
    assert f"handing {clients} clients their receipts" in log
    accuracies = [float(found) for found in ACCURACY.findall(log)]
    assert len(accuracies) == rounds
    assert accuracies[-1] > 0.5
    assert "no release" not in log


def test_quickstart_in_the_deployment_engine(tmp_path: Path) -> None:
    lines: list[str] = []
    nodes = [
        Node(name=f"node-{i}", config={"partition-id": i, "fedenclave-insecure": True})
        for i in range(2)
    ]
    with ProcessGroup(tmp_path / "flower") as group:
        deployment = FlowerDeployment(group, nodes)
        deployment.start()
        deployment.run(APP, {"num-server-rounds": 2}, on_line=lines.append)
    check("\n".join(lines), rounds=2, clients=2)


def test_quickstart_in_the_simulation_engine(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install 'fedenclave[simulation]'")
    home = tmp_path / "flwr"
    home.mkdir()
    (home / "config.toml").write_text(
        '[superlink]\ndefault = "local"\n[superlink.local]\naddress = ":local-in-memory:"\n'
    )
    first, second = pick_free_ports(2)
    environment = {
        **child_environment(flower_home=home, marker="engines"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(first),
        "FLWR_LOCAL_CONTROL_API_PORT": str(second),
    }
    flwr = str(Path(sys.executable).parent / "flwr")
    command = [flwr, "run", str(APP), "local", "--stream", "--federation-config"]
    command += ["num-supernodes=3 client-resources-num-cpus=1"]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        outcome = subprocess.run(
            [flwr, "list", "local", "--format", "json"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(outcome.stdout)["runs"][0]["status"] == "finished:completed", done.stdout
        check(done.stdout, rounds=3, clients=3)
    finally:
        end_detached_superlink(home)


def end_detached_superlink(home: Path) -> None:
    """End what `flwr run local` leaves behind."""
    wanted = f"FLWR_HOME={home}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            ours = wanted in path.read_bytes().split(b"\0")
            pid = int(path.parent.name)
            if ours and pid != os.getpid():
                os.kill(pid, signal.SIGTERM)
        except OSError:
            continue
    time.sleep(1)
