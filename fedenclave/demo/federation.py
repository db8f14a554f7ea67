"""Set up the demonstration's federation: four hospitals' folders, one manifest, all approvals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedenclave.client.folder import ClientFolder
from fedenclave.demo.apps import run_module
from fedenclave.demo.members import Members
from fedenclave.membership.enrolment import Enrolment
from fedenclave.protocol.manifest import Manifest, Rules

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
        return members_in(self.folder).folder_of(name)


def members_in(folder: Path) -> Members:
    """Return the hospitals whose folders lie in a demonstration's folder."""
    return Members(folder=folder, place="hospitals", names=HOSPITALS)


def write_data(folder: Path) -> None:
    """Split the data set: each hospital's rows into its own folder `data`, in plain text.

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
    return members_in(folder).enrol()


def agree(folder: Path, enrolments: list[Enrolment], *, attestation: str = "") -> DemoFederation:
    """Write the manifest, have every hospital approve it, and hand round the approvals.

    Args:
        folder: where everything lies.
        enrolments: the hospitals'.
        attestation: text of the [attestation] tables; empty for development mode.
    """
    first = folder / "first-model.npz"
    run_module(APP, "hospital.initial_model", ["--out", str(first)])
    manifest = members_in(folder).agree(
        "heart-disease", enrolments, RULES, first, attestation=attestation
    )
    return DemoFederation(folder=folder, manifest=manifest)
