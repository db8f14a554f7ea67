"""Run the command line in this process; three banks' federation; a machine's evidence."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fedenclave.attestation import formats
from fedenclave.cli.main import run
from tests.attestation.fake_amd import Machine
from tests.attestation.snp_federation import EVERY_CRL, FORMAT, POLICY
from tests.cli.snp_words import write_policy

BANKS = ("alpha", "beta", "gamma")
MANIFEST = "federation.toml"


@dataclass(frozen=True)
class Finished:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str


Command = Callable[..., Finished]


@pytest.fixture
def fedenclave(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs `fedenclave` with the given words."""

    def command(*words: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["fedenclave", *map(str, words)])
        capsys.readouterr()
        status = run()
        printed = capsys.readouterr()
        return Finished(status=status, out=printed.out, err=printed.err)

    return command


@pytest.fixture(scope="session")
def enrolled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three enrolled banks and a first model. For copies: see `enrolled`."""
    folder = tmp_path_factory.mktemp("enrolled")
    for bank in BANKS:
        assert ends("client", "enroll", "--dir", folder / bank, "--organisation", bank) == 0
    np.savez(folder / "first.npz", weight=np.ones((3, 2), np.float32), bias=np.zeros(2, np.float16))
    return folder


@pytest.fixture(scope="session")
def approved_once(enrolled_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same with a manifest that all three have approved. For copies: `federation`."""
    folder = copied(enrolled_once, tmp_path_factory.mktemp("approved"))
    agree(folder)
    return folder


@pytest.fixture
def enrolled(tmp_path: Path, enrolled_once: Path) -> Path:
    """Return a folder with three enrolled banks and a first model."""
    return copied(enrolled_once, tmp_path)


@pytest.fixture
def federation(tmp_path: Path, approved_once: Path) -> Path:
    """Return the folder with a manifest that all three banks have approved."""
    return copied(approved_once, tmp_path)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a report of the test's own vendor, its policy and its collateral."""
    for listed in (formats.FORMATS, formats.ALL_FORMATS):
        monkeypatch.setitem(listed, "sev-snp", FORMAT)  # type: ignore[arg-type]
    made = Machine()
    (tmp_path / "report.bin").write_bytes(made.report())
    (tmp_path / "vcek.der").write_bytes(made.der)
    write_policy(tmp_path, POLICY)
    for name, data in EVERY_CRL.items():
        path = tmp_path / "collateral" / "2026-11-24T00-00-00Z" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def ends(*words: object) -> int:
    """Run `fedenclave` with the given words; return how it ended."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["fedenclave", *map(str, words)])
        return run()


def copied(folder: Path, to: Path) -> Path:
    """Copy a folder's contents into another one, modes included; return the latter."""
    return shutil.copytree(folder, to, dirs_exist_ok=True)


def agree(folder: Path, **options: object) -> None:
    """Make a manifest for the enrolled banks, and have all three approve it."""
    assert ends(*init_words(folder, **options)) == 0
    for bank in BANKS:
        assert ends("federation", "approve", folder / MANIFEST, "--dir", folder / bank) == 0
    for bank in BANKS:
        others = [folder / b / "approvals" / f"{b}.approval" for b in BANKS if b != bank]
        assert ends("client", "add-approvals", "--dir", folder / bank, *others) == 0


def init_words(folder: Path, **options: object) -> list[object]:
    """Return the words of `federation init` for the enrolled banks."""
    words: list[object] = ["federation", "init", "--name", "banks", "--out", folder]
    for bank in BANKS:
        words += ["--enrolment", folder / bank / "enrolment.json"]
    for name, value in {"model": folder / "first.npz", **options}.items():
        words += [f"--{name.replace('_', '-')}", value]
    return words
