"""Receipts wait for their clients: until they have answered, and no more than they await."""

from __future__ import annotations

from flwr.app import Error, Message, MessageType, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedenclave.client.state import MAX_PENDING
from fedenclave.flower.deliveries import Deliveries, says_of_itself
from fedenclave.protocol.exchange import Delivery


def delivery(round_: int, answer: bytes = b"answer") -> Delivery:
    return Delivery(
        round=round_,
        answer=answer,
        release=b"release",
        cohort=b"cohort",
        abort=b"",
        leaf_index=0,
        leaf_path=(),
        log_roots=(),
    )


def rounds(sent: list[bytes]) -> list[int]:
    return [Delivery.from_bytes(each).round for each in sent]


def test_what_was_sent_is_brought_again_until_the_client_has_answered() -> None:
    deliveries = Deliveries()
    deliveries.add({"a": delivery(1)})
    assert rounds(deliveries.send("a")) == rounds(deliveries.send("a")) == [1]
    deliveries.add({"a": delivery(2)})
    deliveries.answered("a")
    assert deliveries.awaiting() == {"a"}
    assert rounds(deliveries.send("a")) == [2]
    deliveries.answered("a")
    assert (deliveries.awaiting(), deliveries.send("a")) == (set(), [])


def test_of_a_client_that_never_answers_the_newest_are_kept() -> None:
    deliveries = Deliveries()
    for round_ in range(1, MAX_PENDING + 4):
        deliveries.add({"a": delivery(round_)})
    assert rounds(deliveries.send("a")) == list(range(4, MAX_PENDING + 4))
    deliveries.add({"a": delivery(99)})
    deliveries.answered("a")
    assert rounds(deliveries.send("a")) == [99]


def test_who_has_sent_no_update_gets_what_shows_it_beside_another_message() -> None:
    deliveries = Deliveries()
    deliveries.add({"a": delivery(1, b""), "b": delivery(1, b""), "c": delivery(1)}, {"a", "c"})
    # c has been answered, whatever it says.
    assert deliveries.awaiting() == {"b", "c"}
    assert rounds(deliveries.send("a")) == [1]
    deliveries.answered("a")
    assert deliveries.send("a") == []


def test_only_the_node_itself_says_that_there_is_no_result() -> None:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    request = Message(RecordDict(), message_type=MessageType.TRAIN, dst_node_id=1)
    request.metadata.__dict__["_message_id"] = "m"
    answers = {code: Message(Error(code, "why"), reply_to=request) for code in range(7)}
    assert {code for code, reply in answers.items() if says_of_itself(reply)} == {2, 6}
    assert not says_of_itself(Message(RecordDict(), reply_to=request))
