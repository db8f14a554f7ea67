"""A client's Shareable as it arrives at an NVFlare server, and its decoding; no network in between.

NVFlare's streams cut all that a cell sends into pieces of 1 MiB. A Shareable is one FOBS message.
An array is not in it: the server's cell then asks the client's download service, whose replies are
FOBS messages again, and hold the array in NumPy's .npz format. The cells here only pass messages
on; encoding, download service and decoding are NVFlare's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nvflare.apis.shareable import Shareable
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.app_common.decomposers import common_decomposers, numpy_decomposers
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
from nvflare.fuel.f3.cellnet.utils import decode_payload, encode_payload
from nvflare.fuel.f3.message import Message
from nvflare.fuel.f3.streaming.byte_streamer import STREAM_CHUNK_SIZE
from nvflare.fuel.utils import fobs
from nvflare.fuel.utils.buffer_list import ConsumableBufferList

CELL = fobs.FOBSContextKey.CELL


@dataclass(frozen=True)
class ArrivedShareable:
    """What lies at the server: the pieces of the Shareable's message, and of each download."""

    pieces: Sequence[bytes]
    downloads: Sequence[Message]

    @property
    def size(self) -> int:
        """All bytes."""
        return sum(map(len, (*self.pieces, *(p for m in self.downloads for p in m.payload))))


class ClientCell:
    """A client's cell: the download service registers here what answers requests."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._handlers: dict[str, Callable[[Message], Message]] = {}

    def get_fqcn(self) -> str:
        """Return the cell's name."""
        return self._name

    def register_request_cb(self, topic: str, cb: Callable[[Message], Message], **_: Any) -> None:
        """Take what answers requests."""
        self._handlers[topic] = cb

    def reply_to(self, topic: str, request: Message) -> Message:
        """Return the reply as it arrives at the server."""
        reply = self._handlers[topic](
            Message({MessageHeaderKey.ORIGIN: "server"}, dict(request.payload))
        )
        encode_payload(reply)
        return Message(reply.headers, _pieces(reply.payload))


class ServerCell:
    """The server's cell: asks `next_reply` for what its streams would bring, and decodes it."""

    def __init__(self, next_reply: Callable[[str, Message], Message]) -> None:
        self._next_reply = next_reply

    def register_request_cb(self, **_: Any) -> None:
        """Take nothing: nobody asks the server."""

    def fire_and_forget(self, **_: Any) -> None:
        """Confirm no download: nobody waits for it."""

    def send_request(self, topic: str, request: Message, **_: Any) -> Message:
        """Return the reply, decoded."""
        arrived = self._next_reply(topic, request)
        reply = Message(dict(arrived.headers), ConsumableBufferList(arrived.payload))
        decode_payload(reply, fobs_ctx={})
        assert reply.get_header(MessageHeaderKey.RETURN_CODE) == ReturnCode.OK
        return reply


def register_decomposers() -> None:
    """Register what an NVFlare server registers."""
    flare_decomposers.register()
    common_decomposers.register()
    numpy_decomposers.register()


def sent(shareable: Shareable, client: str) -> ArrivedShareable:
    """Return what arrives of `shareable`, its arrays by download."""
    sender = ClientCell(client)
    pieces = _pieces(fobs.dumps(shareable, buffer_list=True, fobs_ctx={CELL: sender}))
    downloads: list[Message] = []

    def recorded(topic: str, request: Message) -> Message:
        downloads.append(sender.reply_to(topic, request))
        return downloads[-1]

    fobs.loads(ConsumableBufferList(pieces), fobs_ctx={CELL: ServerCell(recorded)})
    return ArrivedShareable(pieces, downloads)


def sent_as_one(shareable: Shareable) -> ArrivedShareable:
    """Return what arrives of `shareable` where its arrays lie in the message itself."""
    return ArrivedShareable(_pieces(fobs.dumps(shareable, buffer_list=True, fobs_ctx={})), [])


def decoded(arrived: ArrivedShareable) -> Shareable:
    """Return the Shareable, its arrays in memory."""
    replies = iter(arrived.downloads)
    cell = ServerCell(lambda *_: next(replies))
    made = fobs.loads(ConsumableBufferList(arrived.pieces), fobs_ctx={CELL: cell})
    assert isinstance(made, Shareable)
    return made


def _pieces(buffers: Iterable[bytes]) -> list[bytes]:
    """Return `buffers` in the pieces that a stream brings."""
    whole = b"".join(buffers)
    return [
        whole[start : start + STREAM_CHUNK_SIZE]
        for start in range(0, len(whole), STREAM_CHUNK_SIZE)
    ]
