"""An honest host is not said to have kept an answer back that nobody gave, or that was taken out.

A receipt is not signed as a whole: what its holder takes out of it, nobody can tell from what was
never in it. And the log holds more digests than those of updates that are answered.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.attack_suite.world import payload_of
from fedenclave.audit.folder import contradictions
from fedenclave.audit.receipt import Verdict, verify_receipt
from fedenclave.audit.receipts_in_log import missing_from_log
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.log_file import MAGIC
from fedenclave.protocol.merkle import Tree
from fedenclave.protocol.sealed_update import Envelope, read_envelope
from fedenclave.protocol.signing import statement_digest
from tests.attacks.world import World, now


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "host", max_abs=2.0)
    yield world
    world.close()


def accused(world: World, **receipts: Receipt) -> list[str]:
    """Return what the host's log, all of it, is said to hold against these receipts."""
    data = MAGIC + world.aggregator.log_part(0, 2**30)
    return missing_from_log(io.BytesIO(data), receipts)


def left_out(world: World, names: str) -> Receipt:
    """Close the round; return the receipt of the last of `names`, whose update has not arrived."""
    world.release(names)
    (data,) = world.stores[names[-1]].receipts.values()
    assert verify_receipt(data, world.manifest).verdict is Verdict.LEFT_OUT
    return Receipt.from_bytes(data)


def test_an_update_that_comes_a_round_late_was_kept_back_by_nobody(world: World) -> None:
    """It is rejected in the next round (wrong-round), and there is no answer of its own round."""
    world.open()
    world.contribute({"a": 1, "b": 1})
    late = world.sealed("c", 1)
    receipt = left_out(world, "abc")
    world.open()
    assert world.submit("c", late).reason == "wrong-round"
    assert accused(world, c=receipt) == []


def test_a_member_naming_anothers_update_as_its_data_does_not_frame_the_host(world: World) -> None:
    """c's update is lost (or c keeps it); b says in its header that it trained on its digest."""
    world.open()
    world.contribute({"a": 1})
    lost = read_envelope(world.sealed("c", 1)).digest
    assert world.submit("b", world.forge("b", payload_of(1), data=lost)).admitted
    assert accused(world, c=left_out(world, "ac")) == []


@pytest.mark.parametrize("end", ["released", "aborted"])
def test_a_member_that_takes_the_answer_out_of_its_receipt_does_not_frame_the_host(
    world: World, end: str
) -> None:
    """c was rejected, and has the signed rejection. Its receipt without it is valid, too.

    Beside the log, or beside the genuine receipt, it is the host that is accused.
    """
    world.open()
    world.contribute({"a": 1, "b": 1})
    assert not world.submit("c", world.sealed("c", 100.0)).admitted
    deliveries = world.coordinator.close()[1] if end == "released" else world.coordinator.abort()
    genuine = world.sessions["c"].take_delivery(deliveries["c"])
    assert genuine.verdict is Verdict.REJECTED
    (data,) = world.stores["c"].receipts.values()
    receipt = Receipt.from_bytes(data)
    # The log is everybody's.
    log = Tree()
    for leaf in world.aggregator.leaves(0):
        log.append(leaf)
    signed = receipt.delivery.release or receipt.delivery.abort
    place = world.aggregator.leaves(0).index(statement_digest(signed))
    path = log.inclusion_path(place, place + 1)
    without = replace(receipt.delivery, answer=b"", leaf_index=place, leaf_path=path)
    stripped = replace(receipt, delivery=without)
    shown = verify_receipt(stripped.to_bytes(), world.manifest)
    assert shown.verdict is Verdict.LEFT_OUT
    assert Envelope.from_bytes(stripped.participation.envelope).digest == shown.update
    said = accused(world, c=stripped) + contradictions([genuine, shown], now=now())
    assert said  # something is wrong, and whose doing it is cannot be known
    assert not [line for line in said if "the host kept it back" in line]
