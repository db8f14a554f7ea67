"""The other side of a federation, played on this machine, for an engineer to take part in.

The operator and three hospitals are real programs on loopback. The fourth hospital is the one whose
engineer rehearses: with its own commands, folder and keys, none of which are seen here. What both
sides send each other are files: what comes in is put into `inbox`, what goes out lies in `outbox`.

What it does not show: a TEE. The enclave is a hardened process, and its evidence says `insecure`.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fedenclave.client.files import read_file, write_whole
from fedenclave.demo.apps import app_folder, run_module
from fedenclave.demo.deployment import FlowerDeployment, Node
from fedenclave.demo.federation import APP, HOSPITALS, RULES, write_data
from fedenclave.demo.hospital import prepare_folder
from fedenclave.demo.members import Members
from fedenclave.demo.operator import start_aggregator
from fedenclave.demo.owner import Owner, seal_data
from fedenclave.demo.processes import ProcessGroup
from fedenclave.demo.rounds import Advance, Say, follow
from fedenclave.demo.tee import Tee
from fedenclave.membership.enrolment import Enrolment, read_enrolment
from fedenclave.node.settings import Setting
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from fedenclave.protocol.manifest import Manifest, approving_members

YOURS, *_OTHERS = HOSPITALS
PARTNERS = tuple(_OTHERS)
ROUNDS = 3
ENROLMENT, NODE_KEY = "enrolment.json", "node.key.pub"
_POLL_S = 0.5
_RUN_TIMEOUT_S = 12 * 3600.0
_PUBLIC_KEY = re.compile(r"ecdsa-sha2-nistp384 [A-Za-z0-9+/=]+( [!-~]+)?\n")

Found = TypeVar("Found")
Refuse = Callable[[FedEnclaveError], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """Where things are handed over."""

    folder: Path
    say: Say
    refuse: Refuse
    group: ProcessGroup

    @property
    def inbox(self) -> Path:
        """Where the engineer puts what a hospital sends."""
        return self.folder / "inbox"

    @property
    def outbox(self) -> Path:
        """Where lies what a hospital is sent."""
        return self.folder / "outbox"

    def wait_for(self, pattern: str, read: Callable[[Path], Found]) -> Found:
        """Wait for a file in the inbox that can be used; say of others why they cannot.

        Raises:
            DeploymentError: one of our programs has ended meanwhile.
        """
        refused: dict[Path, int] = {}
        while True:
            for path in sorted(self.inbox.glob(pattern)):
                changed = path.stat().st_mtime_ns
                if refused.get(path) == changed:
                    continue
                try:
                    return read(path)
                except FedEnclaveError as error:
                    refused[path] = changed
                    self.refuse(error)
                    self.say("waiting", f"{path.name} is not used: put a better one into inbox/")
            self.group.check()
            time.sleep(_POLL_S)


def rehearse(
    folder: Path,
    *,
    port: int,
    rounds: int = ROUNDS,
    say: Say,
    refuse: Refuse,
    advance: Advance,
) -> None:
    """Play the operator and three hospitals, until the rounds are over.

    Args:
        folder: for everything that is made; see `prepare_folder`.
        port: the SuperLink's, on 127.0.0.1.
        rounds: of training.
        say: told each step, and what the engineer is to send.
        refuse: told why what was sent cannot be used; a better one is waited for.
        advance: told the round that begins and how many there are; the last call is (n, n).

    Raises:
        FedEnclaveError: something of ours did not work; every process has ended.
    """
    folder = folder.resolve()
    prepare_folder(folder, say)
    with ProcessGroup(folder / "flower") as group:
        play = Rehearsal(folder=folder, say=say, refuse=refuse, group=group)
        owners = _prepare(play)
        manifest = _agree(play)
        nodes = [Node(name=owner.name, owner=owner) for owner in owners]
        app = play.outbox / APP
        deployment = FlowerDeployment(group, nodes, app=app, port=port)
        _hand_out(play, manifest)
        _take_approval(play, manifest)
        say("start", "the operator starts the enclave, the SuperLink, and the others' nodes")
        aggregator = start_aggregator(group, folder, "aggregator", tee=Tee.INSECURE)
        deployment.start()
        certificate = (group.folder / "keys" / "ca.crt").read_bytes()
        write_whole(play.outbox / "superlink-ca.pem", certificate)
        say("waiting", f"SuperLink: {deployment.address}, superlink-ca.pem lies in outbox/. send")
        say("waiting", f"{NODE_KEY} (fedenclave node init writes it): put it into inbox/")
        deployment.register("yours", play.wait_for(NODE_KEY, _public_key))
        say("waiting", "your node may connect: fedenclave node run. the rounds begin when it has")
        config: dict[str, Setting] = {
            "num-server-rounds": rounds,
            "aggregator": aggregator.address,
            "root-certificate": str(aggregator.root_certificate),
        }
        deployment.run(
            app, config, on_line=lambda line: follow(line, advance), timeout_s=_RUN_TIMEOUT_S
        )
        advance(rounds, rounds)
        say("done", "the rounds are over, and your receipts are in your folder: verify them")


def _prepare(play: Rehearsal) -> list[Owner]:
    """Give three hospitals their own data, and the engineer the fourth's, in plain text."""
    for box in (play.inbox, play.outbox):
        box.mkdir()
    write_data(play.folder)
    hospitals = play.folder / "hospitals"
    (hospitals / YOURS / "data").rename(play.outbox / "patients")
    (hospitals / YOURS).rmdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(app_folder(APP), play.outbox / APP, ignore=unwanted)
    play.say("partners", f"three hospitals make their keys and seal their rows: {_names()}")
    return [Owner(name=name, folder=hospitals / name) for name in PARTNERS]


def _members(play: Rehearsal) -> Members:
    return Members(folder=play.folder, place="hospitals", names=PARTNERS)


def _names() -> str:
    return ", ".join(PARTNERS)


def _agree(play: Rehearsal) -> Manifest:
    """Wait for the engineer's enrolment, and write the manifest that the others approve."""
    members = _members(play)
    enrolments = members.enrol()
    owners = [Owner(name=name, folder=play.folder / "hospitals" / name) for name in PARTNERS]
    seal_data(play.group, owners, "data")
    play.say("waiting", f"send {ENROLMENT} (fedenclave client enroll): put it into inbox/")
    first = play.folder / "first-model.npz"
    run_module(APP, "hospital.initial_model", ["--out", str(first)])
    yours = play.wait_for(ENROLMENT, _enrolment)
    return members.agree("rehearsal", [*enrolments, yours], RULES, first)


def _enrolment(path: Path) -> Enrolment:
    found = read_enrolment(path)
    if found.member in PARTNERS or found.client in {f"{name}-1" for name in PARTNERS}:
        raise ConfigurationError(
            f"organisation is {found.member}, which takes part already",
            hint="enrol under another name, in another folder",
        )
    return found


def _hand_out(play: Rehearsal, manifest: Manifest) -> None:
    for name in ("federation.toml", "first-model.fem"):
        shutil.copyfile(play.folder / name, play.outbox / name)
    shutil.copytree(play.folder / "approvals", play.outbox / "approvals")
    approving = f"{manifest.threshold} of {manifest.threshold}"
    play.say("manifest", f"the rules are in outbox/federation.toml, and need {approving} approvals")
    play.say("waiting", "send your ORGANISATION.approval (fedenclave federation approve)")


def _take_approval(play: Rehearsal, manifest: Manifest) -> None:
    members = _members(play)
    yours = {member.name for member in manifest.members} - set(PARTNERS)

    def read(path: Path) -> bytes:
        data = read_file(path, "approval")
        if approving_members(manifest, [data]) != yours:
            raise ConfigurationError(
                f"{path.name} is no approval of outbox/federation.toml by {', '.join(yours)}",
                hint="fedenclave federation approve outbox/federation.toml --dir YOUR-FOLDER",
            )
        return data

    data = play.wait_for("*.approval", read)
    for name in PARTNERS:
        members.folder_of(name).add_approval(data)
    write_whole(play.folder / "approvals" / f"{yours.pop()}.approval", data)


def _public_key(path: Path) -> Path:
    text = read_file(path, "node key").decode("ascii", "replace")
    if not _PUBLIC_KEY.fullmatch(text):
        raise ConfigurationError(
            f"{path.name} is not a node's public key",
            hint="send node.key.pub, and never node.key; delete what you have sent",
        )
    return path
