"""One fresh nonce from every client: asked for once, then brought along with every update.

A round's evidence binds the root over its clients' nonces, so they must be here before the round
opens. Each is used for one round.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from logging import WARNING

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.common.logger import log
from flwr.serverapp import Grid

from fedenclave.flower import carrier
from fedenclave.flower.carrier import RECORD, Kind
from fedenclave.protocol.digests import DIGEST_SIZE, Digest
from fedenclave.protocol.errors import MalformedMessage, printable
from fedenclave.protocol.exchange import Hello
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import PublicKey, Signed, verify

_WAIT_SECONDS = 120.0


class Nonces:
    """The newest hello of each node, who each node says it is, and how it says its run is set."""

    def __init__(self) -> None:
        """Know nobody yet."""
        self._newest: dict[int, tuple[Hello, float]] = {}
        self.run_configs: dict[int, Digest] = {}
        self.clients: dict[int, str] = {}
        self._keys: dict[str, PublicKey] | None = None

    def know(self, manifest: Manifest) -> None:
        """Believe from now on, and of what was heard, only who has the key that the roster names.

        Else a node that says another's name would be brought that one's receipts, which would count
        as received.
        """
        self._keys = {client.name: PublicKey(client.key) for client in manifest.clients}
        strangers = [n for n, (hello, _) in self._newest.items() if not self._is_known(hello)]
        for node in strangers:
            del self._newest[node], self.run_configs[node], self.clients[node]

    def _is_known(self, hello: Hello) -> bool:
        return self._keys is None or self._keys.get(hello.client) == hello.key

    def hellos(self) -> list[Hello]:
        """Return the unused hellos."""
        return [hello for hello, _ in self._newest.values()]

    def ask(
        self, nodes: Iterable[int], grid: Grid, *, freshness: float, timeout: float
    ) -> Sequence[Message]:
        """Ask nodes whose nonce is missing or half-way to stale; return their replies."""
        stale = time.monotonic() - freshness / 2
        asked = [n for n in nodes if n not in self._newest or self._newest[n][1] < stale]
        if not asked:
            return []
        record = RecordDict({RECORD: ConfigRecord({"kind": Kind.HELLO.value})})
        messages = [
            Message(content=record, message_type=MessageType.TRAIN, dst_node_id=node)
            for node in asked
        ]
        return list(grid.send_and_receive(messages, timeout=min(timeout, _WAIT_SECONDS)))

    def take(self, message: Message) -> None:
        """Keep the hello in a reply; one that does not decode is said and forgotten."""
        node = message.metadata.src_node_id
        try:
            record = message.content.config_records[RECORD]
            hello = _self_signed(carrier.bytes_of(record, "hello"))
            run_config = _digest(carrier.bytes_of(record, "run-config"))
        except (KeyError, MalformedMessage) as error:
            log(WARNING, "node %s: no usable nonce: %s", node, error)
            return
        if not self._is_known(hello):
            name = printable(hello.client)
            log(WARNING, "node %s says it is %s, and has not that client's key", node, name)
            return
        # Monotonic: a clock that is set must not make an old nonce look fresh.
        self._newest[node] = (hello, time.monotonic())
        self.run_configs[node] = run_config
        self.clients[node] = hello.client

    def use(self, node: int) -> Hello | None:
        """Return a node's hello and forget it, or None where there is none."""
        found = self._newest.pop(node, None)
        return found[0] if found is not None else None


def _self_signed(signed: bytes) -> Hello:
    """Return a hello that holds under the key it names; whose key that is, the roster tells."""
    claimed = Hello.from_bytes(Signed.from_bytes(signed).payload)
    return verify(Hello, signed, PublicKey(claimed.key))


def _digest(data: bytes) -> Digest:
    if len(data) != DIGEST_SIZE:
        raise MalformedMessage(f"run configuration's digest has {len(data)} bytes, want 32")
    return Digest(data)
