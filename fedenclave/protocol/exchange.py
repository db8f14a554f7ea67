"""What host and client hand each other around a round, over whatever carries messages.

None of it is trusted: everything that matters inside is signed or proved, and the client checks.

SPEC.md, sections 13 and 14.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import Statement

MAX_OFFER = 32 << 20
MAX_LOG_PART = 256 << 20
"""About a million statements: what a member lacks that joins late, or was away for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello(Statement):
    """A client's fresh nonce, how far its chain of releases reaches, and its copy of the log.

    `chain_round` and `log_size` are 0 for nothing yet.
    """

    TYPE: ClassVar[str] = "hello"

    client: str
    key: bytes
    nonce: bytes
    chain_round: int
    log_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart(Record):
    """Signed statements of the log from number `first` on, as they stand in a log file (7.1)."""

    MAX_SIZE: ClassVar[int] = MAX_LOG_PART

    first: int
    entries: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundOffer(Record):
    """An invitation to a round: evidence, the path of the client's nonce, the announcement.

    `releases` are the signed releases since the client's `chain_round`. `log` is what the client's
    copy lacks of the log before the announcement. `manifest` is empty unless this is a development
    federation, which has no other way to tell its clients the rules.
    """

    MAX_SIZE: ClassVar[int] = MAX_OFFER + MAX_LOG_PART

    evidence: bytes
    nonce: bytes
    nonce_index: int
    nonce_count: int
    nonce_path: tuple[Digest, ...]
    announcement: bytes
    releases: tuple[bytes, ...]
    log: LogPart
    manifest: bytes
    approvals: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery(Record):
    """What became of a client's update in a round: the statements that its receipt needs.

    `release` and `cohort` are empty where the round was aborted, `abort` where it was not.
    `leaf_path` leads from the answer to the log's root in the release or the abort. `log_roots` are
    the roots of that log's complete subtrees: with the end behind them they are the log after it.
    `answer` is empty where the host has none: then the release or abort itself is the leaf, in the
    log after it.
    """

    MAX_SIZE: ClassVar[int] = MAX_OFFER

    round: int
    answer: bytes
    release: bytes
    cohort: bytes
    abort: bytes
    leaf_index: int
    leaf_path: tuple[Digest, ...]
    log_roots: tuple[Digest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation(Record):
    """What a client keeps of a round it sealed an update for, until the delivery comes."""

    MAX_SIZE: ClassVar[int] = MAX_OFFER

    round: int
    evidence: bytes
    nonce: bytes
    nonce_index: int
    nonce_count: int
    nonce_path: tuple[Digest, ...]
    announcement: bytes
    envelope: bytes
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Record):
    """Everything an auditor needs to judge one client's part in one round, offline."""

    MAX_SIZE: ClassVar[int] = 4 * MAX_OFFER

    version: int
    client: str
    manifest: bytes
    approvals: tuple[bytes, ...]
    participation: Participation
    delivery: Delivery
