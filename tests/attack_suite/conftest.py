"""The installed enclave's setting, measured once, and `fedenclave` run in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from fedenclave.attack_suite.runner import setting
from fedenclave.attack_suite.world import Setting
from fedenclave.cli.main import run


@dataclass(frozen=True)
class Finished:
    """What a command printed and how it ended."""

    status: int
    out: str
    err: str


Command = Callable[..., Finished]


@pytest.fixture(scope="session")
def installed() -> Setting:
    return setting()


@pytest.fixture
def attack_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs `fedenclave attack` with the given words."""

    def command(*words: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["fedenclave", "attack", *map(str, words)])
        capsys.readouterr()
        status = run()
        printed = capsys.readouterr()
        return Finished(status=status, out=printed.out, err=printed.err)

    return command
