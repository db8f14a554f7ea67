"""Flower's plain path: replies as protobuf bytes, and back, and their mean by FedAvg."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.app.message.message import TaskIdentity
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

from benchmarks.trained import TENSOR, num_examples


def reply_bytes(trained: NDArray[np.float32], client: int) -> bytes:
    """Return the reply of a client as its bytes travel: array to record to protobuf to bytes."""
    # A message asks for the identity of the task that sends it.
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, client + 1, 1
    content = RecordDict(
        {
            "arrays": ArrayRecord({TENSOR: Array(trained)}),
            "metrics": MetricRecord({"num-examples": num_examples(client)}),
        }
    )
    message = Message(content, dst_node_id=1, message_type="train")
    return message_to_proto(message).SerializeToString()


def parsed(reply: bytes) -> Message:
    """Return the message that the bytes hold."""
    return message_from_proto(ProtoMessage.FromString(reply))


def averaged(replies: Sequence[bytes]) -> ArrayRecord:
    """Return FedAvg's record of averaged arrays, from the replies' bytes."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    record, _ = FedAvg().aggregate_train(1, [parsed(reply) for reply in replies])
    assert record is not None
    return record


def parameters_of(record: ArrayRecord) -> NDArray[np.float32]:
    """Return the averaged parameters."""
    return np.asarray(record[TENSOR].numpy())
