"""Three hospitals and their pictures: folders of PNG files, sealed at rest, trained on as they are.

Simulated, so that several seeds fit into minutes: one process trains for every hospital, and holds
all their keys. What it does with them is what a node and an enclave do: the pictures are read out
of sealed datasets, the updates sealed, admitted, averaged and receipted by a real enclave process,
in development mode. `fedenclave demo` runs the nodes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedenclave.attestation.endorsements import NO_ENDORSEMENTS
from fedenclave.audit.folder import JudgedFile, contradictions, judge_files
from fedenclave.client.files import read_file
from fedenclave.demo.apps import run_module_json, run_module_lines
from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.hospital import prepare_folder
from fedenclave.demo.owner import DATASET, Owner, seal_data
from fedenclave.demo.processes import ProcessGroup
from fedenclave.demo.rounds import Say
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.manifest import Manifest

APP = "scans"
PLAIN = "pictures"

_GUIDE = """What is in this folder

seed-N/                    one federation of the comparison; each has its own pictures
seed-N/federation.toml     the rules it ran under (development: one process made them)
seed-N/HOSPITAL/sealed/    a hospital's pictures, sealed under its keyring
seed-N/HOSPITAL/receipts/  what proves that its update was averaged, with whom, and on which data
results.json               local, federated and pooled models compared
flower/logs/               what the commands wrote that sealed the pictures

The pictures: {images}. Nobody's scans.

Try, with the environment of the demonstration active (make demo: . .venv/bin/activate):
  fedenclave receipts verify seed-0/north --manifest seed-0/federation.toml
  cd seed-0/north
  export FEDENCLAVE_KEYRING=keyring FEDENCLAVE_PASSPHRASE_FILE=keyring.passphrase
  fedenclave data open sealed
  fedenclave data verify sealed
Then change one byte of sealed/body-*, and verify again.

All of it ran in development mode (insecure): no hardware vouches for the enclave's code, and one
process held every hospital's keys.
"""


@dataclass(kw_only=True)
class ScansResult:
    """What a person looks at afterwards.

    Attributes:
        folder: where everything lies.
        images: what the pictures are.
        results: what `scans.measure` found.
        receipts: of all seeds, by hospital.
        contradictions: between receipts.
        rounds: of each seed.
    """

    folder: Path
    images: str
    results: dict[str, Any]
    receipts: dict[str, list[JudgedFile]]
    contradictions: list[str]
    rounds: int

    @property
    def holds(self) -> bool:
        """Whether there is a valid receipt for every update, each naming the sealed pictures."""
        seeds = range(int(self.results["seeds"]))
        for name, files in self.receipts.items():
            named = [to_text(f.verified.data) for f in files if f.verified is not None]
            wanted = [
                self.results["data"][seed][name] for seed in seeds for _ in range(self.rounds)
            ]
            if named != wanted:
                return False
        return bool(self.receipts) and not self.contradictions


def run_scans(
    folder: Path, *, seeds: int, data: str, say: Say, advance: Callable[[int, int], None]
) -> ScansResult:
    """Run it all.

    Args:
        folder: for everything that is made; see `prepare_folder`.
        seeds: federations, each with pictures dealt anew.
        data: a folder with the four files of a set like MNIST; `made-up`; or empty for what is
            installed.
        say: told each step: what is done, and why.
        advance: told how many steps of training are done, and how many there are.

    Raises:
        FedEnclaveError: something did not work; every process has ended.
    """
    folder = folder.resolve()
    prepare_folder(folder, say)
    with ProcessGroup(folder / "flower") as group:
        say("pictures", "each hospital's pictures go into a folder of its own, as PNG files")
        owners, images = _deal(folder, seeds, data)
        say(
            "sealing", f"fedenclave data seal, for each of {len(owners)} folders; no PNG file stays"
        )
        seal_data(group, owners, PLAIN)
        _check_sealed(owners)
        say("training", "alone, through the enclave, and with all pictures in one place")
        results = _measure(folder, seeds, advance)
    (folder / "results.json").write_text(json.dumps({"images": images, **results}, indent=2))
    (folder / "README.txt").write_text(_GUIDE.format(images=images))
    say("receipts", "every receipt is verified from the files alone")
    return _judge(folder, images, results)


def _deal(folder: Path, seeds: int, data: str) -> tuple[list[Owner], str]:
    """Write every hospital's pictures; return whose they are, and what."""
    owners, images = [], ""
    for seed in range(seeds):
        target = folder / f"seed-{seed}"
        words = ["--out", str(target), "--seed", str(seed), *(["--data", data] if data else [])]
        dealt = run_module_json("simulation", "gallery.folders", words)
        images = str(dealt["images"])
        for place in sorted(path for path in target.iterdir() if path.is_dir()):
            parts = list(place.iterdir())
            (place / PLAIN).mkdir()
            for part in parts:
                part.rename(place / PLAIN / part.name)
            owners.append(Owner(name=f"{seed}-{place.name}", folder=place))
    return owners, images


def _check_sealed(owners: Sequence[Owner]) -> None:
    left = [path for owner in owners for path in owner.folder.rglob("*.png")]
    unsealed = [owner.name for owner in owners if not (owner.folder / DATASET / "head").is_file()]
    if left or unsealed:
        raise DeploymentError(
            f"{len(left)} pictures lie there in plain text, {len(unsealed)} hospitals' are not "
            "sealed",
            hint="start again with an empty folder",
        )


def _measure(folder: Path, seeds: int, advance: Callable[[int, int], None]) -> dict[str, Any]:
    planned = 0
    words = ["--folder", str(folder), "--seeds", str(seeds)]
    for line in run_module_lines(APP, "scans.measure", words):
        planned = int(line.get("planned", planned))
        if "done" in line:
            advance(int(line["done"]), planned)
        if "results" in line:
            results: dict[str, Any] = line["results"]
            return results
    raise DeploymentError("the comparison ended without results")


def _judge(folder: Path, images: str, results: dict[str, Any]) -> ScansResult:
    """Verify every hospital's receipts as an auditor would: from the files alone."""
    receipts: dict[str, list[JudgedFile]] = {}
    against: list[str] = []
    for seed in range(int(results["seeds"])):
        place = folder / f"seed-{seed}"
        manifest = Manifest.from_bytes(read_file(place / "federation.toml", "manifest"))
        judged: list[JudgedFile] = []
        for name in results["data"][seed]:
            files = sorted((place / name / "receipts").glob("*.receipt"))
            of_hospital = judge_files(files, manifest, NO_ENDORSEMENTS)
            receipts.setdefault(name, []).extend(of_hospital)
            judged += of_hospital
        valid = [file.verified for file in judged if file.verified is not None]
        against += contradictions(valid, now=int(time.time()))
    return ScansResult(
        folder=folder,
        images=images,
        results=results,
        receipts=receipts,
        contradictions=against,
        rounds=int(results["setting"]["rounds"]),
    )
