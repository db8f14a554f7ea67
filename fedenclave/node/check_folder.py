"""What of a client's folder a node cannot run with: identity, rules, keys, state, disk, clock.

Rules:
  * Nothing is changed, and nobody is asked over the network.
  * The clock is compared with times that this node itself has written down, and with those in its
    newest receipt. That it is fast nobody here can tell, until something is judged by it.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from fedenclave.client.files import read_key
from fedenclave.client.folder import ClientFolder
from fedenclave.client.receipt_counts import newest_times
from fedenclave.client.standing import (
    check_endorsements,
    last_own_time,
    log_copy,
    rules_in_force,
    state_of,
)
from fedenclave.keys.pkcs11_signing import without_access
from fedenclave.node.row import Row, State, failed, row
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from fedenclave.protocol.signing import public_key

_BACK_SECONDS = 3600
# A client takes hours to accept a round where the operator lets it.
_APART_SECONDS = 20 * 3600
# A round writes a state, a receipt and a model; less than this is full after the next one.
_FULL_BYTES = 64 * 1024 * 1024
_LOW_BYTES = 1024 * 1024 * 1024


def folder_rows(path: Path, now: datetime) -> Iterator[Row]:
    """Yield how a client's folder stands.

    Args:
        path: the folder.
        now: with a time zone.
    """
    client = ClientFolder(path)
    yield row("client", lambda: client.identity().client)
    yield row("manifest", lambda: _manifest(client))
    yield from _policy(client)
    try:
        there = path.is_dir()
        yield from _private(path) if there else ()
    except OSError as error:
        found = f"{path} cannot be looked into: {error.strerror}"
        yield Row(what="folder", state=State.MISSING, found=found, hint="whose is it? ls -ld")
        return
    if not there:
        return
    yield from _keys(client)
    yield row("state", lambda: _state(client))
    yield row("copy of the log", lambda: _log(client))
    yield row("collateral", lambda: _collateral(client))
    yield _disk(path)
    yield _clock(client, now)


def _manifest(client: ClientFolder) -> str:
    # Not by opening a session, which would let the next manifest take this one's place.
    rules = rules_in_force(client)
    if not rules.own:
        raise ConfigurationError(
            f"{rules.name} is not approved by this client's owner",
            hint="review it, then: fedenclave federation approve federation.toml --dir FOLDER",
        )
    if rules.approvals < rules.threshold:
        raise ConfigurationError(
            f"{rules.name} has {rules.approvals} approvals, want {rules.threshold}",
            hint="ask the others for theirs: fedenclave client add-approvals",
        )
    return rules.name


def _policy(client: ClientFolder) -> Iterator[Row]:
    """Say whose word the manifest takes for an enclave; nothing where there is no manifest."""
    try:
        policy = client.manifest().attestation
    except (FedEnclaveError, OSError):
        return
    found = ", ".join(policy.accepted)
    if not policy.insecure:
        yield Row(what="evidence policy", state=State.OK, found=found)
        return
    hint = "for development and rehearsals: with such evidence no hardware protects your updates"
    yield Row(what="evidence policy", state=State.NOTE, found=f"{found} is accepted", hint=hint)


def _private(folder: Path) -> Iterator[Row]:
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


def _keys(client: ClientFolder) -> Iterator[Row]:
    yield row("client key", lambda: _client_key(client))
    # It may be kept elsewhere: it approves, and no round needs it.
    member = client.path / "member.key"
    if member.exists():
        yield row("member key", lambda: _member_key(member))


def _client_key(client: ClientFolder) -> str:
    # One in a token is logged in to, as every round will: its PIN must be at hand.
    key, name = public_key(client.client_key()), client.identity().client
    if (client.path / "federation.toml").exists():
        manifest = client.manifest()
        entry = manifest.roster.get(name)
        if entry is None or entry.key != key:
            raise ConfigurationError(
                f"client {name} with this key is not on the roster of {manifest.name}",
                hint="is it the right folder? else enrol this client's public key, and have the "
                "members approve the new manifest",
            )
    return without_access(client.identity().signing_key)


def _member_key(path: Path) -> str:
    read_key(path)
    return path.name


def _state(client: ClientFolder) -> str:
    state = state_of(client)
    return f"sealed for round {state.sealed_round}" if state.sealed_round else "no round yet"


def _log(client: ClientFolder) -> str:
    copy = log_copy(client)
    return f"{copy.entries} entries, {copy.size_bytes} bytes"


def _collateral(client: ClientFolder) -> str:
    if not (client.path / "federation.toml").exists():
        return "not needed before there is a manifest"
    return check_endorsements(client)


def _disk(folder: Path) -> Row:
    try:
        free = shutil.disk_usage(folder).free
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(0, "this user may not write there")
    except OSError as error:
        found = f"{folder} cannot be written: {error.strerror}"
        hint = "a round's state is written before anything is sent. whose is it? ls -ld"
        return Row(what="disk", state=State.MISSING, found=found, hint=hint)
    found = f"{free // 1024**2} MiB free, want {_FULL_BYTES // 1024**2} at least"
    if free >= _FULL_BYTES:
        state = State.NOTE if free < _LOW_BYTES else State.OK
        return Row(what="disk", state=state, found=found, hint="it fills up" * (state != State.OK))
    hint = "make room: a round's state is written before anything is sent"
    return Row(what="disk", state=State.MISSING, found=found, hint=hint)


def _clock(client: ClientFolder, now: datetime) -> Row:
    try:
        last = last_own_time(client)
        manifest = (client.path / "federation.toml").exists()
        times = newest_times(client) if manifest else None
    except FedEnclaveError as error:
        return failed("clock", error)
    here = f"this machine's clock says {now:%Y-%m-%dT%H:%M:%SZ}"
    if last == 0 and times is None:
        return Row(what="clock", state=State.OK, found=f"{here}; there is nothing to compare with")
    known = datetime.fromtimestamp(last, UTC)
    if (known - now).total_seconds() > _BACK_SECONDS:
        return Row(
            what="clock",
            state=State.UNSAFE,
            found=f"{here}, and this node has been at {known:%Y-%m-%dT%H:%M:%SZ} already",
            hint="set it (timedatectl): certificates and evidence are judged by it",
        )
    judged, enclave = times or (0, 0)
    if abs(judged - enclave) > _APART_SECONDS:
        told = datetime.fromtimestamp(enclave, UTC)
        own = datetime.fromtimestamp(judged, UTC)
        return Row(
            what="clock",
            state=State.NOTE,
            found=f"{here}; in the newest receipt's round it said {own:%Y-%m-%dT%H:%M:%SZ}, and "
            f"the enclave was told {told:%Y-%m-%dT%H:%M:%SZ}",
            hint="one of the two is wrong: this machine's (timedatectl), or the operator's",
        )
    return Row(what="clock", state=State.OK, found=here)
