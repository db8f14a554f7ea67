"""A small HTTP proxy for CONNECT, in this process: it keeps what it was asked for."""

from __future__ import annotations

import base64
import socket
import socketserver
import threading
from contextlib import suppress


class ConnectProxy:
    """Listens on a port of 127.0.0.1 from `start` to `close`; `seen` are the targets, as asked."""

    def __init__(self, password: str = "") -> None:
        """Ask for `user:password` where there is one."""
        self.seen: list[str] = []
        self._wanted = base64.b64encode(f"user:{password}".encode()).decode() if password else ""
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                outer._answer(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, handler: socketserver.StreamRequestHandler) -> None:
        method, target, _ = handler.rfile.readline().decode().split(" ")
        given = ""
        while (line := handler.rfile.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            if name.lower() == "proxy-authorization":
                given = value.split()[-1]
        self.seen.append(f"{method} {target}")
        if given != self._wanted:
            handler.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as far:
            handler.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(far, handler.connection), daemon=True)
            back.start()
            _copy(handler.connection, far)
            back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
