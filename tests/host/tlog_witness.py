"""A witness on loopback, as strict as C2SP tlog-witness, with nothing of ours in its judgement.

Its consistency check turns RFC 6962's definition of the proof round: it rebuilds both trees' roots
by recursion, where ours walks a path.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.protocol.independent_note import key_id, verify

Answer = tuple[int, str, bytes]
"""Status, content type, body."""


@dataclass(kw_only=True)
class Log:
    """A log that the witness knows: its key, and what it has cosigned last."""

    key: bytes
    size: int = 0
    root: bytes = b""


def roots_of(old_root: bytes, old: int, new: int, proof: list[bytes]) -> tuple[bytes, bytes]:
    """Return both roots that a proof makes of a tree of `old` leaves within one of `new`."""
    hashes = iter(proof)

    def part(m: int, n: int, whole: bool) -> tuple[bytes, bytes]:
        if m == n:
            shared = old_root if whole else next(hashes)
            return shared, shared
        k = 1
        while 2 * k < n:
            k *= 2
        if m <= k:
            before, after = part(m, k, whole)
            return before, _join(after, next(hashes))
        before, after = part(m - k, n - k, False)
        left = next(hashes)
        return _join(left, before), _join(left, after)

    found = part(old, new, True)
    if next(hashes, None) is not None:
        raise ValueError("a hash too many")
    return found


def _join(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(kw_only=True)
class HttpWitness:
    """Serves add-checkpoint in a thread; `answers` are given, one by one, before any judgement."""

    name: str
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    logs: dict[str, Log] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    delay: float = 0.0
    requests: list[bytes] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    @property
    def key(self) -> bytes:
        return self.private.public_key().public_bytes_raw()

    @property
    def vkey(self) -> str:
        data = base64.b64encode(b"\x04" + self.key).decode()
        return f"{self.name}+{key_id(self.name, 4, self.key).hex()}+{data}"

    def line(self, text: bytes, seconds: int) -> bytes:
        """Return a line of this witness's."""
        signed = b"cosignature/v1\ntime " + str(seconds).encode() + b"\n" + text
        raw = key_id(self.name, 4, self.key) + seconds.to_bytes(8) + self.private.sign(signed)
        return b"\xe2\x80\x94 " + self.name.encode() + b" " + base64.b64encode(raw) + b"\n"

    # -- judgement

    def answer(self, body: bytes) -> Answer:
        """Judge one request; the first check that fails is the answer."""
        head, blank, note = body.partition(b"\n\n")
        lines = head.split(b"\n")
        old = re.fullmatch(rb"old (0|[1-9][0-9]*)", lines[0])
        if not blank or old is None or len(lines) > 64:
            return 400, "text/plain", b"not a request\n"
        origin = note.split(b"\n")[0].decode()
        if origin not in self.logs:
            return 404, "text/plain", b"unknown log\n"
        log = self.logs[origin]
        try:
            _, size, root, _ = verify(note, origin, 1, log.key)
        except (KeyError, InvalidSignature):
            return 403, "text/plain", b"no signature of the log\n"
        if (from_size := int(old[1])) > size:
            return 400, "text/plain", b"the old size is the larger\n"
        if from_size != log.size or (from_size == size and root != log.root):
            return 409, "text/x.tlog.size", f"{log.size}\n".encode()
        try:
            proof = [base64.b64decode(line, validate=True) for line in lines[1:]]
            if from_size == 0 and proof:
                raise ValueError("nothing is to be proved")
            if from_size and roots_of(log.root, from_size, size, proof) != (log.root, root):
                raise ValueError("another tree")
        except (ValueError, StopIteration, RuntimeError):
            return 422, "text/plain", b"no proof\n"
        log.size, log.root = size, root
        text = note[: note.rindex(b"\n\n") + 1]
        return 200, "text/plain", self.line(text, int(time.time()))

    # -- HTTP

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/prefix"

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler_for(witness: HttpWitness) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                witness.requests.append(body)
                planned = witness.answers.pop(0) if witness.answers else None
                wrong = self.path != "/prefix/add-checkpoint"
                status, kind, data = planned or (
                    (404, "text/plain", b"") if wrong else witness.answer(body)
                )
                witness.statuses.append(status)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            if 300 <= status < 400:
                self.send_header("Location", data.decode())
            self.end_headers()
            for part in _parts(data, witness.delay):
                try:
                    self.wfile.write(part)
                except OSError:
                    return  # whoever asked has given up

        def do_GET(self) -> None:
            """Nobody should: a redirection that was followed would."""
            witness.requests.append(b"GET")
            self.send_error(405)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    return Handler


def _parts(data: bytes, delay: float) -> Iterator[bytes]:
    """Yield the body at once, or one byte after the other."""
    if not delay:
        yield data
        return
    for place in range(len(data)):
        time.sleep(delay)
        yield data[place : place + 1]


FORGED = HttpWitness(
    name="w.example", private=Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
)
"""A witness by another key than the one that answers by its name."""
