"""What goes between a node's process and the app's own: messages and contexts, in Flower's form.

Arrays go as their bytes, each in a frame of its own: Flower's form of a whole message ends at 2 GB,
and would be one more copy of a model. A frame is its length in 8 bytes, and the bytes.

Nothing here makes code or objects from bytes but by Flower's protocol buffers, and arrays are not
looked into: what comes from an app's process is an app's word.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping

from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.app.message.message import make_message
from flwr.common.serde import (
    context_from_proto,
    context_to_proto,
    message_from_proto,
    message_to_proto,
    recorddict_from_proto,
    recorddict_to_proto,
)
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.proto.recorddict_pb2 import RecordDict as ProtoRecordDict

_LENGTH = 8


class AppPipe:
    """One end. Everything raises EOFError or OSError when the other is gone."""

    def __init__(self, connection: socket.socket) -> None:
        """Take an end; it is closed with `close`."""
        self._connection = connection
        self._reader = connection.makefile("rb")

    def close(self) -> None:
        """Close this end."""
        self._reader.close()
        self._connection.close()

    def hang_up(self) -> None:
        """Let whoever reads at this end find an end, also from another thread."""
        self._connection.shutdown(socket.SHUT_RDWR)

    def send(self, said: Mapping[str, object]) -> None:
        """Send a few words."""
        self._send(json.dumps(said).encode())

    def receive(self) -> dict[str, object]:
        """Return what `send` was given.

        Raises:
            ValueError: it is something else.
        """
        said = json.loads(self._receive())
        if not isinstance(said, dict):
            raise ValueError("want an object")
        return said

    def send_call(self, message: Message, context: Context) -> None:
        """Send what an app is called with."""
        bare = make_message(message.metadata, RecordDict())
        self._send(message_to_proto(bare).SerializeToString())
        self.send_records(message.content)
        without = Context(
            run_id=context.run_id,
            node_id=context.node_id,
            node_config=context.node_config,
            state=RecordDict(),
            run_config=context.run_config,
            series_id=context.series_id,
        )
        self._send(context_to_proto(without).SerializeToString())
        self.send_records(context.state)

    def receive_call(self) -> tuple[Message, Context]:
        """Return what `send_call` was given."""
        bare = message_from_proto(ProtoMessage.FromString(self._receive()))
        message = make_message(bare.metadata, self.receive_records())
        context = context_from_proto(ProtoContext.FromString(self._receive()))
        context.state = self.receive_records()
        return message, context

    def send_records(self, records: RecordDict) -> None:
        """Send records of every kind, in their order."""
        bare, arrays = RecordDict(), []
        for name, record in records.items():
            if isinstance(record, ArrayRecord):
                arrays += list(record.values())
                record = _with(record, [b""] * len(record))
            bare[name] = record
        self._send(recorddict_to_proto(bare).SerializeToString())
        for array in arrays:
            self._send(array.data)

    def receive_records(self) -> RecordDict:
        """Return what `send_records` was given.

        Raises:
            ValueError, DecodeError, TypeError: it is something else.
        """
        records = recorddict_from_proto(ProtoRecordDict.FromString(self._receive()))
        for name, record in list(records.items()):
            if isinstance(record, ArrayRecord):
                records[name] = _with(record, [self._receive() for _ in record])
        return records

    def _send(self, data: bytes) -> None:
        self._connection.sendall(len(data).to_bytes(_LENGTH, "big"))
        self._connection.sendall(data)

    def _receive(self) -> bytes:
        return self._exactly(int.from_bytes(self._exactly(_LENGTH), "big"))

    def _exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) != size:
            raise EOFError("the other end is gone")
        return data


def _with(record: ArrayRecord, contents: list[bytes]) -> ArrayRecord:
    return ArrayRecord(
        {
            name: Array(dtype=array.dtype, shape=array.shape, stype=array.stype, data=content)
            for (name, array), content in zip(record.items(), contents, strict=True)
        }
    )
