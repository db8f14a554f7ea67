"""Seal every transition for the host to keep, and read them again after a restart.

Each round has a segment of its own, under a key of its own, which the sealer wraps and which lies
at the segment's head: who deletes the file has destroyed both. What is noted during one request is
sealed as one transition. The host must have it on its disk before anybody learns what the request
did; a host that does not has lost, or rolled back, its own federation's state.

Rules:
  * An entry opens only behind the one before it: none can be left out, exchanged or moved. The last
    ones can be left out, which is rollback: clients see it, and so does hardware with an anchor.
  * An opening or an end of a round is bound to the anchor: of several transitions that could follow
    one state, it can settle one, and the others never again.
  * A key seals under random nonces: after a restart it goes on, and no count of what it has sealed
    can be trusted then.
  * Without a sealer nothing is noted, and a restart begins a new federation.

SPEC.md, section 11.5.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from fedenclave.protocol.digests import DIGEST_SIZE, Digest, sha256
from fedenclave.protocol.errors import MalformedMessage, Refusal, RequestRefused
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.records import Record
from fedenclave.protocol.segment import SegmentHead
from fedenclave.protocol.statements import VERSION, Checkpoint

MAX_SEGMENT = 4 << 30
"""A snapshot, a transition for each of the largest roster's updates of a large model, and millions
of rejections. From half of it on no more updates are taken, so that every segment can be read."""

_NONCE_SIZE = 12
_LENGTH = struct.Struct(">I")


@dataclass(slots=True)
class Notes:
    """What the request at hand has changed so far."""

    statements: list[bytes] = field(default_factory=list)
    handed_out: list[Checkpoint] = field(default_factory=list)
    opened: list[OpenedRound] = field(default_factory=list)
    kept: list[KeptUpdate] = field(default_factory=list)
    released: list[ReleasedCohort] = field(default_factory=list)
    ended: list[EndedRound] = field(default_factory=list)
    shared: bool = False
    longest: bytes = b""
    """As long as the one statement could have been; empty where its length tells nothing."""

    def any(self) -> bool:
        """Return whether anything has changed that lasts."""
        return bool(self.statements or self.released or self.ended)


class Journal:
    """Writes one federation's segments. Bytes only: the host has the files."""

    def __init__(self, sealer: Sealer | None, manifest: Manifest) -> None:
        """Begin with nothing; `begin` or `follow` must come first."""
        self._sealer, self._manifest = sealer, manifest
        self.notes = Notes()
        self._written = b""
        self._cipher: AESGCM | None = None
        self._before = Digest(bytes(32))
        self._binding = False
        self._size = 0
        self._anchor = self._anchor_before = self._mark = b""

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
        self._cipher, self._before, self._size = AESGCM(key), sha256(head), 0
        self._written = segment.MAGIC + segment.frame(head) + self._sealed(snapshot)

    @property
    def keeps_open_rounds(self) -> bool:
        """Whether the keys of an open round are noted."""
        return self._sealer is not None and self._sealer.keeps_open_rounds

    @property
    def full(self) -> bool:
        """Whether the segment has so many entries that no more updates are taken in its round."""
        return self._size > MAX_SEGMENT // 2

    def anchor_here(self) -> None:
        """Begin at what the anchor holds now.

        Raises:
            RequestRefused: the machine refuses.
        """
        if self._sealer is not None:
            self._anchor = self._sealer.establish_anchor()

    def continued(self, sealer: Sealer | None, manifest: Manifest) -> Journal:
        """Return the journal of the same federation under another manifest, from the anchor on.

        Raises:
            RuntimeError: the last transition is not settled (a caller's bug).
        """
        if self._mark:
            raise RuntimeError("a transition is not settled")
        journal = Journal(sealer, manifest)
        journal._anchor = self._anchor
        return journal

    def follow(self, remembered: Remembered) -> None:
        """Go on behind the last entry of a segment."""
        self._cipher, self._before = AESGCM(remembered.key), sha256(remembered.last)
        self._size = remembered.size
        last = remembered.transitions[-1]
        self._anchor, self._anchor_before, self._mark = last.anchor, last.anchor_before, last.mark

    def bind(self) -> None:
        """Have this request's transition bound to the anchor, once it is with the host.

        Raises:
            RuntimeError: an earlier one is not settled yet (a caller's bug).
        """
        if self._mark:
            raise RuntimeError("a transition follows one that is not settled")
        self._binding = bool(self._anchor)

    @property
    def binding(self) -> bool:
        """Whether the transition that `take` returns next is bound to the anchor."""
        return self._binding

    def settle(self) -> None:
        """Extend the anchor, where the last transition asked for it: the host has it by now.

        Raises:
            RequestRefused: the machine does not extend it, or another state has been settled: by
                a run that was started of the same state, perhaps, and has gone on.
        """
        if not self._anchor or self._sealer is None:
            return
        value = self._sealer.anchor()
        # An earlier try may have extended it, and failed only after that: nobody else has the mark.
        if self._mark and value == self._anchor_before:
            value = self._sealer.extend(self._mark)
        if value != self._anchor:
            raise RequestRefused(Refusal.ROLLED_BACK)
        self._anchor_before = self._mark = b""

    def take(self) -> bytes:
        """Return what the host has to write now, sealed; nothing where nothing has changed."""
        notes, self.notes = self.notes, Notes()
        written, self._written = self._written, b""
        binding, self._binding = self._binding, False
        if self._cipher is None or not notes.any():
            return written
        if binding:
            self._anchor_before, self._mark = self._anchor, os.urandom(DIGEST_SIZE)
            self._anchor = sha256(self._anchor_before + self._mark)
        transition = Transition(
            anchor=self._anchor,
            anchor_before=self._anchor_before,
            mark=self._mark,
            shared=notes.shared,
            statements=tuple(notes.statements),
            handed_out=join_checkpoints(notes.handed_out),
            opened=tuple(notes.opened),
            kept=tuple(notes.kept),
            released=tuple(notes.released),
            ended=tuple(notes.ended),
        )
        at_least = 0
        if notes.longest:
            at_least = len(replace(transition, statements=(notes.longest,)).to_bytes())
        return written + self._sealed(transition, at_least)

    def _sealed(self, record: Record, at_least: int = 0) -> bytes:
        assert self._cipher is not None  # noqa: S101  # who calls this has one
        nonce, plain = os.urandom(_NONCE_SIZE), record.to_bytes()
        padded = _LENGTH.pack(len(plain)) + plain.ljust(at_least, b"\0")
        entry = nonce + self._cipher.encrypt(nonce, padded, self._before)
        self._before = sha256(entry)
        self._size += len(entry)
        return segment.frame(entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What a segment holds: the state before its round, and every transition since."""

    snapshot: Snapshot
    transitions: Sequence[Transition]
    key: bytes
    entries: Sequence[segment.Entry]
    """Those of the transitions, sealed."""

    @property
    def last(self) -> bytes:
        """The last entry."""
        return self.entries[-1].data

    @property
    def size(self) -> int:
        """How many bytes of the segment count."""
        return self.entries[-1].end

    def without_last(self) -> Remembered:
        """Return the same as if the last transition had never been written."""
        return replace(self, transitions=self.transitions[:-1], entries=self.entries[:-1])


def read_segment(data: bytes, sealer: Sealer | None, manifest: Manifest) -> Remembered:
    """Return what this code on this machine has sealed, and how many bytes of `data` that are.

    Raises:
        RequestRefused: it is another federation's or another machine's, damaged, or not the state
            that the hardware's anchor stands for.
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
            entries=rest[1:],
        )
        _check_anchor(remembered.transitions[-1], sealer.anchor())
    except (MalformedMessage, ValueError, IndexError, InvalidTag):
        # Too few entries, too short ones, and those that do not open: one thing for the host.
        raise RequestRefused(Refusal.STATE, hint="the segment is damaged") from None
    return remembered


def _opened(chain: Sequence[bytes], cipher: AESGCM) -> list[bytes]:
    padded = [
        cipher.decrypt(entry[:_NONCE_SIZE], entry[_NONCE_SIZE:], sha256(before))
        for before, entry in pairwise(chain)
    ]
    sizes = [_LENGTH.unpack_from(each)[0] for each in padded]
    return [
        each[_LENGTH.size : _LENGTH.size + size] for each, size in zip(padded, sizes, strict=True)
    ]


def _check_anchor(last: Transition, value: bytes) -> None:
    """Refuse a state that another one has left behind (T7).

    The anchor may still be where it was before the last transition: the machine stopped between the
    host's write and the extending.
    """
    settled, pending = value == last.anchor, last.mark and value == last.anchor_before
    if not (settled or pending):
        raise RequestRefused(Refusal.ROLLED_BACK)
