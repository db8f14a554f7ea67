"""An honest client: it drops out, dies, comes back from its stored state, and hears late."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.audit.receipt import VerifiedReceipt
from fedenclave.client.session import ClientSession
from fedenclave.client.state import MemoryStore
from fedenclave.protocol.exchange import Delivery, Hello, RoundOffer
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.honest.oracle import Numbers, Update


class ClientDied(Exception):
    """The client's process has ended before its state was written."""


class FragileStore(MemoryStore):
    """A store before one of whose next writes its process dies."""

    dies_before = 0
    """Which of them, from 1; 0 for none."""

    def save_state(self, data: bytes) -> None:
        self.dies_before -= 1
        if self.dies_before == 0:
            raise ClientDied
        super().save_state(data)


class HonestClient:
    """One client, with the messages that are on their way to it."""

    def __init__(
        self, name: str, key: Ed25519PrivateKey, manifest: Manifest, approvals: Sequence[bytes]
    ) -> None:
        self.name, self._key, self._manifest, self._approvals = name, key, manifest, approvals
        self.store = FragileStore()
        self.mail: list[Delivery] = []
        self._hello: tuple[Hello, int, int] | None = None
        self.seals = 0
        """How often it has sealed: with each time it forgets every nonce that it has said."""
        self.receipts: dict[int, VerifiedReceipt] = {}
        self.restart()

    def restart(self) -> None:
        """Come back with what is stored."""
        self.session = ClientSession(
            manifest=self._manifest,
            approvals=self._approvals,
            name=self.name,
            key=self._key,
            store=self.store,
        )

    def say_hello(self, now: int) -> None:
        """Say hello beside an update, for a later round."""
        self._hello = self.session.hello(now), now, self.seals

    def take_hello(self, now: int) -> tuple[Hello, int]:
        """Return a hello that no round has used, nor half-way to stale; and `seals` of then."""
        limit = now - self._manifest.attestation.freshness_seconds // 2
        if self._hello is None or self._hello[1] < limit:
            self.say_hello(now)
        assert self._hello is not None
        (hello, _, seals), self._hello = self._hello, None
        return hello, seals

    def forget_hello(self) -> None:
        """Have it asked again: whoever held its hello is gone."""
        self._hello = None

    def seal(
        self, offer: RoundOffer, model: bytes, now: int, step: Numbers, num_examples: int
    ) -> tuple[bytes, Update]:
        """Check, train and seal; return the sealed bytes and what is in them."""
        accepted = self.session.accept(offer, model, now, training_config=NO_TRAINING_CONFIG)
        base = np.frombuffer(bytes(accepted.base.payload), np.float32)
        trained = base + step
        sealed = self.session.seal(accepted, trained.tobytes(), num_examples)
        self.seals += 1
        return sealed, Update(step=trained - base, num_examples=num_examples)

    def read(self, delivery: Delivery) -> None:
        """Take a delivery; what is not awaited any more has come twice."""
        if self.session.awaits(delivery.round):
            self.receipts[delivery.round] = self.session.take_delivery(delivery)
