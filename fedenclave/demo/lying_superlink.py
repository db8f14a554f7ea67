"""A SuperLink that keeps to Flower's Fleet API only as far as it likes: for playing attacks.

It takes any node in, and ships it what it is told: bytes under another app's hash, bytes that are
no archive, a task of another type, a message that nothing can answer, an address to go on at.
Flower's own SuperLink hashes what it is given, and so cannot.

Everything listens on 127.0.0.1 only, and TLS is Flower's usual.

Source: flwr 1.41, flwr/supernode/fleet_http_client.py and fleet_http_connection.py.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.app.message.message import make_message, remove_content_from_message
from flwr.app.metadata import Metadata
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.common.serde import message_to_proto
from flwr.proto import fab_pb2, fleet_pb2, heartbeat_pb2, message_pb2, run_pb2
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree

from fedenclave.demo.certificates import ServerCertificate
from fedenclave.demo.ports import HOST

NODE_ID = 7
_MEDIA_TYPE = "application/x-protobuf"
_LONGEST_REQUEST = 1 << 24
_TTL_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """An app, and what is said of it.

    Attributes:
        content: the bundle's bytes.
        announced: the hash under which the run names it, 64 hexadecimal digits.
        labelled: the hash that goes with the bytes.
        task_type: as what it is to run, in Flower's words; empty for a ClientApp.
        nameless: whether its message has no identifier.
        elsewhere: the URL that the node is sent to for the app; empty for none.
    """

    content: bytes
    announced: str
    labelled: str
    task_type: str = ""
    nameless: bool = False
    elsewhere: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a node answered: the reason of a refusal or failure, or None for content."""

    error: str | None


class _Elsewhere(Exception):
    """The node is to go on at this URL."""


class LyingSuperLink:
    """Serves one node, until the `with` block ends."""

    def __init__(self, certificate: ServerCertificate) -> None:
        """Take a free port of 127.0.0.1; nothing is answered yet."""
        self._runs: dict[int, Shipment] = {}
        self._waiting: deque[int] = deque()
        self._objects: dict[str, bytes] = {}
        self._replies: dict[int, Reply] = {}
        self._activations = 0
        self._pulled: dict[int, int] = {}
        self._passed_over: set[int] = set()
        self._nameless: set[int] = set()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.private_key)
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self._answers()))
        # The handshake is left to the connection's own thread.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )

    @property
    def address(self) -> str:
        """Where it listens, `host:port`."""
        return f"{HOST}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        """Begin to answer."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()

    def connected(self) -> bool:
        """Say whether a node has come."""
        return self._activations > 0

    def ship(self, shipment: Shipment) -> int:
        """Have the node asked to run an app; return the run's number."""
        run = len(self._runs) + 1
        self._runs[run] = shipment
        self._waiting.append(run)
        return run

    def settled(self, run: int) -> bool:
        """Say whether a run was answered, or its node has come anew or gone on since."""
        if run in self._passed_over:
            return True
        return run in self._replies or self._activations > self._pulled.get(run, self._activations)

    def reply(self, run: int) -> Reply | None:
        """Return the answer of a run; None where there is none."""
        return self._replies.get(run)

    def _answers(self) -> Mapping[str, Callable[[bytes], Any]]:
        return {
            "activate-node": self._activate,
            "deactivate-node": lambda _: fleet_pb2.DeactivateNodeResponse(),
            "send-node-heartbeat": lambda _: heartbeat_pb2.SendNodeHeartbeatResponse(success=True),
            "pull-messages": self._pull,
            "get-run": self._run,
            "get-fab": self._fab,
            "pull-object": self._object,
            "confirm-message-received": lambda _: message_pb2.ConfirmMessageReceivedResponse(),
            "push-messages": self._push,
            "push-object": lambda _: message_pb2.PushObjectResponse(stored=True),
        }

    def _activate(self, _: bytes) -> Any:
        self._activations += 1
        return fleet_pb2.ActivateNodeResponse(node_id=NODE_ID)

    def passed_over(self, run: int) -> bool:
        """Say whether the node has asked for more since it got a message without an identifier."""
        return run in self._passed_over

    def _pull(self, _: bytes) -> Any:
        self._passed_over |= self._nameless
        if not self._waiting:
            return fleet_pb2.PullMessagesResponse()
        run = self._waiting.popleft()
        self._pulled[run] = self._activations
        asked = _question(run)
        for name, part in get_all_nested_objects(asked).items():
            self._objects[name] = part.deflate()
        message = message_to_proto(remove_content_from_message(asked))
        if self._runs[run].nameless:
            message.metadata.message_id = ""
            self._nameless.add(run)
        return fleet_pb2.PullMessagesResponse(
            messages_list=[message], message_object_trees=[get_object_tree(asked)]
        )

    def _run(self, request: bytes) -> Any:
        run = run_pb2.GetRunRequest.FromString(request).run_id
        shipment = self._runs[run]
        return run_pb2.GetRunResponse(
            run=run_pb2.Run(
                run_id=run,
                fab_id="clinic/small",
                fab_version="1.0.0",
                fab_hash=shipment.announced,
                status=run_pb2.RunStatus(status="running"),
                primary_task_type=shipment.task_type,
                series_id=run,
            )
        )

    def _fab(self, request: bytes) -> Any:
        shipment = self._runs[fab_pb2.GetFabRequest.FromString(request).run_id]
        if shipment.elsewhere:
            raise _Elsewhere(shipment.elsewhere)
        fab = fab_pb2.Fab(hash_str=shipment.labelled, content=shipment.content)
        return fab_pb2.GetFabResponse(fab=fab)

    def _object(self, request: bytes) -> Any:
        name = message_pb2.PullObjectRequest.FromString(request).object_id
        return message_pb2.PullObjectResponse(
            object_found=True, object_available=True, object_content=self._objects[name]
        )

    def _push(self, request: bytes) -> Any:
        for message in fleet_pb2.PushMessagesRequest.FromString(request).messages_list:
            error = message.error.reason if message.HasField("error") else None
            self._replies[message.metadata.run_id] = Reply(error=error)
        return fleet_pb2.PushMessagesResponse(session_id="1")


def _question(run: int) -> Message:
    metadata = Metadata(
        run_id=run,
        message_id="",
        src_node_id=SUPERLINK_NODE_ID,
        dst_node_id=NODE_ID,
        reply_to_message_id="",
        group_id="1",
        created_at=time.time(),
        ttl=_TTL_S,
        message_type="train",
    )
    question = make_message(metadata, RecordDict({"ask": ConfigRecord({})}))
    # Its identifier is a hash over all but the identifier.
    question.metadata.__dict__["_message_id"] = question.object_id
    return question


def _handler(answers: Mapping[str, Callable[[bytes], Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", "0"))
            answer = answers.get(self.path.removeprefix("/v1/fleet/"))
            if answer is None or size > _LONGEST_REQUEST:
                self.send_error(404)
                return
            try:
                content = answer(self.rfile.read(size)).SerializeToString()
                self.send_response(200)
            except _Elsewhere as elsewhere:
                content = b""
                self.send_response(307)
                self.send_header("location", str(elsewhere))
            self.send_header("content-type", _MEDIA_TYPE)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing: what is of interest is in the answers."""

    return Handler


class Inside:
    """A program in the node's own network, by HTTP without TLS: nobody outside is to reach it."""

    def __init__(self) -> None:
        """Take a free port of 127.0.0.1."""
        self._requests = 0
        inside = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                inside._requests += 1
                self.send_error(404)

            do_GET = do_POST  # noqa: N815 - http.server's name

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: what counts is that somebody came."""

        self._server = ThreadingHTTPServer((HOST, 0), Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self._server.server_address[1]}/inside"

    def was_reached(self) -> bool:
        """Say whether anybody came."""
        return self._requests > 0

    def __enter__(self) -> Self:
        """Begin to answer."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
