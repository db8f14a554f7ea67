"""Receipts on their way to clients: with the next message to each, until it has answered one."""

from __future__ import annotations

from collections.abc import Mapping

from fedenclave.protocol.exchange import Delivery


class Deliveries:
    """What each client still awaits."""

    def __init__(self) -> None:
        """Nobody awaits anything."""
        self._awaited: dict[str, list[Delivery]] = {}
        self._sent: dict[str, int] = {}

    def add(self, deliveries: Mapping[str, Delivery]) -> None:
        """Queue one delivery for each client."""
        for client, delivery in deliveries.items():
            self._awaited.setdefault(client, []).append(delivery)

    def send(self, client: str) -> list[bytes]:
        """Return what to put into the next message to `client`."""
        awaited = self._awaited.get(client, [])
        self._sent[client] = len(awaited)
        return [delivery.to_bytes() for delivery in awaited]

    def answered(self, client: str) -> None:
        """Forget what `client` has received: it answered the message that brought it."""
        rest = self._awaited.get(client, [])[self._sent.pop(client, 0) :]
        if rest:
            self._awaited[client] = rest
        else:
            self._awaited.pop(client, None)

    def awaiting(self) -> set[str]:
        """Return the clients that still await something."""
        return set(self._awaited)
