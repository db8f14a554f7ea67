"""T12: whoever takes a SuperNode's port, or answers in its place, gets nothing, starts nothing."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

import httpx
from flwr.app import Context, RecordDict
from flwr.proto.runtime_pb2 import AcquireTaskRequest, AcquireTaskResponse
from flwr.proto.task_pb2 import Task

from fedenclave.node.configuration import write_configuration
from fedenclave.node.launcher import Launcher, _serve
from fedenclave.node.own_settings import with_own_settings, without_settings
from fedenclave.node.runtime_api import make_identity, runtime_client

SECRET = b"s" * 32


@dataclass(kw_only=True)
class Server:
    """Answers every request with a task, or sends it elsewhere, and keeps what it was asked."""

    address: str
    asked: list[str] = field(default_factory=list)
    elsewhere: str = ""


@contextmanager
def serving(identity: tuple[bytes, bytes] | None, folder: Path) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            made.asked.append(self.path)
            task = AcquireTaskResponse(token="t", task=Task(type="flwr-clientapp"))
            content = b"" if made.elsewhere else task.SerializeToString()
            self.send_response(307 if made.elsewhere else 200)
            if made.elsewhere:
                self.send_header("location", made.elsewhere)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for name, content in zip(("certificate", "key"), identity, strict=True):
            (folder / name).write_bytes(content)
        context.load_cert_chain(folder / "certificate", folder / "key")
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    made = Server(address=f"127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Launches(Launcher):
    """Counts what it would start."""

    def __init__(self, address: str, certificate: bytes) -> None:
        super().__init__(address, Path(), None, certificate=certificate)
        self.tokens: list[str] = []

    def launch(self, token: str, task_type: str) -> None:
        self.tokens.append(token)
        raise KeyboardInterrupt


def test_the_holder_of_the_key_is_asked_for_tasks(tmp_path: Path) -> None:
    certificate, key = make_identity()
    with serving((certificate, key), tmp_path) as server:
        launcher = Launches(server.address, certificate)
        with pytest.raises(KeyboardInterrupt):
            _serve(launcher, server.address, SECRET, certificate)
    assert launcher.tokens == ["t"]
    assert server.asked == ["/v1/runtime/acquire-task"]


@pytest.mark.parametrize("tls", [False, True])
def test_whoever_took_the_port_is_asked_nothing_and_starts_nothing(
    tls: bool, tmp_path: Path
) -> None:
    certificate, _ = make_identity()
    with serving(make_identity() if tls else None, tmp_path) as impostor:
        launcher = Launches(impostor.address, certificate)
        with pytest.raises(ConnectionError, match="is not this node's SuperNode"):
            _serve(launcher, impostor.address, SECRET, certificate)
    assert launcher.tokens == []
    assert impostor.asked == []


def test_no_redirect_is_followed(tmp_path: Path) -> None:
    certificate, key = make_identity()
    with (
        serving((certificate, key), tmp_path) as server,
        serving(None, tmp_path) as inside,
    ):
        server.elsewhere = f"http://{inside.address}/inside"
        client = runtime_client(server.address, certificate, [])
        with pytest.raises(httpx.HTTPStatusError):
            client.AcquireTask(AcquireTaskRequest())
    assert inside.asked == []
    assert len(server.asked) == 1


@pytest.mark.parametrize("certificate", [b"", b"no certificate"])
def test_without_a_certificate_nobody_is_asked(certificate: bytes) -> None:
    with pytest.raises(ValueError, match="PEM"):
        runtime_client("127.0.0.1:9", certificate, [])


def test_what_comes_with_a_message_sets_nothing_of_the_node(tmp_path: Path) -> None:
    path = write_configuration(tmp_path, address="superlink.example:9092", port=9094)
    path.write_text(path.read_text() + "sites = 2\n")
    sent = Context(
        run_id=1,
        node_id=7,
        node_config={"fedenclave-insecure": True, "fedenclave-dir": "/x", "data-path": "/y"},
        state=RecordDict(),
        run_config={"epochs": 3},
        series_id=5,
    )
    own = with_own_settings(sent, tmp_path)
    assert own.node_config == {"fedenclave-dir": str(tmp_path.resolve()), "sites": 2}
    assert (own.run_config, own.state, own.series_id) == (sent.run_config, sent.state, 5)
    kept = without_settings(own)
    assert kept is not None
    assert kept.node_config == {}
