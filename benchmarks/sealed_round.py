"""Rounds of a development federation, taken apart: seal them all, hand them over, close.

A real enclave process; the clients' sessions and the coordinator run in this process.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import timed
from benchmarks.trained import TENSOR, num_examples
from fedenclave.protocol.exchange import RoundOffer
from fedenclave.protocol.manifest import Rules
from fedenclave.protocol.model import Model
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import DEFAULT_RULES, SimulatedFederation

LOSS = "loss"
"""The metric that clients report where the rules ask for it (q-FedAvg)."""


@dataclass(frozen=True, kw_only=True)
class SealedTimes:
    """Seconds of one round.

    Attributes:
        arrive: writing all sealed updates to the host's store, and all admissions.
        close: from the last admission to the new model in the host's hands.
    """

    arrive: float
    close: float

    @property
    def total(self) -> float:
        """Sealed bytes as they arrive, to the released model."""
        return self.arrive + self.close


class SealedRounds:
    """A federation whose clients seal ready-made parameters."""

    def __init__(
        self, first: NDArray[np.float32], clients: int, rules: Rules = DEFAULT_RULES
    ) -> None:
        """Start the enclave."""
        self._federation = SimulatedFederation.create({TENSOR: first}, clients=clients, rules=rules)
        self._model = self._federation.model.to_bytes()

    @property
    def clients(self) -> Sequence[str]:
        """The clients' names, in order."""
        return list(self._federation.sessions)

    @property
    def payload_size(self) -> int:
        """Bytes of the plain parameters."""
        return self._federation.model.schema.payload_size

    @property
    def enclave_status(self) -> dict[str, int]:
        """Bytes that the enclave process holds now (`VmRSS`) and held at most (`VmHWM`)."""
        status = Path(f"/proc/{self._federation.aggregator.enclave_pid}/status").read_text("ascii")
        lines = (line.split() for line in status.splitlines())
        return {f[0][:-1]: int(f[1]) * 1024 for f in lines if f[0] in ("VmRSS:", "VmHWM:")}

    def open(self) -> dict[str, RoundOffer]:
        """Open the next round for everybody."""
        sessions = self._federation.sessions
        hellos = {name: session.hello(int(time.time())) for name, session in sessions.items()}
        return self._federation.coordinator.open(hellos, NO_TRAINING_CONFIG)

    def seal(
        self, client: str, offer: RoundOffer, trained: NDArray[np.float32], index: int
    ) -> tuple[bytes, float]:
        """Return a client's sealed update, and the seconds that sealing took, checks apart.

        In these are the difference to the base model, the search for NaN, and the client's state.
        """
        session = self._federation.sessions[client]
        accepted = session.accept(
            offer, self._model, int(time.time()), training_config=NO_TRAINING_CONFIG
        )
        payload = trained.tobytes()
        start = time.perf_counter()
        sealed = session.seal(accepted, payload, num_examples(index), {LOSS: 1 + index / 100})
        return sealed, time.perf_counter() - start

    def seal_all(self, trained: Sequence[NDArray[np.float32]]) -> list[bytes]:
        """Open the next round, and return everybody's sealed update for it."""
        offers = self.open()
        return [
            self.seal(name, offers[name], trained[i], i)[0] for i, name in enumerate(self.clients)
        ]

    def submit(self, client: str, sealed: bytes) -> tuple[float, float]:
        """Hand an update over; return the seconds of writing it and of its admission."""
        written = start = time.perf_counter()

        def parts() -> Iterator[bytes]:
            nonlocal written
            yield sealed
            # Asked for the next part: this one lies in the store.
            written = time.perf_counter()

        result = self._federation.aggregator.submit(parts())
        end = time.perf_counter()
        assert result.admitted, result.reason
        return written - start, end - written

    def close_round(self) -> float:
        """Aggregate and take the new model; return the seconds."""
        start = time.perf_counter()
        result, _ = self._federation.coordinator.close()
        seconds = time.perf_counter() - start
        self._model = result.model
        return seconds

    def run(self, updates: Sequence[bytes]) -> SealedTimes:
        """Hand all updates over and close."""
        pairs = list(zip(self.clients, updates, strict=True))
        results, arrive = timed(lambda: self._federation.coordinator.submit_all(pairs))
        assert all(result.admitted for result in results)
        return SealedTimes(arrive=arrive, close=self.close_round())

    def parameters(self) -> NDArray[np.float32]:
        """Return the newest released model."""
        return np.frombuffer(Model.from_bytes(self._model).payload, np.float32)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the enclave."""
        self._federation.close()
