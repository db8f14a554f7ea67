"""Play attacks, each in a federation of its own, and say how each ended.

Two at a time: an attack waits for its enclave to start for half of its time.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fedenclave.attack_suite.attack import Attack, NotPlayed, NotStopped, Open, Try
from fedenclave.attack_suite.world import Setting, World
from fedenclave.host.enclave_process import measure_enclave
from fedenclave.protocol.errors import ConfigurationError, printable

_SIDE_BY_SIDE = 2

REPORT_WARNING = (
    "development mode: the enclave's evidence is insecure, and all keys are in one process; "
    "this shows what the code refuses, and proves nothing of any machine"
)


class Ending(StrEnum):
    """How an attack ended."""

    STOPPED = "stopped"
    NOT_STOPPED = "not stopped"
    FAILED = "could not be played"
    """For a defect, of the suite or of what it attacks: as bad as not stopped."""
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """One attack, played. `why` says what got through, why it failed, or why it is open."""

    id: str
    row: str
    title: str
    ending: Ending
    tries: tuple[Try, ...] = ()
    why: str = ""
    seconds: float = 0.0

    @property
    def as_claimed(self) -> bool:
        """Whether it ended as the suite says that it does: stopped, or known to be open."""
        return self.ending in (Ending.STOPPED, Ending.OPEN)

    @property
    def stopped_by(self) -> tuple[str, ...]:
        """What was seen to stop it, each once."""
        return tuple(dict.fromkeys(t.stopped_by for t in self.tries if not t.control))


def setting(code: Path | None = None) -> Setting:
    """Return the setting in which the members accept exactly the code that runs.

    Args:
        code: a folder with another copy of the package; None for the installed one.

    Raises:
        ConfigurationError: there is no copy of the package in that folder.
        EnclaveDied: it cannot be measured.
    """
    if code is not None and not (code / "fedenclave" / "enclave").is_dir():
        raise ConfigurationError(
            f"{code} holds no copy of the fedenclave package",
            hint="name the folder in which `fedenclave/enclave` and `fedenclave/protocol` lie",
        )
    return Setting(measurement=json.loads(measure_enclave(code))["measurement"], code=code)


def play(attack: Attack | Open, where: Setting) -> Played:
    """Play one attack; what is open is not played."""
    about: dict[str, Any] = {"id": attack.id, "row": attack.row, "title": attack.title}
    if isinstance(attack, Open):
        return Played(**about, ending=Ending.OPEN, why=attack.reason)
    begin = time.monotonic()
    tries: tuple[Try, ...] = ()
    why = ""
    with tempfile.TemporaryDirectory(prefix="fedenclave-attack-") as folder:
        try:
            world = World.start(where, Path(folder) / "host", **attack.options)
            try:
                tries = attack.run(world).tries
            finally:
                world.close()
            ending = Ending.STOPPED
        except NotStopped as error:
            ending, why = Ending.NOT_STOPPED, error.message
        except NotPlayed as error:
            ending, why = Ending.OPEN, f"not played: {error.message}"
        except Exception as error:
            # Whatever it is: an attack that was not seen to be stopped was not stopped.
            ending, why = Ending.FAILED, printable(f"{type(error).__name__}: {error}")
    seconds = time.monotonic() - begin
    return Played(**about, ending=ending, tries=tries, why=why, seconds=seconds)


def play_all(
    attacks: Sequence[Attack | Open], where: Setting, done: Callable[[Played], None]
) -> list[Played]:
    """Play `attacks`, and return how each ended, in their order.

    Args:
        attacks: from the registry.
        where: see `setting`.
        done: called for each, in the same order.
    """
    played = []
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        for each in pool.map(lambda attack: play(attack, where), attacks):
            done(each)
            played.append(each)
    return played


def held(played: Sequence[Played]) -> bool:
    """Return whether everything that is claimed to be stopped was stopped."""
    return all(each.as_claimed for each in played)


def report(played: Sequence[Played], where: Setting) -> dict[str, Any]:
    """Return everything that was tried and seen, for a program to read."""
    return {
        "warning": REPORT_WARNING,
        "insecure": True,
        "measurement": where.measurement,
        "held": held(played),
        "endings": {
            ending.value: sum(each.ending is ending for each in played) for ending in Ending
        },
        "attacks": [
            {**asdict(each), "ending": each.ending.value, "seconds": round(each.seconds, 3)}
            for each in played
        ],
    }
