"""T15: clients, each with a lie of its own about its copy, fill no memory of the host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.host import rounds
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.world import World, now


def test_clients_that_lie_about_their_copies_cost_the_host_no_log_each(tmp_path: Path) -> None:
    """A few bytes of hello, and each would be brought another part of a log of 256 MiB."""
    owners = {"a": "alpha", "b": "beta", **{f"c{n:02d}": "gamma" for n in range(20)}}
    world = World(tmp_path / "host", owners, min_cohort=2)
    for _ in range(4):
        world.open()
        world.contribute(dict.fromkeys(owners, 0.0))
        world.release(list(owners))
    whole = len(world.aggregator.log_part(0, 2**30))
    hellos = {name: session.hello(now()) for name, session in world.sessions.items()}
    for number, name in enumerate(sorted(owners)[2:]):
        hellos[name] = replace(hellos[name], log_size=number)
    world.coordinator.open(hellos, NO_TRAINING_CONFIG)
    held = sum(len(part.entries) for part in world.coordinator._parts.values())
    world.close()
    assert held <= 2 * whole, f"the host holds {held / whole:.1f} times its log"


def test_of_what_fits_no_message_as_much_of_the_end_is_brought_as_does(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        world.open()
        world.contribute({"a": 1, "b": 1, "c": 1})
        world.release("abc")
    size = world.status().log_size
    shared = world.coordinator._log_part(size - 5, size)
    assert shared.first == size - 8
    monkeypatch.setattr(rounds, "_LONGEST_PART", len(shared.entries) - 1)
    world.coordinator._parts.clear()
    parts = [world.coordinator._log_part(size - lacking, size) for lacking in (5, 6, 8)]
    assert parts[0] is parts[1] is parts[2]
    assert parts[0].first == size - 7
    assert shared.entries.endswith(parts[0].entries)
