"""T11: an evaluation that the hardware has not settled at once is worth no round.

`fedenclave.host.between_rounds` says so of what is said between two rounds: the run goes on without
it. A TPM that is busy for a moment is enough; the enclave is well, and so is its state.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.attack_suite.world import now
from fedenclave.audit.log_entry import open_entry
from fedenclave.enclave.sealing.sealer import SealingFailed
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.errors import RequestRefused
from fedenclave.protocol.statements import Announcement, Evaluation
from tests.attacks.world import World
from tests.enclave.test_journal import AnchoredSealer
from tests.honest.enclave_in_thread import run_enclaves_in_threads


class BusyOnce(AnchoredSealer):
    """A register that does not answer once, when it is told so."""

    busy = False

    def extend(self, mark: bytes) -> bytes:
        if self.busy:
            self.busy = False
            raise SealingFailed("the tpm is busy")
        return super().extend(mark)


@pytest.fixture
def machine() -> BusyOnce:
    return BusyOnce()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, machine: BusyOnce) -> Iterator[World]:
    run_enclaves_in_threads(monkeypatch, machine)
    world = World(tmp_path / "host")
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    yield world
    world.close()


def test_the_next_round_is_opened_behind_an_evaluation_that_was_not_told(
    world: World, machine: BusyOnce
) -> None:
    """Until somebody asks for that evaluation again, no round is opened: not in this run, and not
    in the next one, which may make none."""
    machine.busy = True
    with pytest.raises(RequestRefused):
        world.aggregator.evaluated(sha256(b"first"))
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")


def test_another_evaluation_is_not_answered_with_the_one_before(
    world: World, machine: BusyOnce
) -> None:
    """What is told is the statement that was held, whatever is asked for: the next round's
    evaluation is taken for logged, and is not."""
    machine.busy = True
    with pytest.raises(RequestRefused):
        world.aggregator.evaluated(sha256(b"first"))
    said = open_entry(world.aggregator.evaluated(sha256(b"second"))).unverified
    assert isinstance(said, Evaluation)
    assert said.digest == sha256(b"second")


def test_another_opening_is_not_answered_with_the_one_before(
    world: World, machine: BusyOnce
) -> None:
    """Flower tells its clients the number of its round: each of them would refuse, and say that
    the host tells it something else than the others."""
    machine.busy = True
    with pytest.raises(RequestRefused):
        world.open()
    hellos = {name: session.hello(now()) for name, session in world.sessions.items()}
    try:
        offers = world.coordinator.open(hellos, sha256(b"another"))
    except RequestRefused:
        return
    for offer in offers.values():
        announcement = open_entry(offer.announcement).unverified
        assert isinstance(announcement, Announcement)
        assert announcement.training_config == sha256(b"another")
