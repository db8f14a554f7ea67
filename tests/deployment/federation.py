"""A whole deployment on loopback, of real programs, each of which can be killed and started again.

SuperLink, SuperNodes and their apps, gateway and enclave are started as the demonstration starts
them: with TLS and registered node keys.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fedenclave.attestation.endorsements import NO_ENDORSEMENTS
from fedenclave.audit.folder import judge_files
from fedenclave.audit.log import VerifiedLog, verify_log
from fedenclave.audit.receipt import VerifiedReceipt
from fedenclave.client.files import write_whole
from fedenclave.client.folder import ClientFolder
from fedenclave.client.identity import Identity
from fedenclave.demo.deployment import CONNECTED, CONNECTION, FlowerDeployment, Node, _answers
from fedenclave.demo.operator import start_aggregator
from fedenclave.demo.processes import Child, ProcessGroup
from fedenclave.host.enclave_process import measure_enclave
from fedenclave.host.remote import RemoteAggregator
from fedenclave.membership.enrolment import Enrolment, roster_of
from fedenclave.node.settings import write_settings
from fedenclave.protocol.digests import from_text
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import PublicKey
from fedenclave.protocol.statements import Suite
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.deployment.small_app import FIRST, write_app

STEPS = {"alpha": 1.0, "beta": 2.0, "gamma": 6.0}
"""What each node adds to every number. All weigh the same: a round adds 3."""

SERVER_APP, CLIENT_APP = "flwr-serverapp", "flwr-clientapp"
PATIENCE_S = 90.0


class Programs(ProcessGroup):
    """A group whose programs can be killed, and started again as they were."""

    def __init__(self, folder: Path, database: Path | None) -> None:
        """Let the SuperLink keep its state in `database`, or in memory."""
        super().__init__(folder)
        self._database = database
        self._commands: dict[str, tuple[list[str], Mapping[str, str]]] = {}
        self._newest: dict[str, Child] = {}

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> Child:
        """See `ProcessGroup`; a name may come again."""
        whole = list(command)
        if name == "superlink" and self._database is not None:
            whole += ["--database", str(self._database)]
        self._commands[name] = whole, dict(environment or {})
        return self.again(name)

    def again(self, name: str) -> Child:
        """Start a program as it was started before."""
        command, environment = self._commands[name]
        number = sum(child.name.startswith(f"{name}.") for child in self.children)
        child = super().start(f"{name}.{number}", command, environment=environment)
        self._newest[name] = child
        return child

    def newest(self, name: str) -> Child:
        """Return the newest life of a program."""
        return self._newest[name]

    def kill(self, name: str) -> None:
        """Kill a program, by SIGKILL, and none of those that it has started."""
        child = self._newest[name]
        child.may_end = True
        child.process.kill()
        child.process.wait()

    def running(self, program: str) -> list[int]:
        """Return the process ids of a program of Flower's that others have started."""
        found = []
        for process in self._find_family():
            try:
                words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(Path(os.fsdecode(word)).name == program for word in words[:2]):
                found.append(process.pid)
        return sorted(found)

    def text(self, name: str) -> str:
        """Return everything that a program, in all its lives, has written."""
        logs = [child.log for child in self.children if child.name.startswith(f"{name}.")]
        return "".join(log.read_text(errors="replace") for log in logs)

    def kill_started(self, program: str) -> None:
        """Kill one process of `running`."""
        os.kill(self.running(program)[0], signal.SIGKILL)


def wait_until(true: Callable[[], object], what: str, seconds: float = PATIENCE_S) -> None:
    """Wait, and fail where it does not come to be."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"after {seconds} s not: {what}"
        time.sleep(0.05)


class Deployment:
    """Three organisations with a node each; a release needs two of them."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        """Agree on a federation, and start everything."""
        self.folder, self.programs = folder, programs
        self.hold = folder / "hold"
        self.app = write_app(folder / "app")
        self.clients = {name: self._client(name) for name in STEPS}
        self.manifest = self._agree()
        self.aggregator = start_aggregator(programs, folder, "aggregator", tee="insecure")
        self.flower = FlowerDeployment(
            programs,
            [
                Node(
                    name=name,
                    config={
                        "fedenclave-dir": str(self.clients[name].path),
                        "hold": str(self.hold),
                        "step": step,
                    },
                )
                for name, step in STEPS.items()
            ],
        )
        self.flower.start()
        self._runs = 0

    def _client(self, name: str) -> ClientFolder:
        identity = Identity(client=f"{name}-1", member=name)
        return ClientFolder.create(self.folder / name, identity)

    def _agree(self) -> Manifest:
        enrolments = []
        for name, client in self.clients.items():
            client_key, member_key = client.public_keys()
            enrolments.append(
                Enrolment(
                    client=f"{name}-1", member=name, client_key=client_key, member_key=member_key
                )
            )
        members, clients = roster_of(enrolments)
        source = write_manifest(
            ManifestDraft(
                name="killed",
                threshold=len(members),
                development=False,
                members=members,
                clients=clients,
                freshness_seconds=600,
                insecure_measurements=[from_text(json.loads(measure_enclave())["measurement"])],
                suite=Suite.HYBRID,
                schema=FIRST.schema.digest,
                initial_model=FIRST.digest(),
                rules=DEFAULT_RULES,
            )
        )
        (self.folder / "federation.toml").write_bytes(source)
        write_whole(self.folder / "first-model.fem", FIRST.to_bytes())
        (self.folder / "approvals").mkdir()
        paths = [
            client.approve(self.folder / "federation.toml") for client in self.clients.values()
        ]
        for path in paths:
            write_whole(self.folder / "approvals" / path.name, path.read_bytes())
            for client in self.clients.values():
                client.add_approval(path.read_bytes())
        return Manifest.from_bytes(source)

    # --- runs ----------------------------------------------------------------------------------

    def start_run(self, rounds: int, *, nodes: int = 3, timeout: float = PATIENCE_S) -> str:
        """Have Flower start the app, and return the run's name among the programs."""
        self._runs += 1
        name = f"run-{self._runs}"
        config = {
            "rounds": rounds,
            "nodes": nodes,
            "timeout": timeout,
            "aggregator": self.aggregator.address,
            "root-certificate": str(self.aggregator.root_certificate),
        }
        command = ["flwr", "run", str(self.app), CONNECTION, "--stream"]
        child = self.programs.start(name, [*command, "--run-config", write_settings(config)])
        child.may_end = True
        return name

    def finish(self, run: str, *, seconds: float = 2 * PATIENCE_S) -> None:
        """Wait for a run's end."""
        child = self.programs.newest(run)
        wait_until(lambda: child.exit_code is not None, f"{run} ends", seconds)

    def status(self) -> str:
        """Return how the newest run ended, as the SuperLink says."""
        child = self.programs.start("list", ["flwr", "list", CONNECTION, "--format", "json"])
        child.may_end = True
        wait_until(lambda: child.exit_code is not None, "flwr list answers")
        runs = json.loads(child.log.read_text())["runs"]
        return str(runs[0]["status"]) if runs else "none"

    def superlink_answers(self) -> bool:
        """Say whether the SuperLink does."""
        authority = self.programs.folder / "keys" / "ca.crt"
        return _answers(self.flower.port, ssl.create_default_context(cafile=authority))

    def restart_superlink(self, *, register: bool) -> None:
        """Start it again; and register the nodes' keys, where it keeps none."""
        self.programs.again("superlink")
        wait_until(self.superlink_answers, "the SuperLink answers")
        if register:
            for name in STEPS:
                child = self.programs.again(f"register-{name}")
                child.may_end = True
                wait_until(lambda c=child: c.exit_code is not None, "the key is registered")
                assert child.exit_code == 0, child.log.read_text()

    def restart_supernode(self, name: str) -> None:
        """Start a SuperNode again, and wait until it is connected.

        One that was killed counts as connected for two heartbeats, a minute, and the SuperLink lets
        nobody in with its key so long: whatever watches over it has to try again.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            child = self.programs.again(f"supernode-{name}")
            child.may_end = True
            wait_until(
                lambda c=child: c.exit_code is not None or CONNECTED.search(c.log.read_text()),
                "the SuperNode connects or gives up",
            )
            if child.exit_code is None:
                return
            assert time.monotonic() < deadline, child.log.read_text()
            time.sleep(3)

    # --- what can be seen ----------------------------------------------------------------------

    def remote(self) -> RemoteAggregator:
        """Return the aggregator."""
        certificate = self.aggregator.root_certificate.read_bytes()
        return RemoteAggregator(
            self.aggregator.address, root_certificate=certificate, insecure=False
        )

    def state(self) -> tuple[str, int]:
        """Return the enclave's state, and its newest round's number."""
        with self.remote() as remote:
            status = remote.status()
        return status.state, status.round

    def training(self) -> int:
        """Return how often a node has begun to train."""
        return sum(self.programs.text(f"supernode-{name}").count("training\n") for name in STEPS)

    def model(self) -> float:
        """Return the value that every number of the newest model has."""
        with self.remote() as remote:
            payload = bytes(Model.from_bytes(remote.model()).payload)
        numbers = np.frombuffer(payload, np.float32)
        assert (numbers == numbers[0]).all()
        return float(numbers[0])

    def log(self) -> VerifiedLog:
        """Return the enclave's log, every entry of which has been checked."""
        with self.remote() as remote:
            key = PublicKey(remote.info()[2].signing_key)
        with (self.folder / "aggregator" / "statements.fel").open("rb") as stream:
            return verify_log(stream, key, self.manifest)

    def receipts(self, name: str) -> dict[int, VerifiedReceipt]:
        """Return a node's receipts by round; each must verify."""
        files = sorted((self.folder / name / "receipts").glob("*.receipt"))
        judged = judge_files(files, self.manifest, NO_ENDORSEMENTS)
        assert all(file.verified is not None for file in judged), judged
        return {file.verified.round: file.verified for file in judged if file.verified}
