"""A gateway that is started again in the middle of a round: the ServerApp waits, and goes on."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fedenclave.audit.receipt import Verdict
from fedenclave.demo.ports import pick_free_ports
from fedenclave.host.gateway import Gateway
from fedenclave.host.remote import AggregatorUnreachable, RemoteAggregator
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.errors import Refusal, RequestRefused
from tests.attacks.world import World
from tests.restart.faults import bury

ALL = {"a": 1.0, "b": 2.0, "c": 6.0}
AWAY_SECONDS = 0.7
PATIENCE_SECONDS = 30.0


class Operator:
    """Runs a gateway at one address; kills it, and starts it again after a while."""

    def __init__(self, world: World) -> None:
        self.world = world
        (self.port,) = pick_free_ports(1)
        self.gateway = self._serve()

    def _serve(self) -> Gateway:
        address = f"127.0.0.1:{self.port}"
        return Gateway(self.world.aggregator, address, tls=None, insecure_plaintext=True)

    def die(self) -> None:
        self.gateway.close()
        bury(self.world.aggregator)

    def come_back(self) -> None:
        time.sleep(AWAY_SECONDS)
        self.world.aggregator = self.world._aggregator()
        self.gateway = self._serve()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Be dead when the block begins, and come back during it."""
        self.die()
        thread = threading.Thread(target=self.come_back)
        thread.start()
        try:
            yield
        finally:
            thread.join()


@pytest.fixture
def operator(world: World) -> Iterator[Operator]:
    operator = Operator(world)
    yield operator
    operator.gateway.close()


@contextmanager
def connected(operator: Operator, patience: float = PATIENCE_SECONDS) -> Iterator[RemoteAggregator]:
    """Let the ServerApp speak to the gateway from now on."""
    with RemoteAggregator(
        f"127.0.0.1:{operator.port}",
        root_certificate=None,
        insecure=True,
        patience_seconds=patience,
    ) as remote:
        operator.world.coordinator = RoundCoordinator(remote, send_manifest=True)
        yield remote


@pytest.mark.slow
def test_a_round_goes_on_where_the_gateway_comes_back(world: World, operator: Operator) -> None:
    with connected(operator):
        world.open()
        world.contribute({"a": 1.0})
        with operator.away():
            assert world.submit("b", world.sealed("b", 2.0)).admitted
        world.contribute({"c": 6.0})
        with operator.away():
            result, deliveries = world.coordinator.close()
        assert {world.sessions[n].take_delivery(deliveries[n]).verdict for n in ALL} == {
            Verdict.INCLUDED
        }
        # What is asked between two rounds, too.
        with operator.away():
            assert world.coordinator.chain() == (result.closed.release,)
            assert world.coordinator._aggregator.status().round == 1
        for ask in ("checkpoint", "releases", "model", "round_ends"):
            with operator.away():
                assert getattr(world.coordinator._aggregator, ask)()
        world.open()
        world.contribute(ALL)
        world.release("abc")


def test_a_round_that_the_restart_has_lost_is_told_to_its_clients(
    world: World, operator: Operator
) -> None:
    """As where the machine keeps no round: the aggregator aborts it when it comes back."""
    with connected(operator):
        world.open()
        world.contribute({"a": 1.0, "b": 1.0})
        sealed = world.sealed("c", 1.0)
        world.aggregator.abort_round()
        for ask in (lambda: world.submit("c", sealed), world.coordinator.close):
            with pytest.raises(RequestRefused) as refused:
                ask()
            assert refused.value.refusal is Refusal.WRONG_STATE
        deliveries = world.coordinator.abort()
        verdicts = {n: world.sessions[n].take_delivery(deliveries[n]).verdict for n in "abc"}
        assert verdicts == {"a": Verdict.ABORTED, "b": Verdict.ABORTED, "c": Verdict.LEFT_OUT}
        world.open()
        world.contribute(ALL)
        world.release("abc")
        # A round that was released is not aborted afterwards.
        with pytest.raises(RequestRefused):
            world.coordinator.abort()


def test_another_enclave_at_the_same_address_is_not_gone_on_with(
    world: World, operator: Operator
) -> None:
    with connected(operator):
        world.open()
        world.contribute({"a": 1.0, "b": 1.0})
        with operator.away():
            shutil.rmtree(world.folder / "state")
            with pytest.raises(AggregatorUnreachable, match="another enclave answers"):
                world.coordinator.close()


def test_patience_has_an_end_and_without_it_nobody_waits(world: World, operator: Operator) -> None:
    for patience in (0.0, 1.0):
        with connected(operator, patience) as remote:
            operator.die()
            began = time.monotonic()
            with pytest.raises(AggregatorUnreachable, match="no aggregator answers"):
                remote.status()
            assert 0.5 * patience <= time.monotonic() - began < patience + 10
        operator.come_back()


def test_an_update_that_can_be_read_only_once_is_not_sent_again(
    world: World, operator: Operator
) -> None:
    with connected(operator) as remote:
        world.open()
        sealed = world.sealed("a", 1.0)
        with operator.away(), pytest.raises(AggregatorUnreachable):
            remote.submit(iter([sealed]))
        assert remote.submit([sealed]).admitted
