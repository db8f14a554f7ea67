"""Ask the launcher of Google's Confidential Space for a token.

The launcher, part of the attested image, takes a nonce, has Google's attestation service check the
virtual machine, and answers with a signed JWT. It is asked by HTTP over a Unix socket: one request,
one answer, written and read here by hand, since the enclave has no HTTP library and needs none.

The nonce is the lower-case hex of SHA-256(report data), because a nonce has 74 bytes at most. The
token is of the kind `PKI`: it carries its certificate chain and can be verified offline.

What an answer must be: `HTTP/1.1 200`, a head of at most 8 KiB, and a body of at most 64 KiB that
either `Content-Length` or `Transfer-Encoding: chunked` delimits and that ends where the connection
does. Go's server, which the launcher uses, sends a body above 2 KiB in chunks. Everything else is
refused, interim answers, chunk extensions and trailers included.

Source: Google, Confidential Space, "Use resources outside of Google Cloud" and "Token claims";
google/go-tpm-tools, launcher/teeserver/tee_server.go; RFC 9112, sections 4, 6.3 and 7.1.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import socket
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.attesters.attester import (
    AttestationUnavailable,
    hardware_evidence,
    unavailable,
)
from fedenclave.protocol.evidence import Evidence

SOCKET = "/run/container_launcher/teeserver.sock"
AUDIENCE = "fedenclave"
"""What the token says that it is for; a policy pins it."""

_SECONDS = 60.0
_MAX_HEAD = 8 << 10
_MAX_BODY = 64 << 10
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n]*?)[ \t]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_TOKEN = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


class _BadAnswer(Exception):
    """The answer is not what HTTP allows, or not what is wanted; the text says which."""


class ConfidentialSpaceAttester:
    """Asks for one token per piece of evidence."""

    def __init__(self, path: Path, audience: str = AUDIENCE) -> None:
        """Ask at the Unix socket `path`, for a token that names `audience`."""
        self._path, self._audience = path, audience

    def evidence(self, report_data: bytes, key: Ed25519PrivateKey) -> Evidence:
        """See `Attester`."""
        request = _request(self._audience, hashlib.sha256(report_data).hexdigest())
        with unavailable(
            f"ask {self._path}", hint="that socket is there only inside Confidential Space"
        ):
            answer = _exchange(self._path, request)
        try:
            token = _body(answer).strip()
            if not _TOKEN.fullmatch(token):
                raise _BadAnswer("a body that is no token")
        except _BadAnswer as error:
            raise AttestationUnavailable(
                f"{self._path} answers with {error}",
                hint="the launcher's own log says why; its service account needs the role "
                "`confidentialcomputing.workloadUser`",
            ) from error
        return hardware_evidence("confidential-space", {"token": token}, key)


def _request(audience: str, nonce: str) -> bytes:
    body = json.dumps({"audience": audience, "token_type": "PKI", "nonces": [nonce]}).encode()
    head = (
        "POST /v1/token HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def _exchange(path: Path, request: bytes) -> bytes:
    """Return everything that is answered until the other side closes; OSError where it does not."""
    deadline = time.monotonic() + _SECONDS
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        _wait_until(deadline, connection)
        connection.connect(str(path))
        _wait_until(deadline, connection)
        connection.sendall(request)
        _wait_until(deadline, connection)
        answer = bytearray()
        # The chunks' own framing is part of what arrives.
        while part := connection.recv(1 << 16):
            answer += part
            if len(answer) > _MAX_HEAD + 2 * _MAX_BODY:
                raise OSError(errno.EFBIG, "the answer is too long")
            _wait_until(deadline, connection)
    return bytes(answer)


def _wait_until(deadline: float, connection: socket.socket) -> None:
    """Let the next call wait for what is left of the time; TimeoutError where nothing is."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connection.settimeout(left)


def _body(answer: bytes) -> bytes:
    """Return the body of an answer that says 200."""
    head, found, rest = answer.partition(b"\r\n\r\n")
    if not found or len(head) > _MAX_HEAD:
        raise _BadAnswer("no end of the head")
    status, *lines = head.split(b"\r\n")
    if not re.fullmatch(rb"HTTP/1\.1 [1-5][0-9]{2}( [\x20-\x7e]*)?", status):
        raise _BadAnswer("what is not HTTP/1.1")
    if status[9:12] != b"200":
        raise _BadAnswer(f"status {status[9:12].decode()}")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None or match[1].lower() in headers:
            raise _BadAnswer("a header that is malformed or there twice")
        headers[match[1].lower()] = match[2]
    length, encoding = headers.get(b"content-length"), headers.get(b"transfer-encoding")
    if length is None and encoding is not None and encoding.lower() == b"chunked":
        body = _chunks(rest)
    elif length is not None and encoding is None and length == str(len(rest)).encode():
        body = rest
    else:
        raise _BadAnswer("a body without a length, or of another length")
    if len(body) > _MAX_BODY:
        raise _BadAnswer("a body that is too long")
    return body


def _chunks(rest: bytes) -> bytes:
    """Return the content of chunks that end exactly where `rest` does."""
    body, at = b"", 0
    while match := _CHUNK.match(rest, at):
        size, at = int(match[1], 16), match.end()
        end = at + size
        if rest[end : end + 2] != b"\r\n":
            break
        if size == 0:
            if end + 2 != len(rest):
                break
            return body
        body, at = body + rest[at:end], end + 2
    raise _BadAnswer("chunks that are malformed or cut off")
