"""A key service on loopback that keeps what it is sent, and answers what a test tells it."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from fedenclave.keys.provider import KeyProvider
from fedenclave.protocol.errors import FedEnclaveError
from tests.keys.events import read_events

DATA_KEY = bytes(range(32))
USE = {"subject": "dataset a", "context": "a"}
HANG = (0, "hang")


@dataclass(frozen=True)
class Request:
    """What was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class FakeService:
    """Answers by `answer`, unless a test has put a failure in front.

    Attributes:
        answer: gives status and JSON for a request.
        url: where it listens.
        requests: what was sent, the oldest first.
        failures: answers that are given first, by the path's last part; `None` closes the
            connection without one, and `HANG` gives none for a second.
    """

    answer: Callable[[Request], tuple[int, Any]]
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    failures: dict[str, tuple[int, Any] | None] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def last(self, ending: str) -> Request:
        """Return the newest request to a path with that end."""
        return next(r for r in reversed(self.requests) if r.path.partition("?")[0].endswith(ending))


@contextmanager
def serving(fake: FakeService, tls: tuple[Path, Path] | None = None) -> Iterator[FakeService]:
    """Run a fake until the end, under TLS with a certificate and a key if they are given."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            request = Request(
                method=self.command,
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=json.loads(raw) if raw else {},
            )
            fake.requests.append(request)
            for ending, failure in fake.failures.items():
                if request.path.partition("?")[0].endswith(ending):
                    if failure is None or failure == HANG:
                        time.sleep(0 if failure is None else 1)
                        self.close_connection = True
                        return
                    return self._send(*failure)
            return self._send(*fake.answer(request))

        def _send(self, status: int, value: Any) -> None:
            data = b"" if value is None else json.dumps(value).encode()
            self.send_response(status)
            for name, text in fake.headers.items():
                self.send_header(name, text)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "POST", "PATCH", "DELETE", "LIST"):
        setattr(Handler, f"do_{method}", Handler._any)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scheme = "http"
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    fake.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def refused_unwrapping(
    keys: KeyProvider,
    fake: FakeService,
    failure: tuple[str, tuple[int, Any] | None],
    error: type[FedEnclaveError],
    audit: Path,
) -> str:
    """Unwrap while requests to a path fail; return the message of the error that comes of it.

    It is of that class and no other, has a hint, and is on record. Then they fail no more, and what
    was wrapped before unwraps.
    """
    keys.create("node")
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    path, answer = failure
    fake.failures[path] = answer
    with pytest.raises(error) as refused:
        keys.unwrap(wrapped, **USE)
    assert type(refused.value) is error
    assert refused.value.hint
    event = read_events(audit)[-1]
    assert event["event"] == "unwrap-refused"
    assert str(event["why"])[:200] == refused.value.message[:200]
    for text in (DATA_KEY.hex(), base64.b64encode(DATA_KEY).decode()):
        assert text not in audit.read_text()
    del fake.failures[path]
    assert keys.unwrap(wrapped, **USE) == DATA_KEY
    return refused.value.message
