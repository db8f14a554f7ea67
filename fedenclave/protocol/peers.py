"""What enclaves that share a cohort say to each other, signed and sealed; the host carries it.

One message has three purposes, and each answers another by its digest. So a partial sum is bound,
by way of the total that it answers, to one report and one sum of all weights.

Whatever a ciphertext's length could tell of the clients' examples has a fixed size.

SPEC.md, section 11.4.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record
from fedenclave.protocol.statements import Contribution, FederationStatement

WEIGHT_SIZE = 8
METRIC_SIZE = 280
"""A sum of 8,192 float64, each times at most 2**40, in units of 2**-1074: 2,152 bits and a sign."""


class Purpose(StrEnum):
    """What a message between enclaves holds."""

    REPORT = "report"
    TOTAL = "total"
    PARTIAL_SUM = "partial-sum"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerMessage(FederationStatement):
    """What one enclave seals to the round key of another. Signed by the sender's key.

    `answers` is the statement digest of what this answers: the root's announcement, a report, or a
    total. `sealed` is HPKE's `enc` and ciphertext.
    """

    TYPE: ClassVar[str] = "peer-message"
    MAX_SIZE: ClassVar[int] = 4 << 20

    round: int
    purpose: Purpose
    sender: bytes
    receiver: bytes
    answers: Digest
    sealed: bytes

    def info(self) -> bytes:
        """Return HPKE's `info`: everything but what is sealed."""
        return b"fedenclave/peer-message/v1\x00" + replace(self, sealed=b"").to_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport(Record):
    """Who is in a shard's partial sum, and what they weigh together. Sealed in a report.

    `weight` is 8 bytes. `metrics` are the weighted sums of those that the manifest releases, each
    `METRIC_SIZE` bytes: a signed integer in units of 2**-1074, so that the sum is exact.
    """

    MAX_SIZE: ClassVar[int] = 4 << 20

    contributions: tuple[Contribution, ...]
    missing: tuple[str, ...]
    weight: bytes
    metrics: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Refuse numbers of another size."""
        _check_weight(self.weight)
        if any(len(metric) != METRIC_SIZE for metric in self.metrics):
            raise MalformedMessage(f"a metric's sum has not {METRIC_SIZE} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Total(Record):
    """What all clients of all shards weigh together, and who they are. Sealed in a total.

    `attempt` grows with every total of the round. `weight` is 8 bytes, `clients` sorted.
    """

    attempt: int
    weight: bytes
    clients: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a weight of another size."""
        _check_weight(self.weight)


def _check_weight(weight: bytes) -> None:
    if len(weight) != WEIGHT_SIZE:
        raise MalformedMessage(f"weight has {len(weight)} bytes, want {WEIGHT_SIZE}")
