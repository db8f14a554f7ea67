"""A data owner's side of a deployment: the commands that its engineer types, typed for it.

Each is a process of its own, as `clients/README.md` has it: seal the data, set up the node, approve
the app by the hash that was read, run the node. Nothing here reaches into what they do.

Not as a data owner should: the passphrase lies beside the keyring, so that one folder can be looked
at. Keep it elsewhere.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedenclave.client.files import write_whole
from fedenclave.demo.commands import FEDENCLAVE, run_together
from fedenclave.demo.logs import LogReader
from fedenclave.demo.processes import ProcessGroup
from fedenclave.node.bundle import read_app

DATASET, KEYRING, PASSPHRASE = "sealed", "keyring", "keyring.passphrase"
_AGAIN = "start again with an empty folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """One data owner: its name, and its client folder."""

    name: str
    folder: Path

    @property
    def node_log(self) -> Path:
        """Where the node says what became of each round."""
        return self.folder / "logs" / "node.log"

    def log_reader(self) -> LogReader:
        """Return what gives the node's log line by line."""
        return LogReader(self.node_log)


def seal_data(group: ProcessGroup, owners: Sequence[Owner], plain: str) -> None:
    """Seal each owner's folder `plain` under a key of its own, and delete the plaintext.

    Raises:
        DeploymentError: a command failed.
    """
    for owner in owners:
        passphrase = secrets.token_urlsafe(24).encode() + b"\n"
        write_whole(owner.folder / PASSPHRASE, passphrase, mode=0o600)
    make = {f"keys-{owner.name}": _words(owner, "keys", "init") for owner in owners}
    run_together(group, make, what="make a keyring", hint=_AGAIN)
    seal = {
        f"seal-{owner.name}": _words(
            owner, "data", "seal", owner.folder / plain, owner.folder / DATASET
        )
        for owner in owners
    }
    run_together(group, seal, what="seal the data", hint=_AGAIN)
    for owner in owners:
        shutil.rmtree(owner.folder / plain)


def _words(owner: Owner, *words: object) -> list[str]:
    keys = ("--keyring", owner.folder / KEYRING, "--passphrase-file", owner.folder / PASSPHRASE)
    return [*FEDENCLAVE, *map(str, (*words, *keys))]


def set_up_nodes(
    group: ProcessGroup,
    owners: Sequence[Owner],
    ports: Sequence[int],
    *,
    superlink: str,
    root_certificate: Path,
    app: Path,
) -> None:
    """Write each node's settings, and approve the app: these bytes, whose hash all have read.

    Raises:
        DeploymentError: a command failed.
        ConfigurationError: the app cannot be read.
    """
    data = ("--dataset", DATASET, "--keys", f"keyring:{KEYRING}", "--passphrase-file", PASSPHRASE)
    commands: dict[str, list[str]] = {}
    fab_hash = read_app(app).fab_hash
    for owner, port in zip(owners, ports, strict=True):
        where = ("--dir", owner.folder)
        init = ("node", "init", *where, "--superlink", superlink, "--port", port, *data)
        approve = ("node", "approve", app, *where, "--by", owner.name, "--hash", fab_hash)
        commands[f"init-{owner.name}"] = [*FEDENCLAVE, *map(str, init)]
        commands[f"approve-{owner.name}"] = [*FEDENCLAVE, *map(str, approve)]
        shutil.copyfile(root_certificate, owner.folder / "superlink-ca.pem")
    run_together(group, commands, what="set up its node", hint=_AGAIN)


def node_command(owner: Owner) -> list[str]:
    """Return how an owner's node is run."""
    return [*FEDENCLAVE, "node", "run", "--dir", os.fspath(owner.folder)]
