"""T15: nor do they where the log has outgrown a message: each lie would be a part of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.host import rounds
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.world import World, now


def test_clients_that_lie_about_their_copies_of_a_long_log_cost_no_message_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message holds 256 MiB of it. Twenty clients of one member, and the host needs 4 GiB."""
    owners = {"a": "alpha", "b": "beta", **{f"c{n:02d}": "gamma" for n in range(20)}}
    world = World(tmp_path / "host", owners, min_cohort=2)
    for _ in range(4):
        world.open()
        world.contribute(dict.fromkeys(owners, 0.0))
        world.release(list(owners))
    size = world.status().log_size
    whole = len(world.aggregator.log_part(0, size))
    hellos = {name: session.hello(now()) for name, session in world.sessions.items()}
    # Those of twice this length, in statements, are too long; these are not.
    assert 1 << (size - 1).bit_length() == 128
    first = size - 80
    longest = len(world.aggregator.log_part(first, size)) + 1
    monkeypatch.setattr(rounds, "_LONGEST_PART", longest)
    for number, name in enumerate(sorted(owners)[2:]):
        hellos[name] = replace(hellos[name], log_size=min(first + number, size - 65))
    offers = world.coordinator.open(hellos, NO_TRAINING_CONFIG)
    parts = {id(offer.log): len(offer.log.entries) for offer in offers.values()}
    world.close()
    held = sum(parts.values())
    assert held <= 4 * whole, f"the host holds {held / whole:.1f} times its log"
