"""T1: the operator reads updates on the wire, on disk, in logs or in temporary files."""

from pathlib import Path

import numpy as np
import pytest

from fedenclave.attack_suite.world import FIRST, WIDE
from fedenclave.protocol.statements import Suite
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World, value_of

# As float32 about 11.456, as float16 about 0.226: a value that every rule admits.
CANARY = b"CN7A" * 8
MARK = b"CN7ACN7A"


def canary_update(world: World, name: str) -> bytes:
    """Seal an update whose plaintext is the canary, again and again."""
    payload = (CANARY * (len(FIRST.payload) // len(CANARY) + 1))[: len(FIRST.payload)]
    assert MARK in payload
    return world.forge(name, payload)


def holding_the_mark(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and MARK in p.read_bytes()]


def test_enclave_opens_no_file_but_the_ciphertext(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    try:
        links = [Path(f"/proc/{world.aggregator.enclave_pid}/fd").iterdir()]
        targets = [link.readlink() for folder in links for link in folder]
    except PermissionError:
        pytest.skip("only root may list the files of a process that forbids tracing")
    files = [path for path in targets if path.is_absolute() and path.is_file()]
    assert sorted(path.suffix for path in files) == [".feu", ".feu", ".feu", ".log"]
    assert all(path.is_relative_to(world.folder) for path in files)


@pytest.mark.parametrize("suite", Suite)
def test_operator_searching_all_it_has_for_a_clients_update_finds_nothing(
    new_world: NewWorld, suite: Suite, capfd: pytest.CaptureFixture[str]
) -> None:
    world = new_world(suite=suite)
    offers = world.open()
    answers = [world.submit("a", canary_update(world, "a"))]
    world.contribute({"b": 0.25, "c": 0.25})

    # While the round is open its ciphertext lies there, and still nothing is to be read.
    assert len(list(world.folder.glob("ciphertext/*.feu"))) == 3
    assert holding_the_mark(world.folder) == []
    assert all(answer.admitted for answer in answers)

    result, deliveries = world.coordinator.close()
    assert holding_the_mark(world.folder) == []
    messages = [offer.to_bytes() for offer in offers.values()]
    messages += [delivery.to_bytes() for delivery in deliveries.values()]
    messages += [answer.to_bytes() for answer in answers]
    messages += [result.model, result.closed.to_bytes()]
    assert not any(MARK in message for message in messages)
    assert MARK.decode() not in "".join(capfd.readouterr())

    # The search would have found it; and the round was an ordinary one.
    (world.folder / "leak").write_bytes(b"..." + CANARY)
    assert holding_the_mark(world.folder) == [world.folder / "leak"]
    world.sessions["b"].take_delivery(deliveries["b"])


def test_ciphertext_is_gone_when_the_round_is_over(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    assert list(world.folder.glob("ciphertext/*.feu")) == []
    world.open()
    world.contribute({"a": 1})
    world.coordinator.abort()
    assert list(world.folder.glob("ciphertext/*.feu")) == []
    assert value_of(world.model()) == 1.5


def test_two_sealings_of_one_update_have_nothing_in_common(world: World) -> None:
    world.open()
    first, second = (world.forge("a", bytes(FIRST.payload)) for _ in range(2))
    a, b = (np.frombuffer(sealed[-4 * WIDE :], np.uint8) for sealed in (first, second))
    assert len(first) == len(second)
    assert (a == b).mean() < 0.01


def test_the_number_of_examples_does_not_show_in_the_size(world: World) -> None:
    world.open()
    sizes = {len(world.forge("a", bytes(FIRST.payload), num_examples=n)) for n in (1, 2**40)}
    assert len(sizes) == 1
