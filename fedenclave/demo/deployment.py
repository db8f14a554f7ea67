"""A Flower deployment on loopback: one SuperLink, several SuperNodes, TLS, registered node keys.

Not a simulation: these are the programs that hospitals and an operator run, talking over
sockets. Not for more than one machine either: everything listens on 127.0.0.1 only.

Rules:
  * A SuperNode gets in only with a key that was registered before.
  * A node that has an owner is run by `fedenclave node run`, and has only the app that its owner
    has approved. One that has none is a bare SuperNode, which runs whatever is sent.
  * What a node needs to know about itself goes into its node configuration or its own
    environment, never into the run configuration, which the SuperLink sends to everybody.
  * A run has succeeded when the SuperLink says so: `flwr run` exits with 0 either way.

Who inherits what: a ServerApp's process gets the SuperLink's environment, a ClientApp's process
that of its SuperNode, both by way of a flower-superexec.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from fedenclave.demo.certificates import (
    NodeKey,
    ServerCertificate,
    make_node_key,
    make_server_certificate,
)
from fedenclave.demo.commands import run_together
from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.owner import Owner, node_command, set_up_nodes
from fedenclave.demo.ports import HOST, check_port_is_free, pick_free_ports
from fedenclave.demo.processes import Child, ProcessGroup
from fedenclave.node.settings import Setting, write_settings

CONNECTION = "tls"
CONNECTED = re.compile(r"SuperNode ID: \d+")
STARTED_RUN = re.compile(r"Successfully started run (\d+)")
COMPLETED = "finished:completed"
# flwr reads these as words of a command line and as file names.
NODE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

START_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0
RUN_TIMEOUT_S = 900.0
SLOW_HINT = "the machine may be busy; end other work and start again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One SuperNode: its name, and whose it is.

    Attributes:
        name: unlike any other node's.
        owner: who runs it; None for a bare SuperNode, which alone has what follows.
        config: what its ClientApp reads.
        environment: its own.
    """

    name: str
    owner: Owner | None = None
    config: Mapping[str, Setting] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run that the SuperLink calls completed."""

    run_id: int
    seconds: float
    log: Path


class FlowerDeployment:
    """Starts the programs in a group, which ends them, and runs Flower apps on them."""

    def __init__(
        self,
        group: ProcessGroup,
        nodes: Sequence[Node],
        *,
        app: Path | None = None,
        port: int | None = None,
        server_environment: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare a deployment.

        Args:
            group: Entered already; its folder takes keys, logs and Flower's files.
            nodes: At least one, with different names.
            app: What the nodes' owners approve; needed where one has an owner.
            port: The SuperLink's, by default a free one.
            server_environment: Added to the SuperLink's environment, so to the ServerApp's.

        Raises:
            DeploymentError: The port is taken.
            ValueError: A node's name or setting cannot be used.
        """
        names = [node.name for node in nodes]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"nodes are named {names}, want one or more different names")
        for name in names:
            if not NODE_NAME.fullmatch(name):
                raise ValueError(f"node is named {name!r}, want lower case, digits and '-'")
        if app is None and any(node.owner is not None for node in nodes):
            raise ValueError("a node has an owner, and there is no app for it to approve")
        self._group, self._app = group, app
        self._nodes = list(nodes)
        self._settings = [write_settings(node.config) for node in nodes]
        self._server_environment = dict(server_environment or {})
        own_port, *self._node_ports = pick_free_ports(1 + len(nodes))
        self.port = (
            own_port
            if port is None
            else check_port_is_free(port, used_by="the SuperLink", option="--port")
        )
        self.superlink: Child | None = None
        self.supernodes: dict[str, Child] = {}
        self._runs = 0

    @property
    def address(self) -> str:
        """Where the SuperLink listens, as `host:port`."""
        return f"{HOST}:{self.port}"

    def start(self, *, on_step: Callable[[str], None] = lambda step: None) -> None:
        """Start everything and wait until every SuperNode is connected.

        Args:
            on_step: Told what is being done next, for a progress bar.

        Raises:
            DeploymentError: A program ended early or was not ready in time.
        """
        on_step("starting the SuperLink")
        keys_folder = self._group.folder / "keys"
        server = make_server_certificate(keys_folder, now=datetime.now(UTC))
        self._write_connection(server)
        superlink = self._start_superlink(server)
        self._set_up_owners(server, on_step)
        self._wait_for(superlink, server)
        on_step("registering node keys")
        keys = [self._key_of(node) for node in self._nodes]
        self._register(keys)
        on_step("connecting SuperNodes")
        self._start_supernodes(server, keys)

    def run(
        self,
        app: Path,
        run_config: Mapping[str, Setting] | None = None,
        *,
        on_line: Callable[[str], None] = lambda line: None,
        timeout_s: float = RUN_TIMEOUT_S,
    ) -> FinishedRun:
        """Run a Flower app and wait for its end.

        Args:
            app: The folder that holds the app's pyproject.toml.
            run_config: Overrides; every key has to be in the app's own configuration.
            on_line: Given each line of the ServerApp's log, without colours, as it comes.
            timeout_s: After this many seconds the run counts as failed.

        Raises:
            DeploymentError: The run did not complete, or a program ended meanwhile.
        """
        self._runs += 1
        command = ["flwr", "run", str(app.resolve()), CONNECTION, "--stream"]
        if run_config:
            command += ["--run-config", write_settings(run_config)]
        began = time.monotonic()
        child = self._group.start(f"run-{self._runs}", command)
        found: list[int] = []

        def look_for_run_id(line: str) -> None:
            if not found and (match := STARTED_RUN.search(line)):
                found.append(int(match.group(1)))
            on_line(line)

        exit_code = self._group.follow(child, look_for_run_id, timeout_s=timeout_s, hint=SLOW_HINT)
        if not found:
            raise child.failure(
                f"did not start a run (exit code {exit_code})",
                f"look for a mistake in {app / 'pyproject.toml'} or the run configuration",
            )
        self._check_completed(found[0], child)
        return FinishedRun(run_id=found[0], seconds=time.monotonic() - began, log=child.log)

    def register(self, name: str, public_key: Path) -> None:
        """Let in one more node, which somebody else runs.

        Raises:
            DeploymentError: the SuperLink does not take its key.
        """
        command = ["flwr", "supernode", "register", str(public_key.resolve()), CONNECTION]
        commands = {f"register-{name}": [*command, "--name", name]}
        hint = "start again with an empty folder"
        run_together(self._group, commands, what="register a node key", hint=hint)

    def stop(self) -> None:
        """Ask the SuperNodes, then the SuperLink to end; the group sees to the rest."""
        self._group.stop(list(self.supernodes.values()))
        if self.superlink is not None:
            self._group.stop([self.superlink])

    def _write_connection(self, server: ServerCertificate) -> None:
        root = json.dumps(str(server.ca_certificate.resolve()), ensure_ascii=False)
        # json writes a printable string as TOML's basic string reads it.
        (self._group.flower_home / "config.toml").write_text(
            f'[superlink]\ndefault = "{CONNECTION}"\n\n'
            f'[superlink.{CONNECTION}]\naddress = "{self.address}"\n'
            f"root-certificates = {root}\n",
            encoding="utf-8",
        )

    def _set_up_owners(self, server: ServerCertificate, on_step: Callable[[str], None]) -> None:
        owned = [(n, p) for n, p in zip(self._nodes, self._node_ports, strict=True) if n.owner]
        if not owned or self._app is None:
            return
        on_step("each owner sets up its node, and approves the app by its hash")
        set_up_nodes(
            self._group,
            [node.owner for node, _ in owned if node.owner is not None],
            [port for _, port in owned],
            superlink=self.address,
            root_certificate=server.ca_certificate,
            app=self._app,
        )

    def _key_of(self, node: Node) -> NodeKey:
        if node.owner is None:
            return make_node_key(self._group.folder / "keys", f"node-{node.name}")
        key = node.owner.folder / "node.key"
        return NodeKey(private_key=key, public_key=key.with_name("node.key.pub"))

    def _start_superlink(self, server: ServerCertificate) -> Child:
        command = ["flower-superlink", "--host", HOST, "--port", str(self.port)]
        command += ["--ssl-ca-certfile", str(server.ca_certificate.resolve())]
        command += ["--ssl-certfile", str(server.certificate.resolve())]
        command += ["--ssl-keyfile", str(server.private_key.resolve())]
        command += ["--enable-supernode-auth"]
        self.superlink = self._group.start(
            "superlink", command, environment=self._server_environment
        )
        return self.superlink

    def _wait_for(self, superlink: Child, server: ServerCertificate) -> None:
        trusted = ssl.create_default_context(cafile=server.ca_certificate)
        self._group.wait_until_ready(
            superlink,
            lambda: _answers(self.port, trusted),
            timeout_s=START_TIMEOUT_S,
            hint=SLOW_HINT,
        )

    def _register(self, keys: Sequence[NodeKey]) -> None:
        register = ["flwr", "supernode", "register"]
        # All at once: each spends a second on importing flwr and next to nothing on its work.
        commands = {
            f"register-{node.name}": [
                *(*register, str(key.public_key.resolve()), CONNECTION, "--name", node.name)
            ]
            for node, key in zip(self._nodes, keys, strict=True)
        }
        what, hint = "register a node key", "start again with an empty folder"
        run_together(self._group, commands, what=what, hint=hint)

    def _start_supernodes(self, server: ServerCertificate, keys: Sequence[NodeKey]) -> None:
        for node, key, port, settings in zip(
            self._nodes, keys, self._node_ports, self._settings, strict=True
        ):
            command = self._bare(server, key, port, settings)
            if node.owner is not None:
                command = node_command(node.owner)
            self.supernodes[node.name] = self._group.start(
                f"supernode-{node.name}", command, environment=node.environment
            )
        for node in self._nodes:
            self._group.wait_until_ready(
                self.supernodes[node.name],
                CONNECTED if node.owner is None else _connected(node.owner),
                timeout_s=START_TIMEOUT_S,
                hint=SLOW_HINT,
            )

    def _bare(self, server: ServerCertificate, key: NodeKey, port: int, settings: str) -> list[str]:
        command = ["flower-supernode", "--superlink", self.address]
        command += ["--root-certificates", str(server.ca_certificate.resolve())]
        command += ["--auth-supernode-private-key", str(key.private_key.resolve())]
        command += ["--host", HOST, "--port", str(port)]
        return [*command, *(["--node-config", settings] if settings else [])]

    def _check_completed(self, run_id: int, run: Child) -> None:
        command = ["flwr", "list", CONNECTION, "--run-id", str(run_id), "--format", "json"]
        question = self._group.start(f"{run.name}-outcome", command)
        lines: list[str] = []
        self._group.follow(question, lines.append, timeout_s=COMMAND_TIMEOUT_S, hint=SLOW_HINT)
        try:
            (outcome,) = json.loads("\n".join(lines))["runs"]
            status, details = str(outcome["status"]), str(outcome["status-details"])
        except (ValueError, KeyError, TypeError):
            raise question.failure("did not tell how the run ended", SLOW_HINT) from None
        if status != COMPLETED:
            # The log ends with a traceback, which is for those who open it.
            raise DeploymentError(
                f"{run.name} ended as {status}, want {COMPLETED}: {details or 'no details given'}",
                hint=f"read the ServerApp's log {run.log}; the nodes' logs lie beside it",
            )


def _answers(port: int, trusted: ssl.SSLContext) -> bool:
    """Say whether the SuperLink answers on its health address, with a certificate of ours."""
    connection = http.client.HTTPSConnection(HOST, port, timeout=2, context=trusted)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _connected(owner: Owner) -> Callable[[], bool]:
    """Return what says whether an owner's node has connected."""
    reader = owner.log_reader()
    return lambda: any(CONNECTED.search(line) for line in reader.new_lines())
