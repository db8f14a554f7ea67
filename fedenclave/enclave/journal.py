"""Seal every transition for the host to keep, and read them again after a restart.

Each round has a segment of its own, under a key of its own, which the sealer wraps and which lies
at the segment's head: who deletes the file has destroyed both. What is noted during one request is
sealed as one transition. The host must have it on its disk before anybody learns what the request
did; a host that does not has lost, or rolled back, its own federation's state.

Rules:
  * An entry opens only behind the one before it: none can be left out, exchanged or moved. The last
    ones can be left out, which is rollback: clients see it, and a counter where there is one.
  * A key seals under random nonces: after a restart it goes on, and no count of what it has sealed
    can be trusted then.
  * Without a sealer nothing is noted, and a restart begins a new federation.

SPEC.md, section 11.5.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.enclave.sealing.sealer import KEY_SIZE, Sealer
from fedenclave.enclave.transitions import (
    EndedRound,
    KeptUpdate,
    OpenedRound,
    ReleasedCohort,
    Snapshot,
    Transition,
    join_checkpoints,
)
from fedenclave.protocol import segment
from fedenclave.protocol.digests import Digest, sha256
from fedenclave.protocol.errors import MalformedMessage, Refusal, RequestRefused
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.records import Record
from fedenclave.protocol.segment import SegmentHead
from fedenclave.protocol.statements import VERSION, Checkpoint

_NONCE_SIZE = 12


@dataclass(slots=True)
class Notes:
    """What the request at hand has changed so far."""

    statements: list[bytes] = field(default_factory=list)
    handed_out: list[Checkpoint] = field(default_factory=list)
    opened: list[OpenedRound] = field(default_factory=list)
    kept: list[KeptUpdate] = field(default_factory=list)
    released: list[ReleasedCohort] = field(default_factory=list)
    ended: list[EndedRound] = field(default_factory=list)

    def any(self) -> bool:
        """Return whether anything has changed that lasts."""
        return bool(self.statements or self.released)


class Journal:
    """Writes one federation's segments. Bytes only: the host has the files."""

    def __init__(self, sealer: Sealer | None, manifest: Manifest) -> None:
        """Begin with nothing; `begin` or `follow` must come first."""
        self._sealer, self._manifest = sealer, manifest
        self.notes = Notes()
        self._written = b""
        self._cipher: AESGCM | None = None
        self._before = Digest(bytes(32))
        self._counter = sealer.counter() if sealer else 0
        self._counts = False

    def begin(self, snapshot: Snapshot) -> None:
        """Begin a segment with the state before what is noted next.

        Raises:
            RequestRefused: the machine does not wrap its key.
        """
        if self._sealer is None:
            return
        key = os.urandom(KEY_SIZE)
        head = SegmentHead(
            version=VERSION,
            federation=self._manifest.name,
            manifest=self._manifest.digest,
            sealer=self._sealer.name,
            wrapped_key=self._sealer.wrap(key),
        ).to_bytes()
        self._cipher, self._before = AESGCM(key), sha256(head)
        self._written = segment.MAGIC + segment.frame(head) + self._sealed(snapshot)

    def follow(self, key: bytes, last: bytes, *, counter: int) -> None:
        """Go on behind the entry `last` of a segment under `key`, whose counter is `counter`."""
        self._cipher, self._before = AESGCM(key), sha256(last)
        self._counts, self._counter = counter > self._counter, counter

    def count(self) -> None:
        """Have the hardware's counter grow once this transition is with the host."""
        if self._counter and not self._counts:
            self._counts, self._counter = True, self._counter + 1

    def settle(self) -> None:
        """Let the counter grow, where the last transition asked for it: the host has it by now.

        Raises:
            RequestRefused: the machine's counter does not work, or somebody else has moved it.
        """
        if self._counts and self._sealer is not None:
            if self._sealer.count() != self._counter:
                raise RequestRefused(Refusal.ROLLED_BACK)
            self._counts = False

    def take(self) -> bytes:
        """Return what the host has to write now, sealed; nothing where nothing has changed."""
        notes, self.notes = self.notes, Notes()
        written, self._written = self._written, b""
        if self._cipher is None or not notes.any():
            return written
        return written + self._sealed(
            Transition(
                counter=self._counter,
                statements=tuple(notes.statements),
                handed_out=join_checkpoints(notes.handed_out),
                opened=tuple(notes.opened),
                kept=tuple(notes.kept),
                released=tuple(notes.released),
                ended=tuple(notes.ended),
            )
        )

    def _sealed(self, record: Record) -> bytes:
        assert self._cipher is not None  # noqa: S101  # who calls this has one
        nonce = os.urandom(_NONCE_SIZE)
        entry = nonce + self._cipher.encrypt(nonce, record.to_bytes(), self._before)
        self._before = sha256(entry)
        return segment.frame(entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a segment holds: the state before its round, and every transition since."""

    snapshot: Snapshot
    transitions: Sequence[Transition]
    key: bytes
    last: bytes
    size: int

    @property
    def counter(self) -> int:
        """The hardware counter's value as the last transition has it."""
        return self.transitions[-1].counter


def read_segment(data: bytes, sealer: Sealer | None, manifest: Manifest) -> Remembered:
    """Return what this code on this machine has sealed, and how many bytes of `data` that are.

    Raises:
        RequestRefused: it is another federation's or another machine's, damaged, or older than the
            hardware's counter.
    """
    if sealer is None:
        raise RequestRefused(Refusal.STATE, hint="this machine's hardware seals no state")
    try:
        head_entry, *rest = segment.entries(data)
        head = SegmentHead.from_bytes(head_entry.data)
        if (head.version, head.manifest) != (VERSION, manifest.digest):
            raise RequestRefused(Refusal.STATE, hint="it is the state of another federation")
        if head.sealer != sealer.name:
            raise RequestRefused(Refusal.STATE, hint="it was sealed on another kind of machine")
        key = sealer.unwrap(head.wrapped_key)
        plain = _opened([head_entry.data, *(entry.data for entry in rest)], AESGCM(key))
        snapshot, *transitions = plain
        remembered = Remembered(
            snapshot=Snapshot.from_bytes(snapshot),
            transitions=[Transition.from_bytes(each) for each in transitions],
            key=key,
            last=rest[-1].data,
            size=rest[-1].end,
        )
        _check_counter(remembered.counter, sealer.counter())
    except (MalformedMessage, ValueError, IndexError, InvalidTag):
        # Too few entries, too short ones, and those that do not open: one thing for the host.
        raise RequestRefused(Refusal.STATE, hint="the segment is damaged") from None
    return remembered


def _opened(chain: Sequence[bytes], cipher: AESGCM) -> list[bytes]:
    return [
        cipher.decrypt(entry[:_NONCE_SIZE], entry[_NONCE_SIZE:], sha256(before))
        for before, entry in pairwise(chain)
    ]


def _check_counter(sealed: int, hardware: int) -> None:
    """Refuse a state that the hardware's counter has left behind (T7).

    The counter may be one short: the machine stopped between the host's write and the count.
    """
    if sealed not in (hardware, hardware + 1) or bool(sealed) != bool(hardware):
        raise RequestRefused(Refusal.ROLLED_BACK)
