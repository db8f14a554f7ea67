"""What of a node is missing or unsafe: one row each, with what to do about it.

Rules:
  * Nothing is changed, and nobody is asked over the network.
  * A row that is not `ok` or `note` keeps a node from being run (supervisor.py asks here first).
"""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path

from fedenclave.client.files import read_file
from fedenclave.client.folder import ClientFolder
from fedenclave.keys.pkcs11_signing import is_token, without_access
from fedenclave.node.approvals import AppApprovals
from fedenclave.node.configuration import NodeConfiguration, read_configuration
from fedenclave.node.node_key import check_node_key, check_root_certificate
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


def check(client_folder: Path, now: datetime | None = None) -> list[Row]:
    """Look at everything that a node needs.

    Args:
        client_folder: the node's.
        now: with a time zone; by default the present time.
    """
    client = ClientFolder(client_folder)
    rows = [
        _row("client", lambda: client.identity().client),
        _row("manifest", lambda: _manifest(client)),
        *_private(client_folder),
        *_token_keys(client),
        _row("flower", _flower),
        *_apps(client_folder),
    ]
    try:
        configuration = read_configuration(client_folder)
    except FedEnclaveError as error:
        return [*rows, _failed("node.toml", error)]
    rows.append(Row(what="node.toml", state=State.OK, found=configuration.address))
    return [*rows, *_superlink(configuration, now or datetime.now(UTC)), *_node(configuration)]


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
    for path in (folder, *sorted(folder.glob("client*.key")), folder / "member.key"):
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


def _token_keys(client: ClientFolder) -> Iterator[Row]:
    """Log in to the token with the signing key, as every round will: its PIN must be at hand."""
    try:
        where = client.identity().signing_key
    except FedEnclaveError:
        return
    if is_token(where):
        yield _row("signing key", lambda: _opened(client, where))


def _opened(client: ClientFolder, where: str) -> str:
    client.client_key()
    return without_access(where)


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


def _node(configuration: NodeConfiguration) -> Iterator[Row]:
    free = _is_free(configuration.port)
    yield Row(
        what="port",
        state=State.OK if free else State.MISSING,
        found=f"{configuration.port} on {HOST} is {'free' if free else 'taken'}",
        hint="" if free else "does this node run already? another node needs another port",
    )
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
