"""The launcher of Confidential Space as a workload sees it: HTTP over a Unix socket.

Requests are read by Python's own HTTP server, and tokens answered as Go's net/http does, which the
launcher uses: a body that fits its buffer of 2 KiB with its length, a longer one in chunks.
"""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Answer = Callable[[dict[str, Any]], bytes]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeLauncher

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body)
        self.server.asked.append(asked)
        if self.path != "/v1/token" or set(asked) != {"audience", "token_type", "nonces"}:
            self._answer(400, b"TEE server received invalid request")
        elif self.server.status != 200:
            self._answer(self.server.status, b"failed to attest")
        else:
            self._answer(200, self.server.token(asked))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        if len(body) <= 2048:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(body), 2048):
                part = body[at : at + 2048]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = self.headers["Connection"] == "close"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        """Return a name: a Unix socket's peer has none."""
        return "workload"


class FakeLauncher(socketserver.ThreadingUnixStreamServer):
    """Answers with `token`, which is a function of the request."""

    daemon_threads = True

    def __init__(self, path: Path, token: Answer) -> None:
        super().__init__(str(path), _Handler)
        self.token, self.status = token, 200
        self.asked: list[dict[str, Any]] = []


@contextmanager
def launcher(path: Path, token: Answer) -> Iterator[FakeLauncher]:
    """Run a launcher for the length of a with block."""
    with FakeLauncher(path, token) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
