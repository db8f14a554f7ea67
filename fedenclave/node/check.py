"""What of a node is missing or unsafe: one row each, with what to do about it.

Rules:
  * Nothing is changed, and nobody is asked over the network but the proxy, whether it answers.
  * A row that is `missing` or `unsafe` keeps a node from being run (supervisor.py asks here first).
    One that is `unreachable` does not: what does not answer now may do so later.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from fedenclave.client.files import read_file
from fedenclave.client.folder import ClientFolder
from fedenclave.node.approvals import AppApprovals
from fedenclave.node.bound import Confinement
from fedenclave.node.check_folder import folder_rows
from fedenclave.node.configuration import FILE, HOST, NodeConfiguration, read_configuration
from fedenclave.node.data_check import found_of
from fedenclave.node.landlock import NETWORK_LEVEL, level
from fedenclave.node.metrics import check_installed
from fedenclave.node.node_key import SOON_DAYS, check_node_key, check_root_certificate
from fedenclave.node.proxy import check_proxy, proxy_in_force
from fedenclave.node.row import MAY_READ, Row, State, failed, row
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError

FLOWER = "1.41."


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
    at = now or datetime.now(UTC)
    rows = [*folder_rows(client_folder, at), row("flower", _flower), *_apps(client_folder)]
    try:
        configuration = read_configuration(client_folder)
    except FedEnclaveError as error:
        return [*rows, failed("node.toml", error)]
    except OSError as error:
        found = f"{FILE} cannot be read: {error.strerror}"
        return [*rows, Row(what=FILE, state=State.MISSING, found=found, hint=MAY_READ)]
    rows.append(Row(what="node.toml", state=State.OK, found=configuration.address))
    return [
        *rows,
        *_superlink(configuration, at),
        *_data(configuration),
        _proxy(configuration, caller),
        _confinement(configuration.confinement, token=_in_a_token(configuration)),
        *_node(configuration),
    ]


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
        yield failed("apps", error)
        return
    except OSError as error:
        found = f"{approvals.folder} cannot be read: {error.strerror}"
        yield Row(what="apps", state=State.MISSING, found=found, hint=MAY_READ)
        return
    if not held:
        hint = "read it, then: fedenclave node approve APP"
        yield Row(what="apps", state=State.MISSING, found="no app is approved", hint=hint)
    for each in held:
        fab_hash = each.fab_hash

        def intact(fab_hash: str = fab_hash) -> str:
            return f"{approvals.require(fab_hash)[0].version}, {fab_hash}"

        yield row(f"app {each.app_id}", intact)


def _superlink(configuration: NodeConfiguration, now: datetime) -> Iterator[Row]:
    try:
        until = check_root_certificate(configuration.root_certificate, now)
    except FedEnclaveError as error:
        yield failed("root certificate", error)
    else:
        soon = (until - now).days < SOON_DAYS
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
    yield row("trusted entities", lambda: _trusted(configuration))


def _trusted(configuration: NodeConfiguration) -> str:
    if configuration.trusted_entities is None:
        return "none named; this node's own approvals decide"
    read_file(configuration.trusted_entities, "trusted entities")
    return str(configuration.trusted_entities)


def _data(configuration: NodeConfiguration) -> Iterator[Row]:
    yield row("sealed data", lambda: found_of(configuration.data))
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
        return failed("proxy", error)
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


def _confinement(confinement: Confinement | None, *, token: bool) -> Row:
    what = "confinement"
    if confinement is None:
        found = "none: an approved app writes and connects as this user can"
        return Row(what=what, state=State.NOTE, found=found, hint="[confinement] in node.toml")
    missing = [each for each in confinement.write if not _is_folder(each)]
    if missing:
        found, hint = f"{missing[0]} is no folder", "make it, or take it out of node.toml"
        return Row(what=what, state=State.MISSING, found=found, hint=hint)
    known = level()
    if known and token and not (confinement.write or confinement.connect):
        found = "a key is in a token: what its module writes or connects to is not allowed"
        hint = "name folders and ports that it needs in node.toml, [confinement], if it needs any"
        return Row(what=what, state=State.NOTE, found=found, hint=hint)
    if known >= NETWORK_LEVEL:
        return Row(what=what, state=State.OK, found=f"Landlock, level {known}")
    what_is_held = "where an app writes, and not whom it connects to" if known else "nothing"
    return Row(
        what=what,
        state=State.NOTE,
        found=f"this kernel's Landlock (level {known}) holds {what_is_held}",
        hint="Linux 6.7 and later hold both; is lsm=landlock,... on its command line?",
    )


def _is_folder(path: Path) -> bool:
    with contextlib.suppress(OSError):  # one that this user may not look into is none to write in
        return path.is_dir()
    return False


def _in_a_token(configuration: NodeConfiguration) -> bool:
    """Return whether a key that rounds need is in a token."""
    keys = [configuration.data.keys]
    with contextlib.suppress(FedEnclaveError):
        keys += ClientFolder(configuration.folder).identity().signing_keys
    return any(each.startswith("pkcs11:") for each in keys)


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
        yield row("metrics", lambda: _metrics(port))
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
