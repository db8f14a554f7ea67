"""What is sealed so that the enclave can go on after a restart: a snapshot, then every transition.

Records only: `journal.py` seals and opens them. They hold keys and content keys, and leave the
enclave in no other way than sealed.

Rules:
  * A snapshot is the state between two rounds. What happens in a round is in transitions.
  * A transition holds everything that one request changed: it counts whole or not at all.
  * Lists that grow with the federation's age are joined to one value: a record has a limited
    number of them.

SPEC.md, section 11.5.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.protocol.digests import DIGEST_SIZE, Digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record
from fedenclave.protocol.statements import Checkpoint

_CHECKPOINT = struct.Struct(f">Q{DIGEST_SIZE}s")
CHECKPOINT_SIZE = _CHECKPOINT.size
"""What one takes in a snapshot."""
_NUMBER = struct.Struct(">d")
_MAX_SIZE = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedCohort(Record):
    """Whom the differencing guard counts as released on a base model.

    `clients` has a bit for each client of the roster, in order of name, the lowest bit of the first
    byte first: a federation remembers its releases for years.
    """

    base_model: Digest
    clients: bytes

    @classmethod
    def of(cls, base: Digest, clients: Iterable[str], roster: Sequence[str]) -> Self:
        """Return the record of a release; `roster` is sorted and holds the clients."""
        bits = sum(1 << bisect_left(roster, client) for client in set(clients))
        return cls(base_model=base, clients=bits.to_bytes(_bytes_for(len(roster)), "little"))

    def names(self, roster: Sequence[str]) -> list[str]:
        """Return the clients' names."""
        bits = int.from_bytes(self.clients, "little")
        return [client for number, client in enumerate(roster) if bits >> number & 1]

    def joined(self) -> bytes:
        """Return it as a part of a snapshot's history."""
        return self.base_model + self.clients

    @classmethod
    def split(cls, joined: bytes, clients: int) -> list[Self]:
        """Return the parts of a history for a roster of so many clients.

        Raises:
            MalformedMessage: it is for another number.
        """
        parts = split_equal(joined, DIGEST_SIZE + _bytes_for(clients))
        return [
            cls(base_model=Digest(part[:DIGEST_SIZE]), clients=part[DIGEST_SIZE:]) for part in parts
        ]


def _bytes_for(bits: int) -> int:
    return -(-bits // 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerClient(Record):
    """A client that an earlier manifest had on its roster: `history` may name it."""

    name: str
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot(Record):
    """A federation between two rounds.

    `log_roots` are the roots of the log's complete subtrees, `handed_out` its checkpoints that
    somebody may hold, `history` what the differencing guard remembers, each joined. `optimiser_key`
    is empty where nothing is remembered.
    """

    MAX_SIZE: ClassVar[int] = _MAX_SIZE

    signing_key: bytes
    start: bytes
    log_size: int
    log_roots: bytes
    handed_out: bytes
    base_model: Digest
    round: int
    behind: bool
    optimiser_key: bytes
    optimiser_steps: int
    history: bytes
    former: tuple[FormerClient, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedRound(Record):
    """A round was opened. `private_key` is empty where the machine keeps no open rounds."""

    private_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptUpdate(Record):
    """An update was admitted: what the passes need of it, its file excepted.

    `weight` is u64, and `numbers` are its factor, its square norm and its metrics, as big-endian
    float64: of one length whatever they are, for the host sees the length of what is sealed.
    """

    client: str
    update: Digest
    chunks_at: int
    content_key: bytes
    weight: bytes
    numbers: bytes
    fingerprints: bytes
    fingerprint_key: bytes
    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRound(Record):
    """A round ended: by a release (`closed` is the host's copy of it), by an abort, an adoption."""

    closed: bytes
    base_model: Digest
    behind: bool
    optimiser_key: bytes
    optimiser_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition(Record):
    """What one request changed. At most one round is opened, one ended, one update kept.

    `anchor` is the hardware's register as soon as this transition is settled, and empty without
    one. Up to then it is `anchor_before`, and `mark` is to be extended; both are empty afterwards.
    `shared` says that other enclaves have heard of this round's updates.
    """

    MAX_SIZE: ClassVar[int] = _MAX_SIZE

    anchor: bytes
    anchor_before: bytes
    mark: bytes
    shared: bool
    statements: tuple[bytes, ...]
    handed_out: bytes
    opened: tuple[OpenedRound, ...]
    kept: tuple[KeptUpdate, ...]
    released: tuple[ReleasedCohort, ...]
    ended: tuple[EndedRound, ...]


def first_snapshot(key: Ed25519PrivateKey, model: Digest) -> Snapshot:
    """Return the state before anything was signed."""
    return Snapshot(
        signing_key=key.private_bytes_raw(),
        start=b"",
        log_size=0,
        log_roots=b"",
        handed_out=b"",
        base_model=model,
        round=0,
        behind=False,
        optimiser_key=b"",
        optimiser_steps=0,
        history=b"",
        former=(),
    )


def join_checkpoints(checkpoints: Iterable[Checkpoint]) -> bytes:
    """Return checkpoints as one value, in order of size."""
    ordered = sorted(checkpoints, key=lambda c: (c.size, c.root))
    return b"".join(_CHECKPOINT.pack(c.size, c.root) for c in ordered)


def split_checkpoints(joined: bytes) -> set[Checkpoint]:
    """Return what `join_checkpoints` has joined.

    Raises:
        MalformedMessage: it is something else.
    """
    if len(joined) % _CHECKPOINT.size:
        raise MalformedMessage("joined checkpoints have a length of their own")
    return {Checkpoint(size=size, root=Digest(r)) for size, r in _CHECKPOINT.iter_unpack(joined)}


def split_equal(joined: bytes, size: int) -> tuple[bytes, ...]:
    """Return the parts of `size` bytes each that `joined` consists of.

    Raises:
        MalformedMessage: something is left over.
    """
    if len(joined) % size:
        raise MalformedMessage(f"{len(joined)} bytes are no multiple of {size}")
    return tuple(joined[at : at + size] for at in range(0, len(joined), size))


def join_numbers(numbers: Sequence[float]) -> bytes:
    """Return numbers as one value, every bit of them."""
    return b"".join(map(_NUMBER.pack, numbers))


def split_numbers(joined: bytes) -> list[float]:
    """Return what `join_numbers` has joined.

    Raises:
        MalformedMessage: it is something else.
    """
    return [number for part in split_equal(joined, _NUMBER.size) for number in _NUMBER.unpack(part)]
