"""What a SuperLink may answer a SuperNode: the rest is refused before Flower works with it.

Flower takes what it is answered as it comes: it waits for ever for the reply to a message that has
no identifier, goes where a redirect sends it, and reads an answer whole, however long and however
compressed.

Rules:
  * A message that is not right is passed over, and said. What else is not right ends the SuperNode,
    which is started again.
  * No redirect is followed. No answer is compressed, or longer than a Protobuf message can be.

Source: flwr 1.41, flwr/supernode/fleet_http_client.py and start_client_internal.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import httpx

from fedenclave.node.bundle import MAX_BYTES, fab_hash
from fedenclave.node.runtime_api import follow_no_redirect
from fedenclave.protocol.errors import MalformedMessage

if TYPE_CHECKING:
    from flwr.proto.fab_pb2 import GetFabRequest, GetFabResponse
    from flwr.proto.fleet_pb2 import PullMessagesRequest, PullMessagesResponse
    from flwr.proto.run_pb2 import GetRunRequest, GetRunResponse
    from flwr.supercore.protobuf.client import ProtobufClient

LONGEST_ANSWER = 1 << 31  # a Protobuf message is shorter
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")
# Flower's own are a round's number, and words like train.custom.
_LONGEST_NAME = 100


def check_pulled(answer: PullMessagesResponse, node_id: int) -> None:
    """Look at a message that is to be taken, before it is.

    Args:
        answer: holds one.
        node_id: this node's.

    Raises:
        MalformedMessage: Flower would wait for its reply for ever, or send that astray.
    """
    messages, trees = answer.messages_list, answer.message_object_trees
    if len(messages) != 1 or len(trees) != 1:
        raise MalformedMessage(f"{len(messages)} messages with {len(trees)} trees came, want one")
    told = messages[0].metadata
    if not _IDENTIFIER.fullmatch(told.message_id) or told.message_id != trees[0].object_id:
        raise MalformedMessage("a message's identifier is not the hash of its objects")
    if told.reply_to_message_id:
        raise MalformedMessage("a message came as the reply to another one")
    if told.dst_node_id != node_id:
        raise MalformedMessage(f"a message is for node {told.dst_node_id}, want {node_id}")
    for what, number in (("lifetime", told.ttl), ("time", told.created_at)):
        if not math.isfinite(number) or number <= 0:
            raise MalformedMessage(f"a message's {what} is {number}, want seconds")
    for what, text in (("group", told.group_id), ("type", told.message_type)):
        if len(text) > _LONGEST_NAME or not text.isprintable():
            raise MalformedMessage(
                f"a message's {what} has {len(text)} characters, want at most {_LONGEST_NAME}, "
                "and printable ones"
            )


def check_run(answer: GetRunResponse, asked: GetRunRequest) -> None:
    """Look at a run.

    Raises:
        MalformedMessage: it is another one than was asked for: no app would ever be given it.
    """
    if answer.run.run_id != asked.run_id:
        raise MalformedMessage(f"run {answer.run.run_id} came, want {asked.run_id}")


def check_app(answer: GetFabResponse, asked: GetFabRequest) -> None:
    """Look at an app's bundle.

    Raises:
        MalformedMessage: it is too large, or another one than was asked for.
    """
    content = answer.fab.content
    if len(content) > MAX_BYTES:
        raise MalformedMessage(f"an app of {len(content)} bytes came, want at most {MAX_BYTES}")
    if fab_hash(content) != asked.hash_str:
        raise MalformedMessage("another app came than the run announces")


def guard(say: Callable[[MalformedMessage], None], alive: Callable[[], None]) -> None:
    """Have every SuperNode of this process look at what it is answered.

    Args:
        say: is told what was wrong with a message that was passed over.
        alive: is called with each question, and each answer, but a heartbeat's.
    """
    from flwr.proto.fleet_pb2 import PullMessagesResponse
    from flwr.supernode.fleet_http_client import FleetHttpClient

    kept = {
        name: getattr(FleetHttpClient, name)
        for name in ("__init__", "PullMessages", "GetRun", "GetFab", "_unary_unary")
    }

    def begin(self: ProtobufClient, *words: object, **options: object) -> None:
        kept["__init__"](self, *words, **options)
        bind(self)

    def pull(self: ProtobufClient, asked: PullMessagesRequest) -> PullMessagesResponse:
        answer: PullMessagesResponse = kept["PullMessages"](self, asked)
        if not answer.messages_list:
            return answer
        try:
            check_pulled(answer, asked.node.node_id)
        except MalformedMessage as refusal:
            say(refusal)
            return PullMessagesResponse()
        return answer

    def run(self: ProtobufClient, asked: GetRunRequest) -> GetRunResponse:
        answer: GetRunResponse = kept["GetRun"](self, asked)
        check_run(answer, asked)
        return answer

    def app(self: ProtobufClient, asked: GetFabRequest) -> GetFabResponse:
        answer: GetFabResponse = kept["GetFab"](self, asked)
        check_app(answer, asked)
        return answer

    def unary(self: ProtobufClient, *, path: str, **options: object) -> object:
        counts = not path.endswith("heartbeat")
        if counts:
            alive()
        answer: object = kept["_unary_unary"](self, path=path, **options)
        if counts:
            alive()
        return answer

    made = {
        "__init__": begin,
        "PullMessages": pull,
        "GetRun": run,
        "GetFab": app,
        "_unary_unary": unary,
    }
    for name, function in made.items():
        setattr(FleetHttpClient, name, function)


def bind(client: ProtobufClient) -> None:
    """Have one of Flower's clients follow no redirect, and bound what it is answered."""
    follow_no_redirect(client)
    inner = client._client
    inner.headers["accept-encoding"] = "identity"
    inner.event_hooks = {**inner.event_hooks, "response": [_bound]}


def _bound(response: httpx.Response) -> None:
    """Refuse an answer that is compressed or too long, before more than its head was read."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise MalformedMessage("the SuperLink's answer is compressed, which nobody asked for")
    try:
        announced = int(response.headers.get("content-length", "0"))
    except ValueError as error:
        raise MalformedMessage("the SuperLink's answer has no length, but a text") from error
    if announced > LONGEST_ANSWER:
        raise MalformedMessage(f"the SuperLink announces an answer of {announced} bytes")
    if not isinstance(response.stream, httpx.SyncByteStream):
        raise AssertionError("a client that is not asynchronous has such a stream")
    response.stream = _Bounded(response.stream)


class _Bounded(httpx.SyncByteStream):
    """A stream that ends with an error where it is longer than it may be."""

    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        left = LONGEST_ANSWER
        for chunk in self._stream:
            left -= len(chunk)
            if left < 0:
                raise MalformedMessage(f"the SuperLink's answer has over {LONGEST_ANSWER} bytes")
            yield chunk

    def close(self) -> None:
        self._stream.close()
