"""The main job, start to end: four hospitals train one model that nobody but the enclave averaged.

Everything is a real process on loopback: SuperLink, four nodes, gateway, enclave, ServerApp, with
TLS and node authentication; each hospital's side is the commands that a hospital types. It ends
cleanly, whatever happens.

What it does not show: a TEE. The enclave is a hardened process, and nobody vouches for it, or a
software TPM that the demonstration itself runs: whatever is printed or written says `insecure`.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedenclave.audit.folder import JudgedFile, contradictions
from fedenclave.client.folder import ClientFolder
from fedenclave.demo.apps import app_folder, run_module, run_module_json
from fedenclave.demo.changed_app import ChangedApp, change_app, ship
from fedenclave.demo.deployment import FlowerDeployment, Node
from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.federation import (
    APP,
    HOSPITALS,
    DemoFederation,
    agree,
    enrol,
    members_in,
    write_data,
)
from fedenclave.demo.logs import LogReader
from fedenclave.demo.operator import (
    SWAPPED_FILE,
    RunningAggregator,
    change_a_line,
    start_aggregator,
)
from fedenclave.demo.owner import Owner, seal_data
from fedenclave.demo.processes import ProcessGroup
from fedenclave.demo.records import write_evidence
from fedenclave.demo.rounds import Advance, Say, follow
from fedenclave.demo.software_tpm import SoftwareTpm
from fedenclave.demo.tee import Tee
from fedenclave.demo.tpm_enrolment import enrol_machine
from fedenclave.node.settings import Setting, write_settings
from fedenclave.protocol.statements import NO_DATA

MARKER = "made-by-fedenclave-demo"
SPLITS = 20
_REFUSED = re.compile(r".*launcher: error: (evidence is refused.*)")


@dataclass(kw_only=True)
class DemoResult:
    """What a person looks at afterwards."""

    folder: Path
    tee: Tee
    results: dict[str, object]
    receipts: dict[str, list[JudgedFile]]
    contradictions: list[str]
    swapped_file: str
    changed_app: ChangedApp
    refusals: list[str] = field(default_factory=list)
    sealed_for_swapped: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every receipt is valid, none contradicts another, and the attacks failed.

        And each says which sealed data were trained on.
        """
        valid = all(f.verified is not None for files in self.receipts.values() for f in files)
        complete = all(self.receipts.get(name) for name in HOSPITALS)
        attack_failed = len(self.refusals) == len(HOSPITALS) and not self.sealed_for_swapped
        attack_failed = attack_failed and self.changed_app.failed(len(HOSPITALS))
        named = all(
            f.verified.data != NO_DATA
            for files in self.receipts.values()
            for f in files
            if f.verified is not None
        )
        return valid and complete and named and not self.contradictions and attack_failed


def prepare_folder(folder: Path, say: Say) -> None:
    """Make an empty folder. What an earlier demonstration left there is deleted, and nothing else.

    It is this process's from then on, until it ends: another one refuses to replace it.

    Raises:
        DeploymentError: it holds what is somebody else's, or a demonstration that still runs; it
            cannot be made, or is called what one of the programs cannot read.
    """
    _check_path(folder)
    try:
        if folder.exists():
            left = any(folder.iterdir())
            if left and not (folder / MARKER).is_file():
                raise DeploymentError(
                    f"{folder} exists and was not made by the demonstration",
                    hint="name another one: fedenclave demo --folder ...",
                )
            if left:
                _hold(folder / MARKER)
                say("folder", f"replacing what an earlier demonstration left in {folder.name}")
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        _hold(folder / MARKER)
    except OSError as error:
        raise DeploymentError(
            f"cannot use folder {folder}: {error.strerror}", hint="name another one: --folder ..."
        ) from error


_held: dict[Path, int] = {}


def _hold(marker: Path) -> None:
    """Lock a demonstration's marker until this process ends, and say in it whose it is."""
    if (before := _held.pop(marker, None)) is not None:
        os.close(before)  # this process's own, of a demonstration that is over
    descriptor = os.open(marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        whose = os.read(descriptor, 200).decode(errors="replace").strip().rpartition("\n")[2]
        os.close(descriptor)
        raise DeploymentError(
            f"a demonstration still runs in {marker.parent}: {whose or 'another'}",
            hint="end it, or name another folder: --folder ...",
        ) from error
    os.truncate(descriptor, 0)
    os.write(descriptor, f"delete this folder whenever you like\nprocess {os.getpid()}\n".encode())
    _held[marker] = descriptor


def _check_path(folder: Path) -> None:
    wrong = ""
    try:
        write_settings({"folder": str(folder)})
    except ValueError:
        wrong = "Flower's settings cannot say that"
    # The copy with the changed line is found by PYTHONPATH; cut apart, the honest one would run.
    if os.pathsep in str(folder):
        wrong = f"a list of folders ends at {os.pathsep!r}"
    if wrong:
        raise DeploymentError(
            f"folder is {str(folder)[:200]!a}: {wrong}",
            hint="name one without quotes, backslashes, control characters and "
            f"{os.pathsep!r}: --folder ...",
        )


def run_demo(
    folder: Path, *, rounds: int, tee: Tee = Tee.INSECURE, say: Say, advance: Advance
) -> DemoResult:
    """Run it all.

    Args:
        folder: for everything that is made; see `prepare_folder`.
        rounds: rounds of training.
        tee: what vouches for the enclave.
        say: told each step: what is done, and why.
        advance: told the round that begins and how many there are; the last call is (n, n).

    Raises:
        FedEnclaveError: something did not work; every process has ended.
    """
    # Absolute once: the programs started below have working folders of their own.
    folder = folder.resolve()
    # Checked first: without it nothing that an earlier demonstration left is replaced.
    tpm = SoftwareTpm(folder / "tpm") if tee is Tee.TPM else None
    prepare_folder(folder, say)
    write_data(folder)
    say("keys", "each hospital makes its own keys; the operator never sees a private one")
    enrolments = enrol(folder)
    owners = [Owner(name=name, folder=folder / "hospitals" / name) for name in HOSPITALS]
    with ProcessGroup(folder / "flower") as group:
        say("data", "each hospital seals its patients' rows in its own folder: no plain text stays")
        seal_data(group, owners, "data")
        pins = "" if tpm is None else _enrol_machine(tpm, group, folder, say)
        say(
            "rules", "the rules are one file, federation.toml; all four hospitals approve its bytes"
        )
        federation = agree(folder, enrolments, attestation=pins)
        say("enclave", "the operator starts enclave and gateway; it can relay, and open nothing")
        aggregator = start_aggregator(group, folder, "aggregator", tee=_vouching(tpm))
        nodes = [Node(name=owner.name, owner=owner) for owner in owners]
        deployment = FlowerDeployment(group, nodes, app=app_folder(APP))
        deployment.start(on_step=lambda step: say("flower", step))
        say("rounds", "hospitals appraise the enclave, train, seal; the enclave averages")
        config: dict[str, Setting] = {
            "num-server-rounds": rounds,
            "aggregator": aggregator.address,
            "root-certificate": str(aggregator.root_certificate),
            "models-dir": str(folder / "models"),
        }
        deployment.run(app_folder(APP), config, on_line=lambda line: follow(line, advance))
        advance(rounds, rounds)
        say("attack", "the operator ships an app that seals nothing: no node has approved it")
        logs = {owner.name: owner.log_reader() for owner in owners}
        for log in logs.values():
            log.new_lines()  # of the rounds before
        changed_app = ship(deployment, change_app(folder / "changed-app"), logs)
        say("attack", f"now the operator adds one line to {SWAPPED_FILE} and starts that instead")
        if tpm is not None:
            say("attack", "for that the machine starts anew: until then its TPM knows the old code")
            group.stop([aggregator.child])
            tpm.restart(group)
        swapped = start_aggregator(
            group,
            folder,
            "swapped-aggregator",
            tee=_vouching(tpm),
            code=change_a_line(folder / "swapped-code"),
        )
        refusals = _offer_one_round(deployment, config, swapped, list(logs.values()))
        say("ending", "all processes end")
    say("comparison", "what is the model worth? alone, together, and with all data in one place")
    results = _compare(folder)
    return _judge(federation, tee, results, (changed_app, refusals), rounds)


def _enrol_machine(tpm: SoftwareTpm, group: ProcessGroup, folder: Path, say: Say) -> str:
    """Start a TPM, enrol it with the hospitals, and return what they pin of it."""
    say("tpm", "a software TPM is made and switched on (insecure: the operator runs it)")
    tpm.make(group)
    tpm.switch_on(group)
    say("tpm", "each hospital verifies its certificates and challenges it; only it can answer")
    folders = {name: ClientFolder(folder / "hospitals" / name) for name in HOSPITALS}
    return enrol_machine(tpm, folders)


def _vouching(tpm: SoftwareTpm | None) -> str:
    """Return what an aggregator's configuration calls that which vouches for the enclave."""
    return "insecure" if tpm is None else tpm.tee


def _offer_one_round(
    deployment: FlowerDeployment,
    config: Mapping[str, Setting],
    swapped: RunningAggregator,
    logs: Sequence[LogReader],
) -> list[str]:
    """Run one round with the changed enclave; return the refusal in each hospital's own log.

    What a hospital tells the server says less.
    """
    for log in logs:
        log.new_lines()  # of what came before
    attack: dict[str, Setting] = {
        **config,
        "num-server-rounds": 1,
        "aggregator": swapped.address,
        "root-certificate": str(swapped.root_certificate),
        "models-dir": "",
    }
    deployment.run(app_folder(APP), attack)
    refusals = [
        [found for line in log.new_lines() if (found := _REFUSED.match(line))] for log in logs
    ]
    return [found[-1].group(1) for found in refusals if found]


def _compare(folder: Path) -> dict[str, object]:
    models = str(folder / "models")
    results = run_module_json(
        APP, "hospital.baselines", ["--splits", str(SPLITS), "--models", models]
    )
    (folder / "results.json").write_text(json.dumps(results, indent=2))
    run_module(APP, "hospital.plot", [str(folder / "results.json"), str(folder / "results.png")])
    return results


def _judge(
    federation: DemoFederation,
    tee: Tee,
    results: dict[str, object],
    attacks: tuple[ChangedApp, list[str]],
    rounds: int,
) -> DemoResult:
    """Verify every hospital's receipts as an auditor would: from the files alone."""
    receipts = members_in(federation.folder).receipts()
    valid = [f.verified for files in receipts.values() for f in files if f.verified is not None]
    write_evidence(federation.folder, receipts, tee)
    # What a hospital sealed last, by its own record: the swapped enclave's round would show here.
    sealed = {name: federation.hospital(name).session().state.sealed_round for name in HOSPITALS}
    return DemoResult(
        folder=federation.folder,
        tee=tee,
        results=results,
        receipts=receipts,
        contradictions=contradictions(valid, now=int(time.time())),
        swapped_file=SWAPPED_FILE,
        changed_app=attacks[0],
        refusals=attacks[1],
        sealed_for_swapped=[name for name in HOSPITALS if sealed[name] != rounds],
    )
