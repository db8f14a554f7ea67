"""T11: a round that somebody else has ended is one round lost, and no run.

So it is where the machine keeps no open rounds and the aggregator is started again in the middle of
one: it ends the lost round itself. And where a second ServerApp comes, or anybody at the port.
"""

from __future__ import annotations

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

from flwr.app import Message
from flwr.serverapp.strategy import FedAvg

from fedenclave.flower import Confidential, carrier
from tests.flower.conftest import add_node_number, development_grid, initial_arrays, make_app


def test_a_round_that_was_aborted_meanwhile_ends_no_run_and_its_clients_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    grid = development_grid(make_app(add_node_number))
    strategy = Confidential(FedAvg(fraction_train=1.0, fraction_evaluate=0.0))
    ended = []

    def end(reply: Message) -> Message:
        if carrier.BULK in reply.content and not ended:
            assert strategy._aggregator is not None
            ended.append(strategy._aggregator.abort_round())
        return reply

    grid.on_reply[13] = end
    strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=2)
    said = capsys.readouterr().err
    assert said.count("round 2: included; receipt kept") == 3
    assert said.count("round 1: left out; receipt kept") == 3
