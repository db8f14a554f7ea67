"""What was done with keys, a JSON object a line: when, who, what, which key. Never key bytes.

Rules:
  * An event is on the disk before the call that it is about returns. Where it cannot be written,
    the call fails: a key that is used without a record is what an auditor looks for.
  * Lines are only ever appended, each by one write, so that processes can share the file.
  * What changes keys is announced before it is done (`change-begun`), and told once it is. Of a
    change that was begun and not told of, the keys themselves say whether it was done.
  * A value is cut after MAX_VALUE characters: a head that somebody else wrote may name a key as
    long as it likes.
  * `uid` is the number of the user whose process it is: who sat there, the machine's own log says.
  * Nothing is signed: whoever may write the file may change it. Ship it elsewhere to keep it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from fedenclave.keys.errors import NotRecorded
from fedenclave.protocol.errors import FedEnclaveError

MAX_VALUE = 300
"""Characters of a value that are kept: twice what a message of ours has."""


class AuditLog:
    """Appends events to one file, which only its owner can read."""

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        """Take the file, made by the first event, and a clock of Unix seconds."""
        self._path, self._clock = path, clock

    def begin(self, event: str, **facts: str | int) -> None:
        """Announce the change that `event` will tell of.

        Raises:
            NotRecorded: that cannot be written: the change is not to be begun.
        """
        self.record("change-begun", change=event, **facts)

    def finish(self, event: str, **facts: str | int) -> None:
        """Tell of a change that was announced, and is done.

        Raises:
            NotRecorded: it cannot be written. The change is done all the same, and says so.
        """
        try:
            self.record(event, **facts)
        except NotRecorded as error:
            raise NotRecorded(
                f"{event}: it is done, and only its announcement is on record: {error.message}",
                hint="do not call again. is the disk full, may this user write there?",
            ) from error

    @contextmanager
    def refusals(self, step: str, **facts: str | int) -> Iterator[None]:
        """Record what is refused inside, as the event `<step>-refused`, with the reason.

        Raises:
            NotRecorded: the refusal cannot be written, or something inside could not: that is
                no refusal, and let through.
        """
        try:
            yield
        except NotRecorded:
            raise
        except FedEnclaveError as error:
            try:
                self.record(f"{step}-refused", **facts, why=error.message)
            except NotRecorded as lost:
                raise NotRecorded(
                    f"{error.message}; and this refusal is not on record: {lost.message}",
                    hint=error.hint,
                ) from error
            raise

    def record(self, event: str, **facts: str | int) -> None:
        """Append one event.

        Raises:
            NotRecorded: it cannot be written.
        """
        cut = {name: _cut(value) for name, value in facts.items()}
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        line = json.dumps({"at": at, "uid": os.getuid(), "event": event, **cut}) + "\n"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self._path, flags, 0o600)
            try:
                if (written := os.write(descriptor, line.encode())) != len(line):
                    raise OSError(0, f"only {written} of {len(line)} bytes were written")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise NotRecorded(
                f"cannot write the audit event {event} to {self._path}: {error.strerror}",
                hint="no key is used without a record: does the folder exist, may this user write "
                "there, is the disk full?",
            ) from error


def _cut(value: str | int) -> str | int:
    if isinstance(value, str) and len(value) > MAX_VALUE:
        return f"{value[:MAX_VALUE]}... ({len(value)} characters)"
    return value
