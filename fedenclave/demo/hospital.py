"""The main job, start to end: four hospitals train one model that nobody but the enclave averaged.

Everything is a real process on loopback: SuperLink, four SuperNodes, gateway, enclave, ServerApp,
with TLS and node authentication. It ends cleanly, whatever happens.

What it does not show: a TEE. The enclave is a hardened process, and all of it says `insecure`.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fedenclave.attestation.endorsements import read_endorsements
from fedenclave.audit.folder import JudgedFile, contradictions, judge_files
from fedenclave.demo.apps import app_folder, run_module, run_module_json
from fedenclave.demo.deployment import FlowerDeployment, Node
from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.federation import APP, HOSPITALS, DemoFederation, agree, enrol, write_data
from fedenclave.demo.operator import SWAPPED_FILE, change_a_line, start_aggregator
from fedenclave.demo.processes import ProcessGroup
from fedenclave.demo.records import write_evidence
from fedenclave.demo.settings import Setting

MARKER = "made-by-fedenclave-demo"
SPLITS = 20
_ROUND = re.compile(r"\[ROUND (\d+)/(\d+)\]")
_REFUSED = re.compile(r"no update from one node: (.*)")

Say = Callable[[str, str], None]
Advance = Callable[[int, int], None]


@dataclass(kw_only=True)
class DemoResult:
    """What a person looks at afterwards."""

    folder: Path
    results: dict[str, object]
    receipts: dict[str, list[JudgedFile]]
    contradictions: list[str]
    swapped_file: str
    refusals: list[str] = field(default_factory=list)
    sealed_for_swapped: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every receipt is valid, none contradicts another, and the attack failed."""
        valid = all(f.verified is not None for files in self.receipts.values() for f in files)
        complete = all(self.receipts.get(name) for name in HOSPITALS)
        attack_failed = len(self.refusals) == len(HOSPITALS) and not self.sealed_for_swapped
        return valid and complete and not self.contradictions and attack_failed


def prepare_folder(folder: Path, say: Say) -> None:
    """Make an empty folder; replace one that an earlier demonstration made, and no other.

    Raises:
        DeploymentError: it exists and is somebody else's, or it cannot be made.
    """
    try:
        if folder.exists():
            if not (folder / MARKER).is_file() and any(folder.iterdir()):
                raise DeploymentError(
                    f"{folder} exists and was not made by the demonstration",
                    hint="name another one: fedenclave demo --folder ...",
                )
            say("folder", f"replacing what an earlier demonstration left in {folder.name}")
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        (folder / MARKER).write_text("delete this folder whenever you like\n")
    except OSError as error:
        raise DeploymentError(
            f"cannot use folder {folder}: {error.strerror}", hint="name another one: --folder ..."
        ) from error


def run_demo(folder: Path, *, rounds: int, say: Say, advance: Advance) -> DemoResult:
    """Run it all.

    Args:
        folder: for everything that is made; see `prepare_folder`.
        rounds: rounds of training.
        say: told each step: what is done, and why.
        advance: told the round that begins and how many there are; the last call is (n, n).

    Raises:
        FedEnclaveError: something did not work; every process has ended.
    """
    # Absolute once: the programs started below have working folders of their own.
    folder = folder.resolve()
    prepare_folder(folder, say)
    say("data", "each hospital's patients go into a folder of its own, and never leave it")
    write_data(folder)
    say("keys", "each hospital makes its own keys; the operator never sees a private one")
    enrolments = enrol(folder)
    say("rules", "the rules are one file, federation.toml; all four hospitals approve its bytes")
    federation = agree(folder, enrolments)
    with ProcessGroup(folder / "flower") as group:
        say("enclave", "the operator starts enclave and gateway; it can relay, and open nothing")
        aggregator = start_aggregator(group, folder, "aggregator")
        deployment = FlowerDeployment(group, _nodes(federation))
        deployment.start(on_step=lambda step: say("flower", step))
        say("rounds", "hospitals appraise the enclave, train, seal; the enclave averages")
        config: dict[str, Setting] = {
            "num-server-rounds": rounds,
            "aggregator": aggregator.address,
            "root-certificate": str(aggregator.root_certificate),
            "models-dir": str(folder / "models"),
        }
        app = app_folder(APP)
        deployment.run(app, config, on_line=lambda line: _follow(line, advance))
        advance(rounds, rounds)
        say("attack", f"now the operator adds one line to {SWAPPED_FILE} and starts that instead")
        swapped = start_aggregator(
            group, folder, "swapped-aggregator", code=change_a_line(folder / "swapped-code")
        )
        lines: list[str] = []
        attack: dict[str, Setting] = {
            **config,
            "num-server-rounds": 1,
            "aggregator": swapped.address,
            "root-certificate": str(swapped.root_certificate),
            "models-dir": "",
        }
        deployment.run(app, attack, on_line=lines.append)
        say("ending", "all processes end")
    say("comparison", "what is the model worth? alone, together, and with all data in one place")
    results = _compare(folder)
    return _judge(federation, results, lines, rounds)


def _nodes(federation: DemoFederation) -> list[Node]:
    return [
        Node(
            name=name,
            config={
                "fedenclave-dir": str(federation.hospital(name).path),
                "data-path": str(federation.data(name)),
            },
        )
        for name in HOSPITALS
    ]


def _follow(line: str, advance: Advance) -> None:
    found = _ROUND.search(line)
    if found is not None:
        advance(int(found.group(1)) - 1, int(found.group(2)))


def _compare(folder: Path) -> dict[str, object]:
    models = str(folder / "models")
    results = run_module_json(
        APP, "hospital.baselines", ["--splits", str(SPLITS), "--models", models]
    )
    (folder / "results.json").write_text(json.dumps(results, indent=2))
    run_module(APP, "hospital.plot", [str(folder / "results.json"), str(folder / "results.png")])
    return results


def _judge(
    federation: DemoFederation, results: dict[str, object], attack_lines: list[str], rounds: int
) -> DemoResult:
    """Verify every hospital's receipts as an auditor would: from the files alone."""
    receipts = {}
    for name in HOSPITALS:
        hospital = federation.hospital(name)
        receipts[name] = judge_files(
            hospital.receipts(),
            hospital.manifest(),
            read_endorsements(hospital.path, hospital.manifest()),
        )
    valid = [f.verified for files in receipts.values() for f in files if f.verified is not None]
    write_evidence(federation.folder, receipts)
    # What a hospital sealed last, by its own record: the swapped enclave's round would show here.
    sealed = {name: federation.hospital(name).session().state.sealed_round for name in HOSPITALS}
    return DemoResult(
        folder=federation.folder,
        results=results,
        receipts=receipts,
        contradictions=contradictions(valid),
        swapped_file=SWAPPED_FILE,
        refusals=[found.group(1) for line in attack_lines if (found := _REFUSED.search(line))],
        sealed_for_swapped=[name for name in HOSPITALS if sealed[name] != rounds],
    )
