"""What happened at a node, for its owner: one line of JSON each, in a file of bounded size.

Rules:
  * No data, no parameter and no metric stands in it: what is refused is said in the refusal's own
    words, which hold none (protocol/errors.py); the rest are members of closed enums and numbers.
  * A line is written under a lock, wholly or not at all: one that a killed process left half is
    cut off by the next writer, and passed over by readers.
  * Writing never raises: a full disk loses lines, and stops no round.
  * A file that has grown too large becomes `events.jsonl.before`. The new one begins with the
    totals up to then, so that counts do not fall.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fedenclave.attestation.result import Status
from fedenclave.audit.receipt import Verdict
from fedenclave.client.refusals import Cause
from fedenclave.protocol.errors import ConfigurationError, printable

FILE = "events.jsonl"
MAX_BYTES = 1024 * 1024
_LONGEST_TEXT = 300
_LONGEST_LINE = 4096
_CARRIED = "carried"

Fact = str | int | bool


class Kind(StrEnum):
    """What can happen."""

    STARTED = "node-started"
    ENDED = "node-ended"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    DIED = "part-ended"
    APPRAISED = "evidence-appraised"
    SEALED = "update-sealed"
    RECEIPT = "receipt-kept"
    REFUSED = "refused"


class Part(StrEnum):
    """What a node keeps running."""

    SUPERNODE = "supernode"
    LAUNCHER = "launcher"


class Asked(StrEnum):
    """What a message that was refused had asked for."""

    HELLO = "hello"
    TRAIN = "train"
    EVALUATE = "evaluate"
    DELIVER = "deliver"
    UNKNOWN = "unknown"


_LABELS: Mapping[Kind, tuple[tuple[str, type[StrEnum]], ...]] = {
    Kind.DIED: (("part", Part),),
    Kind.APPRAISED: (("status", Status),),
    Kind.RECEIPT: (("verdict", Verdict),),
    Kind.REFUSED: (("cause", Cause), ("asked", Asked)),
}
"""The facts of each kind that events are counted by."""

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One of them; `at` is in seconds since 1970."""

    kind: Kind
    at: int
    facts: Mapping[str, Fact]

    @property
    def labels(self) -> Labels:
        """What it is counted by."""
        return tuple(str(self.facts[name]) for name, _ in _LABELS.get(self.kind, ()))

    def to_line(self) -> bytes:
        """Return its line."""
        return json.dumps({"at": self.at, "event": self.kind, **self.facts}).encode() + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """What a node's file says.

    Attributes:
        counts: how often what has happened, since the file was begun.
        latest: the newest of each kind.
        recent: those that are still there line by line, the oldest first.
        unreadable: lines that say nothing; the end of a killed writer's is none of them.
    """

    counts: Mapping[tuple[Kind, Labels], int] = field(default_factory=dict)
    latest: Mapping[Kind, Event] = field(default_factory=dict)
    recent: tuple[Event, ...] = ()
    unreadable: int = 0

    def count(self, kind: Kind, *labels: str) -> int:
        """Return how often it has happened with these labels, the first ones at least."""
        return sum(
            number
            for (found, named), number in self.counts.items()
            if found is kind and named[: len(labels)] == labels
        )

    def to_line(self) -> bytes:
        """Return the line that carries counts and newest events into a new file."""
        counts = [[kind, *labels, number] for (kind, labels), number in self.counts.items()]
        latest = [json.loads(event.to_line()) for event in self.latest.values()]
        return json.dumps({_CARRIED: {"counts": counts, "latest": latest}}).encode() + b"\n"


class EventFile:
    """The file in one client's folder, for any number of processes at once."""

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Use the folder; nothing is opened yet."""
        self.path, self._max_bytes = folder / FILE, max_bytes

    @property
    def before(self) -> Path:
        """Where the lines are that have had to make room."""
        return self.path.with_name(f"{FILE}.before")

    def write(self, kind: Kind, **facts: Fact) -> None:
        """Append what happens now.

        Args:
            kind: what happens.
            facts: labels of its kind, and more; texts are cut.

        Raises:
            ValueError: a label of its kind is missing, or is none.
        """
        short = {
            name: printable(fact[:_LONGEST_TEXT]) if isinstance(fact, str) else fact
            for name, fact in facts.items()
        }
        event = Event(kind=kind, at=int(time.time()), facts=short)
        line = event.to_line()
        if _event(json.loads(line)) is None or len(line) > _LONGEST_LINE:
            raise ValueError(f"event {kind} lacks a label, or is too long")
        with contextlib.suppress(OSError), self._locked() as descriptor:
            size = _without_torn_line(descriptor)
            if size > self._max_bytes:
                self._begin_anew(line)
            else:
                _append(descriptor, size, line)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        """Open and lock the file; once it is locked, its name may be another file's."""
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(descriptor), self.path.stat()):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)

    def _begin_anew(self, line: bytes) -> None:
        held = _read(self.path.read_bytes())
        new, link = (self.path.with_name(f".{FILE}.{each}") for each in ("new", "before"))
        for each in (new, link):
            each.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _append(descriptor, 0, held.to_line() + line)
        finally:
            os.close(descriptor)
        # At no moment is there no file: another process would begin one without the totals.
        link.hardlink_to(self.path)
        link.replace(self.before)
        new.replace(self.path)

    def read(self) -> Events:
        """Return what the file says; nothing where there is none.

        Raises:
            ConfigurationError: it cannot be opened.
        """
        try:
            now = self.path.read_bytes() if self.path.exists() else b""
            before = self.before.read_bytes() if self.before.exists() else b""
        except OSError as error:
            raise ConfigurationError(
                f"cannot read {self.path}: {error.strerror}", hint="may this user read it?"
            ) from error
        held, older = _read(now), _read(before)
        return Events(
            counts=held.counts,
            latest=held.latest,
            recent=(*older.recent, *held.recent),
            unreadable=held.unreadable + older.unreadable,
        )


def _append(descriptor: int, size: int, data: bytes) -> None:
    try:
        written = os.write(descriptor, data)
    except OSError:
        written = 0
    if written != len(data):
        os.ftruncate(descriptor, size)
        raise OSError("the line was not written as a whole")


def _without_torn_line(descriptor: int) -> int:
    """Cut off what a killed process has left half, and return the file's size."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - _LONGEST_LINE)
    tail = os.pread(descriptor, size - start, start)
    whole = start + tail.rfind(b"\n") + 1
    if whole < size:
        os.ftruncate(descriptor, whole)
    return whole


def _read(data: bytes) -> Events:
    counts: Counter[tuple[Kind, Labels]] = Counter()
    latest: dict[Kind, Event] = {}
    recent: list[Event] = []
    unreadable = 0
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]):
        value = _parsed(line)
        carried = value.get(_CARRIED)
        if number == 0 and isinstance(carried, dict):
            unreadable += _carry(carried, counts, latest)
        elif (event := _event(value)) is not None:
            counts[event.kind, event.labels] += 1
            latest[event.kind] = event
            recent.append(event)
        else:
            unreadable += 1
    return Events(counts=counts, latest=latest, recent=tuple(recent), unreadable=unreadable)


def _parsed(line: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _carry(
    carried: Mapping[str, object],
    counts: Counter[tuple[Kind, Labels]],
    latest: dict[Kind, Event],
) -> int:
    """Take over the totals of an earlier file, and return how many entries say nothing."""
    unreadable = 0
    entries, events = carried.get("counts"), carried.get("latest")
    for entry in entries if isinstance(entries, list) else [None]:
        counted = _counted(entry)
        if counted is None:
            unreadable += 1
        else:
            counts[counted[0]] += counted[1]
    for value in events if isinstance(events, list) else [None]:
        event = _event(value) if isinstance(value, dict) else None
        if event is None:
            unreadable += 1
        else:
            latest[event.kind] = event
    return unreadable


def _counted(entry: object) -> tuple[tuple[Kind, Labels], int] | None:
    if not isinstance(entry, list) or len(entry) < 2 or type(entry[-1]) is not int:
        return None
    kind, labels, number = entry[0], entry[1:-1], entry[-1]
    if kind not in set(Kind) or not 0 <= number < 2**53:
        return None
    wanted = [closed for _, closed in _LABELS.get(Kind(kind), ())]
    if len(labels) != len(wanted):
        return None
    if any(label not in set(closed) for label, closed in zip(labels, wanted, strict=True)):
        return None
    return (Kind(kind), tuple(labels)), number


def _event(value: Mapping[str, object]) -> Event | None:
    """Return the event in a line's table; None where it is none of ours."""
    facts = {name: fact for name, fact in value.items() if isinstance(fact, Fact)}
    kind, at = facts.pop("event", None), facts.pop("at", None)
    if len(facts) + 2 != len(value) or type(at) is not int or not 0 <= at < 2**53:
        return None
    if kind not in set(Kind):
        return None
    for name, closed in _LABELS.get(Kind(str(kind)), ()):
        if facts.get(name) not in set(closed):
            return None
    return Event(kind=Kind(str(kind)), at=at, facts=facts)
