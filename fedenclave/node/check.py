"""What of a node is missing or unsafe: one row each, with what to do about it.

Rules:
  * Nothing is changed, and nobody is asked over the network but the proxy, whether it answers.
  * A row that is `missing` or `unsafe` keeps a node from being run (supervisor.py asks here first).
    One that is `unreachable` does not: what does not answer now may do so later.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from fedenclave.client.files import read_file
from fedenclave.client.folder import ClientFolder
from fedenclave.node.approvals import AppApprovals
from fedenclave.node.configuration import FILE, NodeConfiguration, read_configuration
from fedenclave.node.data_check import found_of
from fedenclave.node.metrics import check_installed
from fedenclave.node.node_key import check_node_key, check_root_certificate
from fedenclave.node.proxy import check_proxy, proxy_in_force
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from fedenclave.protocol.manifest import approving_members

FLOWER = "1.41."
HOST = "127.0.0.1"
_SOON_DAYS = 30


class State(StrEnum):
    """How a row stands."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"
    UNSAFE = "unsafe"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was looked at."""

    what: str
    state: State
    found: str
    hint: str = ""

    @property
    def stops(self) -> bool:
        """Whether a node does not run with it."""
        return self.state in (State.MISSING, State.UNSAFE)

    @property
    def bad(self) -> bool:
        """Whether somebody should do something about it."""
        return self.stops or self.state is State.UNREACHABLE


def check(
    client_folder: Path,
    now: datetime | None = None,
    caller: Mapping[str, str] = os.environ,
) -> list[Row]:
    """Look at everything that a node needs.

    Args:
        client_folder: the node's.
        now: with a time zone; by default the present time.
        caller: the environment that the node is started in.
    """
    client = ClientFolder(client_folder)
    rows = [
        _row("client", lambda: client.identity().client),
        _row("manifest", lambda: _manifest(client)),
        *_private(client_folder),
        _row("flower", _flower),
        *_apps(client_folder),
    ]
    try:
        configuration = read_configuration(client_folder)
    except FedEnclaveError as error:
        return [*rows, _failed("node.toml", error)]
    rows.append(Row(what="node.toml", state=State.OK, found=configuration.address))
    return [
        *rows,
        *_superlink(configuration, now or datetime.now(UTC)),
        *_data(configuration),
        _proxy(configuration, caller),
        *_node(configuration),
    ]


def _row(what: str, look: Callable[[], str]) -> Row:
    try:
        return Row(what=what, state=State.OK, found=look())
    except FedEnclaveError as error:
        return _failed(what, error)


def _failed(what: str, error: FedEnclaveError) -> Row:
    return Row(what=what, state=State.MISSING, found=error.message, hint=error.hint)


def _manifest(client: ClientFolder) -> str:
    # Not by opening a session, which would let the next manifest take this one's place.
    manifest = client.manifest()
    approving = approving_members(manifest, client.approvals(manifest))
    if client.identity().member not in approving:
        raise ConfigurationError(
            f"{manifest.name} is not approved by this client's owner",
            hint="review it, then: fedenclave federation approve federation.toml --dir FOLDER",
        )
    if len(approving) < manifest.threshold:
        raise ConfigurationError(
            f"{manifest.name} has {len(approving)} approvals, want {manifest.threshold}",
            hint="ask the others for theirs: fedenclave client add-approvals",
        )
    return manifest.name


def _private(folder: Path) -> Iterator[Row]:
    if not folder.is_dir():
        return
    for path in (folder, folder / "client.key", folder / "member.key"):
        if not path.exists():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        good = mode & 0o077 == 0
        yield Row(
            what=f"only its owner opens {path.name}",
            state=State.OK if good else State.UNSAFE,
            found=f"mode {mode:04o}",
            hint="" if good else f"others could have read it. chmod go= {path}",
        )


def _flower() -> str:
    try:
        version = metadata.version("flwr")
    except metadata.PackageNotFoundError as error:
        raise ConfigurationError(
            "flwr is not installed", hint="pip install 'fedenclave[flower]'"
        ) from error
    if not version.startswith(FLOWER):
        raise ConfigurationError(
            f"flwr is {version}, want {FLOWER}x: the node was tried with no other",
            hint="pip install 'fedenclave[flower]' in an environment of its own",
        )
    return version


def _apps(folder: Path) -> Iterator[Row]:
    approvals = AppApprovals(folder)
    try:
        held = [each for each in approvals.records() if each.holds]
    except FedEnclaveError as error:
        yield _failed("apps", error)
        return
    if not held:
        hint = "read it, then: fedenclave node approve APP"
        yield Row(what="apps", state=State.MISSING, found="no app is approved", hint=hint)
    for each in held:
        fab_hash = each.fab_hash

        def intact(fab_hash: str = fab_hash) -> str:
            return f"{approvals.require(fab_hash)[0].version}, {fab_hash}"

        yield _row(f"app {each.app_id}", intact)


def _superlink(configuration: NodeConfiguration, now: datetime) -> Iterator[Row]:
    try:
        until = check_root_certificate(configuration.root_certificate, now)
    except FedEnclaveError as error:
        yield _failed("root certificate", error)
    else:
        soon = (until - now).days < _SOON_DAYS
        yield Row(
            what="root certificate",
            state=State.NOTE if soon else State.OK,
            found=f"valid until {until:%Y-%m-%d}",
            hint="ask the operator for the next one" if soon else "",
        )
    try:
        check_node_key(configuration.node_key)
    except FedEnclaveError as error:
        unsafe = "has mode" in error.message
        state = State.UNSAFE if unsafe else State.MISSING
        yield Row(what="node key", state=state, found=error.message, hint=error.hint)
    else:
        yield Row(what="node key", state=State.OK, found=configuration.node_key.name)
    yield _row("trusted entities", lambda: _trusted(configuration))


def _trusted(configuration: NodeConfiguration) -> str:
    if configuration.trusted_entities is None:
        return "none named; this node's own approvals decide"
    read_file(configuration.trusted_entities, "trusted entities")
    return str(configuration.trusted_entities)


def _data(configuration: NodeConfiguration) -> Iterator[Row]:
    yield _row("sealed data", lambda: found_of(configuration.data))
    plain = configuration.data.plain_text
    yield Row(
        what="data in plain text",
        state=State.NOTE if plain else State.OK,
        found="the app may read them" if plain else "not read",
        hint="whoever gets the disk has them: fedenclave data seal" if plain else "",
    )


def _proxy(configuration: NodeConfiguration, caller: Mapping[str, str]) -> Row:
    try:
        proxy = proxy_in_force(configuration.proxy, configuration.address, caller)
    except FedEnclaveError as error:
        return _failed("proxy", error)
    if proxy is None:
        return Row(what="proxy", state=State.OK, found="none: straight to the SuperLink")
    file = configuration.folder / FILE
    if configuration.proxy is proxy and proxy.has_password and file.stat().st_mode & 0o077:
        found = f"the proxy's password is in {FILE}, which others can read"
        return Row(what="proxy", state=State.UNSAFE, found=found, hint=f"chmod go= {file}")
    try:
        check_proxy(proxy)
    except FedEnclaveError as error:
        state = State.UNREACHABLE
        return Row(what="proxy", state=state, found=error.message, hint=error.hint)
    return Row(what="proxy", state=State.OK, found=str(proxy))


def _metrics(port: int) -> str:
    version = check_installed()
    if not _is_free(port):
        raise ConfigurationError(
            f"{port} on {HOST} is taken",
            hint="does this node run already? else choose another port in node.toml, [metrics]",
        )
    return f"http://{HOST}:{port}/metrics, prometheus-client {version}"


def _node(configuration: NodeConfiguration) -> Iterator[Row]:
    free = _is_free(configuration.port)
    yield Row(
        what="port",
        state=State.OK if free else State.MISSING,
        found=f"{configuration.port} on {HOST} is {'free' if free else 'taken'}",
        hint="" if free else "does this node run already? another node needs another port",
    )
    if configuration.metrics_port is not None:
        port = configuration.metrics_port
        yield _row("metrics", lambda: _metrics(port))
    yield Row(
        what="app's output",
        state=State.NOTE if configuration.app_output else State.OK,
        found="kept in app.log" if configuration.app_output else "not kept",
        hint="what the app writes may hold data" if configuration.app_output else "",
    )


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True
