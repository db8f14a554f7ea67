"""Nine banks learn together which loans are not paid back; then: was it worth it?

Keys, approvals, manifest, gateway, enclave, sealed updates and receipts are the real ones.
SuperLink and SuperNodes are simulated by Flower's engine, or are real processes (`processes`).

What it does not show: a TEE. The enclave is a hardened process that nobody vouches for: whatever is
printed or written says `insecure`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedenclave.audit.folder import JudgedFile, contradictions
from fedenclave.datasets.node_data import NodeData
from fedenclave.demo.apps import app_folder, python_path, run_module, run_module_json
from fedenclave.demo.deployment import RUN_TIMEOUT_S, SLOW_HINT, FlowerDeployment, Node
from fedenclave.demo.hospital import prepare_folder
from fedenclave.demo.members import Members
from fedenclave.demo.operator import RunningAggregator, start_aggregator
from fedenclave.demo.owner import DATASET, KEYRING, PASSPHRASE, Owner, seal_data
from fedenclave.demo.processes import ProcessGroup
from fedenclave.demo.records import write_proofs
from fedenclave.demo.rounds import Advance, Say, follow
from fedenclave.demo.tee import WORDS, Tee
from fedenclave.node.settings import Setting
from fedenclave.protocol.manifest import Rules
from fedenclave.protocol.statements import NO_DATA

APP = "bank"
BANKS = (
    *("new-england", "middle-atlantic", "east-north-central", "west-north-central"),
    *("south-atlantic", "east-south-central", "west-south-central", "mountain", "pacific"),
)
_PLAIN = "data"
ROUNDS = 12
SPLITS = 8

RULES = Rules(
    weighting="examples",
    weighted_by="num-examples",
    weight_cap=5000,
    # A feature is at most 5 on the agreed scale, so a mean square is at most 25, and the 19 of them
    # have a norm of at most 109: no bank's moments are rejected.
    max_abs=32.0,
    max_norm=128.0,
    over_norm="reject",
    min_cohort=7,
    metrics=("validation-loss",),
)

MOST_DIFFERENCE = 1e-4
"""Between the released models and plain averages in memory: float32 and another order of sums."""

MOST_MOMENTS_DIFFERENCE = 1e-9
"""Between the released moments and those of all loans in one place."""


@dataclass(frozen=True, kw_only=True)
class BankResult:
    """What a person looks at afterwards."""

    folder: Path
    rounds: int
    processes: bool
    results: dict[str, Any]
    receipts: dict[str, list[JudgedFile]]
    contradictions: list[str]

    @property
    def claims(self) -> dict[str, bool]:
        """What the demonstration is to show, and whether it did."""
        run, gain = self.results["run"], self.results["gain"]["mean of banks"]
        return {
            "every bank has a valid receipt of every round": all(map(self._whole, BANKS)),
            "every receipt names the sealed loans that were trained on": all(
                file.verified is not None and file.verified.data != NO_DATA
                for files in self.receipts.values()
                for file in files
            ),
            "no receipt contradicts another": not self.contradictions,
            "the moments from the enclave are those of all loans in one place": run[
                "moments_difference"
            ]
            <= MOST_MOMENTS_DIFFERENCE,
            "the released models are the plain averages": run["largest_difference"]
            <= MOST_DIFFERENCE,
            "loans are ranked better together than alone (mean of banks)": gain["gain"] > 0,
        }

    @property
    def holds(self) -> bool:
        """Whether it did."""
        return all(self.claims.values())

    def _whole(self, bank: str) -> bool:
        valid = [file.verified for file in self.receipts.get(bank, ()) if file.verified is not None]
        counted = {receipt.round for receipt in valid if receipt.verdict.value == "included"}
        return len(valid) == len(self.receipts[bank]) and counted == {*range(1, self.rounds + 1)}


def run_bank_demo(
    folder: Path,
    *,
    rounds: int = ROUNDS,
    splits: int = SPLITS,
    processes: bool = False,
    say: Say,
    advance: Advance,
) -> BankResult:
    """Run it all.

    Args:
        folder: for everything that is made; see `prepare_folder`.
        rounds: at least 3: the first is for the moments, and the last model is not judged.
        splits: how many splits of the loans the comparison is over.
        processes: run SuperLink and nine SuperNodes as processes, where Flower's engine would
            simulate them.
        say: told each step.
        advance: told the round that begins and how many there are; the last call is (n, n).

    Raises:
        FedEnclaveError: something did not work; every process has ended.
    """
    folder = folder.resolve()
    prepare_folder(folder, say)
    members = Members(folder=folder, place="banks", names=BANKS)
    _write_data(members)
    say("keys", "each bank makes its own keys; the operator never sees a private one")
    enrolments = members.enrol()
    owners = [Owner(name=name, folder=members.folder_of(name).path) for name in BANKS]
    with ProcessGroup(folder / "flower") as group:
        say("data", "each bank seals its loans in its own folder: no plain text stays")
        seal_data(group, owners, _PLAIN)
        say("rules", "the rules are one file, federation.toml; all nine banks approve its bytes")
        first = folder / "first-model.npz"
        run_module(APP, "bank.parameters", ["--out", str(first)])
        members.agree("loans", enrolments, RULES, first)
        say("enclave", "the operator starts enclave and gateway; it can relay, and open nothing")
        aggregator = start_aggregator(group, folder, "aggregator", tee="insecure")
        config = _run_config(folder, rounds, aggregator)
        say("rounds", "first the means and squares of all features, then training; all sealed")
        if processes:
            _run_processes(group, owners, config, say, advance)
        else:
            _run_simulation(group, owners, config, advance)
        advance(rounds, rounds)
        say("ending", "all processes end")
    say(
        "comparison",
        f"was it worth it? alone, together, in one place; {splits} splits of the loans",
    )
    results = _compare(folder, splits)
    return _judge(members, rounds, processes, results)


def _write_data(members: Members) -> None:
    """Split the table: each bank's loans into its own folder, in plain text until they are sealed.

    Raises:
        DeploymentError: the data set is not installed.
    """
    place = members.folder / members.place
    run_module(APP, "bank.lending_club", ["--out", str(place)])
    for name in members.names:
        target = place / name / _PLAIN / f"{name}.csv"
        target.parent.mkdir(parents=True)
        (place / target.name).rename(target)


def _run_config(folder: Path, rounds: int, aggregator: RunningAggregator) -> Mapping[str, Setting]:
    return {
        "num-server-rounds": rounds,
        "aggregator": aggregator.address,
        "root-certificate": str(aggregator.root_certificate),
        "models-dir": str(folder / "models"),
    }


def _node_config(owner: Owner) -> dict[str, Setting]:
    """Return what an owner's node tells its app."""
    held = NodeData(dataset=DATASET, keys=f"keyring:{KEYRING}", passphrase_file=PASSPHRASE)
    return {"fedenclave-dir": str(owner.folder), **held.below(owner.folder).settings()}


def _run_processes(
    group: ProcessGroup,
    owners: Sequence[Owner],
    config: Mapping[str, Setting],
    say: Say,
    advance: Advance,
) -> None:
    nodes = [Node(name=owner.name, owner=owner) for owner in owners]
    deployment = FlowerDeployment(group, nodes, app=app_folder(APP))
    deployment.start(on_step=lambda step: say("flower", step))
    deployment.run(
        app_folder(APP),
        config,
        on_line=lambda line: follow(line, advance),
        # Nine nodes on few cores: a round takes half a minute on two.
        timeout_s=2 * RUN_TIMEOUT_S,
    )


def _run_simulation(
    group: ProcessGroup, owners: Sequence[Owner], config: Mapping[str, Setting], advance: Advance
) -> None:
    settings = group.folder / "simulation.json"
    told = {"nodes": [_node_config(owner) for owner in owners], "run-config": dict(config)}
    settings.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    child = group.start(
        "simulation",
        [sys.executable, "-m", "bank.simulated", str(settings)],
        environment={"PYTHONPATH": python_path(APP)},
    )
    exit_code = group.follow(
        child, lambda line: follow(line, advance), timeout_s=RUN_TIMEOUT_S, hint=SLOW_HINT
    )
    if exit_code != 0:
        raise child.failure(f"failed (exit code {exit_code})", "read the whole log")


def _compare(folder: Path, splits: int) -> dict[str, Any]:
    told = ["--splits", str(splits), "--run", str(folder / "models")]
    results: dict[str, Any] = run_module_json(APP, "bank.baselines", told)
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    run_module(APP, "bank.plot", [str(folder / "results.json"), str(folder / "results.png")])
    return results


def _judge(members: Members, rounds: int, processes: bool, results: dict[str, Any]) -> BankResult:
    receipts = members.receipts()
    write_proofs(members.folder, receipts)
    (members.folder / "README.txt").write_text(
        _GUIDE.format(ending=WORDS[Tee.INSECURE].ending), encoding="utf-8"
    )
    valid = [f.verified for files in receipts.values() for f in files if f.verified is not None]
    return BankResult(
        folder=members.folder,
        rounds=rounds,
        processes=processes,
        results=results,
        receipts=receipts,
        contradictions=contradictions(valid, now=int(time.time())),
    )


_GUIDE = """What is in this folder

federation.toml        the rules that all nine banks approved
approvals/             their signed approvals
first-model.fem, .npz  the model that everybody agreed to start from: no moments, no weights
banks/NAME/            what a bank has on its own machine: keys, receipts, newest model; its loans
                       sealed (sealed/, under keyring), and what stands for them in the log
                       (lineage/). The keyring's passphrase lies beside it only here: keep it
                       elsewhere
evidence/              the enclave's evidence, round by round, and what the receipts prove, as JSON
models/                the released models, round by round; round-01 is the mean and square of every
                       feature over all banks, and nothing else yet. run.json: validation losses
aggregator/            what the operator has: models, logs; ciphertext only while it runs
flower/                logs of the run
results.json, .png     loans ranked by local, federated and pooled models, and how true their
                       probabilities are

Try, with the environment of the demonstration active (make demo-bank: . .venv/bin/activate):
  fedenclave receipts verify banks/mountain
  fedenclave receipts contains banks/mountain --client mountain-1
  fedenclave federation show federation.toml --approvals approvals
  cd banks/mountain
  export FEDENCLAVE_KEYRING=keyring FEDENCLAVE_PASSPHRASE_FILE=keyring.passphrase
  fedenclave data open sealed
  fedenclave data prove sealed --round 1 --client .
Then change one byte of a receipt, or of sealed/body-*, and verify or prove again.

{ending}"""
