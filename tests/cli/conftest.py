"""Run the command line in this process, and a federation of three banks made with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fedenclave.cli.main import run

BANKS = ("alpha", "beta", "gamma")


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


@pytest.fixture
def enrolled(tmp_path: Path, fedenclave: Command) -> Path:
    """Return a folder with three enrolled banks and a first model."""
    for bank in BANKS:
        done = fedenclave("client", "enroll", "--dir", tmp_path / bank, "--organisation", bank)
        assert done.status == 0
    np.savez(
        tmp_path / "first.npz", weight=np.ones((3, 2), np.float32), bias=np.zeros(2, np.float16)
    )
    return tmp_path


@pytest.fixture
def federation(enrolled: Path, fedenclave: Command) -> Path:
    """Return the folder with a manifest that all three banks have approved."""
    agree(enrolled, fedenclave)
    return enrolled


def agree(folder: Path, fedenclave: Command, **options: object) -> None:
    """Make a manifest for the enrolled banks, and have all three approve it."""
    done = fedenclave(*init_words(folder, **options))
    assert done.status == 0, done.err
    manifest = folder / "federation.toml"
    for bank in BANKS:
        assert fedenclave("federation", "approve", manifest, "--dir", folder / bank).status == 0
    for bank in BANKS:
        others = [folder / b / "approvals" / f"{b}.approval" for b in BANKS if b != bank]
        assert fedenclave("client", "add-approvals", "--dir", folder / bank, *others).status == 0


def init_words(folder: Path, **options: object) -> list[object]:
    """Return the words of `federation init` for the enrolled banks."""
    words: list[object] = ["federation", "init", "--name", "banks", "--out", folder]
    for bank in BANKS:
        words += ["--enrolment", folder / bank / "enrolment.json"]
    for name, value in {"model": folder / "first.npz", **options}.items():
        words += [f"--{name.replace('_', '-')}", value]
    return words
