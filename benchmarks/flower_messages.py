"""Flower's plain path: replies as they arrive, and their mean by FedAvg.

A message arrives at a ServerApp in objects: the message, its records, each array, and its bytes in
chunks, every one under the SHA-256 of its content. Flower's grid pulls them one by one and inflates
them to a message. What is measured begins when they are all there.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.app.message.message import TaskIdentity
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from numpy.typing import NDArray

from benchmarks.trained import TENSOR, num_examples
from fedenclave.flower import carrier


@dataclass(frozen=True)
class ArrivedMessage:
    """A message as it lies at the ServerApp: its objects' bytes by their ids."""

    root: str
    objects: Mapping[str, bytes]


def reply_message(trained: NDArray[np.float32], client: int) -> Message:
    """Return a client's plain reply."""
    content = RecordDict(
        {
            "arrays": ArrayRecord({TENSOR: Array(trained)}),
            "metrics": MetricRecord({"num-examples": num_examples(client)}),
        }
    )
    return _message(content, client)


def sealed_message(sealed: bytes, client: int) -> Message:
    """Return a client's sealed reply, as FedEnclave's mod makes it."""
    return _message(RecordDict({carrier.BULK: carrier.bulk_record(sealed)}), client)


def _message(content: RecordDict, client: int) -> Message:
    # A message asks for the identity of the task that sends it.
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, client + 1, 1
    return Message(content, dst_node_id=1, message_type="train")


def sent(message: Message) -> ArrivedMessage:
    """Return what arrives of `message`."""
    objects = get_all_nested_objects(message)
    return ArrivedMessage(
        root=message.object_id, objects={key: item.deflate() for key, item in objects.items()}
    )


def inflated(arrived: ArrivedMessage) -> Message:
    """Return the message that Flower's grid makes of its objects."""
    made = inflate_object_from_contents(arrived.root, dict(arrived.objects))
    assert isinstance(made, Message)
    return made


def reply_bytes(trained: NDArray[np.float32], client: int) -> bytes:
    """Return a client's plain reply as one piece of protobuf bytes."""
    return message_to_proto(reply_message(trained, client)).SerializeToString()


def parsed(reply: bytes) -> Message:
    """Return the message that the bytes hold."""
    return message_from_proto(ProtoMessage.FromString(reply))


def averaged(replies: Sequence[ArrivedMessage], strategy: FedAvg | None = None) -> ArrayRecord:
    """Return the record that `strategy` (FedAvg) makes of the replies as they arrived."""
    return averaged_messages([inflated(reply) for reply in replies], strategy)


def averaged_messages(messages: Sequence[Message], strategy: FedAvg | None = None) -> ArrayRecord:
    """Return the record that `strategy` (FedAvg) makes of messages that are inflated already.

    Some strategies take the arrays out of the messages, which are then empty.
    """
    quiet()
    record, _ = (strategy or FedAvg()).aggregate_train(1, messages)
    assert record is not None
    return record


def quiet() -> None:
    """Let Flower log errors only."""
    logging.getLogger("flwr").setLevel(logging.ERROR)


def parameters_of(record: ArrayRecord) -> NDArray[np.float32]:
    """Return the averaged parameters."""
    return np.asarray(record[TENSOR].numpy())
