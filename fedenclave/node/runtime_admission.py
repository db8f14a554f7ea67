"""How much of a request a SuperNode's Runtime API reads before it knows who asks.

Flower reads a body whole, and looks at the token afterwards; every user of this machine can connect
to the port. So a request without a valid token has a short body, or is refused unread.

Not held: many connections at a time, each of which asks for little.

Source: flwr 1.41, flwr/supercore/protobuf/translation.py and dependencies/task.py; the ASGI
specification, version 3.0, HTTP connection scope.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

# The launcher's request for a task, signed, and a heartbeat have a few hundred bytes.
WITHOUT_TOKEN = 64 * 1024
_TOO_LARGE = 413

Event = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Admission:
    """Stands before the application that serves the Runtime API."""

    def __init__(self, application: Application, is_valid: Callable[[str], bool]) -> None:
        """Stand before it.

        Args:
            application: Flower's.
            is_valid: says whether a task has this token now.
        """
        self._application, self._is_valid = application, is_valid

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http" or self._has_token(scope):
            await self._application(scope, receive, send)
            return
        body = await _short_body(scope, receive)
        if body is None:
            await _refuse(send)
            return
        await self._application(scope, _again(body, receive), send)

    def _has_token(self, scope: Scope) -> bool:
        from flwr.supercore.constant import TASK_TOKEN_HEADER

        found = _values(scope, TASK_TOKEN_HEADER)
        return len(found) == 1 and self._is_valid(found[0].decode("latin-1"))


def _values(scope: Scope, name: str) -> list[bytes]:
    wanted = name.lower().encode()
    return [value for key, value in scope["headers"] if key.lower() == wanted]


async def _short_body(scope: Scope, receive: Receive) -> bytes | None:
    """Read a body; return None where it is longer than it may be, having read no more."""
    for announced in _values(scope, "content-length"):
        if not announced.isdigit() or int(announced[:20]) > WITHOUT_TOKEN:
            return None
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] != "http.request":
            return bytes(body)  # whoever asked has gone
        body += event.get("body", b"")
        if len(body) > WITHOUT_TOKEN:
            return None
        if not event.get("more_body", False):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_event() -> Event:
        return waiting.pop() if waiting else await receive()

    return next_event


async def _refuse(send: Send) -> None:
    headers = [(b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": _TOO_LARGE, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
