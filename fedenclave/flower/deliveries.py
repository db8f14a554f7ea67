"""Receipts on their way to clients: with the next message to each, until it has answered one.

Of a client that never answers the newest are kept. Who said that it sends no update hardly awaits a
receipt: it gets what shows its case beside the next message to it, and none for that alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from flwr.app import Message

from fedenclave.client.state import MAX_PENDING
from fedenclave.protocol.exchange import Delivery

_MAX_UNANSWERED = 8 * MAX_PENDING


class Deliveries:
    """What each client still awaits."""

    def __init__(self) -> None:
        """Nobody awaits anything."""
        self._awaited: dict[str, list[Delivery]] = {}
        self._sent: dict[str, set[int]] = {}
        self._beside: set[tuple[str, int]] = set()
        """Client and round of what no message is sent for."""

    def add(self, deliveries: Mapping[str, Delivery], sent_none: Collection[str] = ()) -> None:
        """Queue one delivery for each client; `sent_none` say that they have sent no update."""
        for client, delivery in deliveries.items():
            if client in sent_none and not delivery.answer:
                self._beside.add((client, delivery.round))
            self._awaited[client] = _kept([*self._awaited.get(client, []), delivery])
            kept = {(client, each.round) for each in self._awaited[client]}
            self._beside -= {place for place in self._beside if place[0] == client} - kept

    def send(self, client: str) -> list[bytes]:
        """Return what to put into the next message to `client`."""
        awaited = self._awaited.get(client, [])
        self._sent[client] = {delivery.round for delivery in awaited}
        return [delivery.to_bytes() for delivery in awaited]

    def answered(self, client: str) -> None:
        """Forget what `client` has received: it answered the message that brought it."""
        sent = self._sent.pop(client, set())
        rest = [each for each in self._awaited.get(client, []) if each.round not in sent]
        if rest:
            self._awaited[client] = rest
        else:
            self._awaited.pop(client, None)
        self._beside -= {(client, round_) for round_ in sent}

    def awaiting(self) -> set[str]:
        """Return the clients that still await something for which they are sent a message."""
        return {
            client
            for client, deliveries in self._awaited.items()
            if any((client, delivery.round) not in self._beside for delivery in deliveries)
        }


def _kept(deliveries: list[Delivery]) -> list[Delivery]:
    """Return the newest: of those without an answer more, for most are of rounds it knows not of.

    They must not push out what a client awaits that was away for a few rounds.
    """
    answered = [each for each in deliveries if each.answer][-MAX_PENDING:]
    others = [each for each in deliveries if not each.answer][-_MAX_UNANSWERED:]
    return sorted([*answered, *others], key=lambda each: each.round)


_FROM_THE_NODE = (2, 6)
"""Flower's errors of an app and of a mod; the others are of a node or a reply that is not there."""


def says_of_itself(reply: Message) -> bool:
    """Return whether the node itself has answered that there is no result."""
    return reply.has_error() and reply.error.code in _FROM_THE_NODE
