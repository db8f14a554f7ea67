"""T7: the optimiser's memory lies with the host, who can neither read, change nor wind it back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from fedenclave.protocol.aggregation import Adam, Momentum
from fedenclave.protocol.errors import Refusal, RequestRefused
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World, value_of

ADAM = Adam(eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3)
STEPS = [{"a": 1.0, "b": 2.0, "c": 3.0}, {"a": -1.0, "b": 1.0, "c": 4.0}, {"a": 2.0, "b": 2.0}]


def play(world: World, steps: dict[str, float]) -> None:
    world.open()
    world.contribute(steps)
    world.release("ab")


def state_file(world: World) -> Path:
    """Return the file that counts: the newest release's."""
    return max((world.folder / "optimiser").glob("round-*.sealed"), key=lambda p: p.stem)


def flipped(data: bytes) -> bytes:
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _new, old: old, id="wound back to the round before"),
        pytest.param(lambda new, _: flipped(new), id="one bit changed"),
        pytest.param(lambda new, _: new[:-1], id="cut short"),
        pytest.param(lambda _new, _old: b"", id="emptied"),
    ],
)
def test_host_meddling_with_the_optimisers_memory_gets_no_release(
    new_world: NewWorld, change: Callable[[bytes, bytes], bytes]
) -> None:
    world, undisturbed = new_world(server=ADAM), new_world(server=ADAM)
    for steps in STEPS:
        play(undisturbed, steps)
    play(world, STEPS[0])
    old = state_file(world).read_bytes()
    play(world, STEPS[1])
    new = state_file(world).read_bytes()
    world.open()
    world.contribute(STEPS[2])
    before = world.status()
    state_file(world).write_bytes(change(new, old))
    with pytest.raises(RequestRefused) as refused:
        world.coordinator.close()
    assert refused.value.refusal is Refusal.STORAGE
    assert world.status() == before
    # With the right file again the round closes, and the result is as if nothing had happened.
    state_file(world).write_bytes(new)
    world.release("ab")
    assert world.model().payload == undisturbed.model().payload
    assert value_of(world.model()) != 0.5


def test_the_hosts_file_of_the_optimiser_shows_nothing(new_world: NewWorld) -> None:
    world = new_world(server=ADAM)
    play(world, STEPS[0])
    sealed = state_file(world).read_bytes()
    first_moment = np.float32(0.1 * 2.0)
    assert first_moment.tobytes() * 4 not in sealed
    assert len(set(sealed[:4096])) > 200


def test_no_two_passes_seal_under_one_key(new_world: NewWorld) -> None:
    # Equal memory in two rounds: one key would give equal bytes.
    world = new_world(server=Adam(eta=0.1, beta_1=0.0, beta_2=0.0, tau=1e-3))
    play(world, {"a": 1.0, "b": 1.0})
    first = state_file(world).read_bytes()
    play(world, {"a": 1.0, "b": 1.0})
    second = state_file(world).read_bytes()
    same = sum(a == b for a, b in zip(first, second, strict=True))
    assert same < len(first) / 100


def test_host_having_a_release_computed_again_without_one_update_learns_nothing_of_it(
    new_world: NewWorld,
) -> None:
    """Its memory must not be sealed twice under one key: the two would differ by that update."""
    world = new_world(server=Momentum(learning_rate=1.0, momentum=0.5))
    world.open()
    sealed = {name: world.sealed(name, step) for name, step in {"a": 1, "b": 2, "c": 6}.items()}
    for name, update in sealed.items():
        assert world.submit(name, update).admitted
    ciphertext = world.stored(sealed["c"])
    world.aggregator._close()  # the release is sealed, and its model never fetched
    memory = world.folder / "optimiser" / "next.partial"
    written = [memory.read_bytes()]
    world.close()
    kept = ciphertext.read_bytes()
    # Once withheld; once with its last chunk changed, when all before have been used.
    for content in (b"", kept[:-1] + bytes([kept[-1] ^ 1])):
        ciphertext.write_bytes(content)
        with pytest.raises(RequestRefused) as refused:
            world.resume()
        assert refused.value.refusal is Refusal.STORAGE
        written.append(memory.read_bytes())
    ciphertext.write_bytes(kept)
    world.resume()
    assert value_of(world.model()) == 3.5
    assert world.release("abc")[0].clients == 3
    written.append(state_file(world).read_bytes())
    # Of a, b, c twice and of what was begun without c: no two under one key.
    for one, other in combinations(filter(None, written), 2):
        if one != other:
            same = sum(x == y for x, y in zip(one, other, strict=False))
            assert same < min(len(one), len(other)) / 100
    assert len(set(written)) > 1
