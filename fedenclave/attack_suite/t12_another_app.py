"""T12: the SuperLink ships an app without the sealing mod, or one that shadows this package."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec

from fedenclave.attack_suite.attack import Attack, NotPlayed, Witness, attack
from fedenclave.attack_suite.world import World

_PLAY = "fedenclave.demo.other_apps"
_LONGEST_S = 600


@attack("T12-another-app", "ship a node other apps than the one that its owner has approved")
def another_app(world: World, witness: Witness) -> None:
    """Its own programs: `fedenclave node run`, and a SuperLink that breaks Flower's protocol."""
    if find_spec("flwr") is None:
        raise NotPlayed("Flower is not installed here: pip install 'fedenclave[flower]'")
    command = [sys.executable, "-m", _PLAY, str(world.folder_for("node"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    for line in done.stdout.splitlines():
        seen = json.loads(line)
        if seen["control"]:
            witness.control(seen["tried"], seen["seen"], well=seen["well"])
        else:
            witness.found(seen["tried"], seen["seen"], stopped=seen["well"])
    if done.returncode != 0:
        last = (done.stderr.splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"{_PLAY} ended with {done.returncode}: {last}")


ATTACKS: tuple[Attack, ...] = (another_app,)
