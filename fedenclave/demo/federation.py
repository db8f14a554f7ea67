"""Set up the demonstration's federation: four hospitals' folders, one manifest, all approvals."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fedenclave.client.files import write_whole
from fedenclave.client.folder import ClientFolder
from fedenclave.client.identity import Identity
from fedenclave.demo.apps import run_module
from fedenclave.host.enclave_process import measure_enclave
from fedenclave.membership.enrolment import Enrolment, roster_of
from fedenclave.membership.first_model import read_first_model
from fedenclave.protocol.digests import Digest, from_text
from fedenclave.protocol.manifest import Manifest, Rules
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.statements import Suite

HOSPITALS = ("cleveland", "hungary", "switzerland", "long-beach-va")
APP = "hospital"

RULES = Rules(
    weighting="examples",
    weighted_by="num-examples",
    weight_cap=1000,
    max_abs=10.0,
    max_norm=10.0,
    over_norm="reject",
    min_cohort=3,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFederation:
    """Where things lie."""

    folder: Path
    manifest: Manifest

    def hospital(self, name: str) -> ClientFolder:
        """Return a hospital's own folder."""
        return ClientFolder(self.folder / "hospitals" / name)

    def data(self, name: str) -> Path:
        """Return the file of a hospital's own rows."""
        return self.folder / "hospitals" / name / "data" / f"{name}.csv"


def write_data(folder: Path) -> None:
    """Split the data set: each hospital's rows into its own folder.

    Raises:
        DeploymentError: the data set is not installed.
    """
    staging = folder / "hospitals"
    run_module(APP, "hospital.uci", ["--out", str(staging)])
    for name in HOSPITALS:
        target = staging / name / "data"
        target.mkdir(parents=True)
        (staging / f"{name}.csv").rename(target / f"{name}.csv")


def enrol(folder: Path) -> list[Enrolment]:
    """Make every hospital's keys in its own folder."""
    enrolments = []
    for name in HOSPITALS:
        client = ClientFolder.create(
            folder / "hospitals" / name, Identity(client=f"{name}-1", member=name)
        )
        client_key, member_key = client.public_keys()
        enrolments.append(
            Enrolment(client=f"{name}-1", member=name, client_key=client_key, member_key=member_key)
        )
    return enrolments


def _own_measurement() -> Digest:
    """Return what the hospitals' own copy of the enclave's code measures."""
    return from_text(str(json.loads(measure_enclave())["measurement"]))


def agree(folder: Path, enrolments: list[Enrolment], *, attestation: str = "") -> DemoFederation:
    """Write the manifest, have every hospital approve it, and hand round the approvals.

    Args:
        folder: where everything lies.
        enrolments: the hospitals'.
        attestation: text of the [attestation] tables; empty for development mode.
    """
    members, clients = roster_of(enrolments)
    run_module(APP, "hospital.initial_model", ["--out", str(folder / "first-model.npz")])
    first = read_first_model(folder / "first-model.npz")
    source = write_manifest(
        ManifestDraft(
            name="heart-disease",
            threshold=len(members),
            development=False,
            members=members,
            clients=clients,
            freshness_seconds=600,
            insecure_measurements=[] if attestation else [_own_measurement()],
            suite=Suite.HYBRID,
            schema=first.schema.digest,
            initial_model=first.digest(),
            rules=RULES,
            attestation=attestation,
        )
    )
    manifest_file = folder / "federation.toml"
    write_whole(manifest_file, source)
    write_whole(folder / "first-model.fem", first.to_bytes())
    federation = DemoFederation(folder=folder, manifest=Manifest.from_bytes(source))
    approvals = [federation.hospital(name).approve(manifest_file) for name in HOSPITALS]
    shared = folder / "approvals"
    shared.mkdir()
    for path in approvals:
        data = path.read_bytes()
        write_whole(shared / path.name, data)
        for name in HOSPITALS:
            federation.hospital(name).add_approval(data)
    return federation
