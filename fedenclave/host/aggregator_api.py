"""What a strategy needs of an aggregator, be it here or behind a gateway."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fedenclave.host.round_ends import RoundEnd
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.frames import AdmissionResult, Closed, Started, StatusReply
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """What a closed round gives: the enclave's statements, and the new model's file."""

    closed: Closed
    model: bytes

    def metrics(self) -> dict[str, float]:
        """Return the clients' metrics in the release, by name; their signature is not checked."""
        release = Release.from_bytes(Signed.from_bytes(self.closed.release).payload)
        return {metric.name: metric.value for metric in release.metrics}


class AggregatorApi(Protocol):
    """What a strategy needs of an aggregator, local or behind gRPC.

    Every method may raise `RequestRefused` (the enclave refuses; nothing changed), `EnclaveDied`,
    `StoreFull`, or for a remote one `AggregatorUnreachable`.
    """

    def info(self) -> tuple[bytes, tuple[bytes, ...], Started]:
        """Return the manifest, the approvals, and what the enclave said at its start."""
        ...

    def evidence(self, nonce: bytes) -> bytes:
        """Return encoded evidence over `nonce` (32 bytes)."""
        ...

    def open_round(self, cohort: Sequence[str], training_config: Digest) -> bytes:
        """Open the next round, all trained alike, and return its signed announcement."""
        ...

    def submit(self, sealed: Iterable[bytes]) -> AdmissionResult:
        """Hand over one sealed update in parts, and return the enclave's signed answer."""
        ...

    def close_round(self) -> RoundResult:
        """Aggregate and release."""
        ...

    def abort_round(self) -> bytes:
        """End the round without a release and return the signed abort."""
        ...

    def evaluated(self, digest: Digest) -> bytes:
        """Have the digest of an evaluation of the newest model logged; return the statement."""
        ...

    def leaves(self, first: int) -> tuple[Digest, ...]:
        """Return the log's leaves (digests of signed statements) from number `first` on."""
        ...

    def log_part(self, first: int, end: int) -> bytes:
        """Return statements `first` to `end` (excluded) as they stand in a log file."""
        ...

    def checkpoint(self) -> bytes:
        """Return the log's newest checkpoint as a signed note, with witnesses' signatures."""
        ...

    def releases(self) -> tuple[bytes, ...]:
        """Return every signed release so far, in order."""
        ...

    def round_ends(self) -> tuple[RoundEnd, ...]:
        """Return the newest release and the aborts after it, oldest first; see `newest_ends`."""
        ...

    def model(self) -> bytes:
        """Return the file of the current base model."""
        ...

    def status(self) -> StatusReply:
        """Return where the enclave is."""
        ...

    def close(self) -> None:
        """End the connection, or the local enclave."""
        ...
