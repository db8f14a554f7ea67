"""T11, T15: what makes a client's receipt get lost, where everybody but one party is honest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Message
from flwr.serverapp.strategy import FedAvg

from fedenclave.audit.receipt import Verdict
from fedenclave.client.state import MAX_PENDING
from fedenclave.flower import Confidential, carrier
from fedenclave.flower.deliveries import Deliveries
from fedenclave.protocol.exchange import Hello
from fedenclave.protocol.signing import Signed, public_key, sign
from tests.attacks.conftest import NewWorld
from tests.flower.conftest import add_node_number, development_grid, initial_arrays, make_app
from tests.flower.test_deliveries import delivery


class EvaluatesAtTheLiars(FedAvg):
    """Its sample of nodes for an evaluation is the liar alone, as chance may have it."""

    def configure_evaluate(self, *arguments: object) -> Iterable[Message]:
        messages = super().configure_evaluate(*arguments)
        return [message for message in messages if message.metadata.dst_node_id == 12]


def test_a_node_that_says_anothers_name_takes_its_receipts_away(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A hello under a key of its own opens no round, and yet says to whom deliveries go.

    What is brought to node 12 for node 13 counts as received by node 13, which never gets it.
    """
    grid = development_grid(make_app(add_node_number))

    def claim(reply: Message) -> Message:
        if reply.has_error() or carrier.BULK not in reply.content:
            return reply  # the first hello is its own: it is on the roster
        record = reply.content.config_records[carrier.RECORD]
        key = Ed25519PrivateKey.generate()
        own = Hello.from_bytes(Signed.from_bytes(record["hello"]).payload)
        record["hello"] = sign(replace(own, client="node-13", key=public_key(key)), key)
        return reply

    grid.on_reply[12] = claim
    strategy = Confidential(EvaluatesAtTheLiars(fraction_train=1.0, fraction_evaluate=1.0))
    strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=2)
    said = capsys.readouterr().err
    # Of nodes 11 and 13; what becomes of the liar's own is its own business.
    assert [said.count(f"round {n}: included; receipt kept") >= 2 for n in (1, 2)] == [True, True]


@pytest.mark.parametrize("damaged", ["signature", "header"])
def test_an_update_that_was_damaged_on_its_way_leaves_its_client_without_a_receipt(
    new_world: NewWorld, damaged: str
) -> None:
    """The rejection is of other bytes, and no answer to the client's update: it was left out.

    So it is where the ServerApp has not heard of the rejection; where it has, what is delivered
    proves nothing, and the client awaits its receipt for ever.
    """
    world = new_world()
    world.open()
    world.contribute({"a": 1, "b": 1})
    sealed = bytearray(world.sealed("c", 1))
    sealed[100 if damaged == "header" else sealed.index(b"signature") + 20] ^= 1
    result = world.submit("c", bytes(sealed))
    assert result.reason in ("malformed", "bad-signature")
    _, deliveries = world.coordinator.close()
    assert world.sessions["c"].take_delivery(deliveries["c"]).verdict is Verdict.LEFT_OUT


def test_rounds_that_a_client_never_saw_do_not_push_its_receipt_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its update of round 1 is in the release; of the rounds after it no message reaches it.

    It awaits one receipt. What waits for it are the deliveries of the newest eight rounds, in none
    of which it has sealed anything.
    """
    grid = development_grid(make_app(add_node_number))
    trained = []

    def drop(message: Message) -> Message | None:
        if message.content.config_records[carrier.RECORD]["kind"] != carrier.Kind.TRAIN:
            return message
        trained.append(1)
        return message if len(trained) == 1 else None

    grid.on_request[13] = drop
    strategy = Confidential(FedAvg(fraction_train=1.0, fraction_evaluate=0.0))
    strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=MAX_PENDING + 1)
    assert len(trained) == MAX_PENDING + 1
    assert capsys.readouterr().err.count("round 1: included; receipt kept") == 3


def test_who_never_answers_fills_no_memory_of_the_serverapp() -> None:
    """Of its deliveries the newest few are kept; of which to send no message for, every one."""
    deliveries = Deliveries()
    for round_ in range(1, 1000):
        deliveries.add({"a": delivery(round_, b"")}, {"a"})
        deliveries.send("a")
    assert len(deliveries._beside) <= 8 * MAX_PENDING
