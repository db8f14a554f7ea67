"""How the newest rounds ended, read back from the log: for a ServerApp that takes another's place.

The one before may have ended between the enclave's answers and their way to the clients, who await
them. What it takes to make a client's delivery again is in the log, but for the cohort report of a
release, which only the newest release's is kept of.

Judges nothing: whoever receives a delivery verifies it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fedenclave.protocol.frames import Closed
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import (
    Abort,
    Admission,
    Adoption,
    Announcement,
    Rejection,
    Release,
)

MAX_ENDS = 8
"""A client keeps so many of its rounds in mind, and awaits nothing of older ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundEnd:
    """A round that is over: its announcement, signed answers in their order, and its one end.

    `release` and `cohort` are empty where it was aborted, `abort` where it was released.
    """

    announcement: bytes
    answers: tuple[bytes, ...] = ()
    release: bytes = b""
    cohort: bytes = b""
    abort: bytes = b""


def newest_ends(backwards: Iterable[bytes], closed: Closed | None) -> tuple[RoundEnd, ...]:
    """Return the newest release and the aborts after it, oldest first; at most `MAX_ENDS`.

    Args:
        backwards: the log's statements, the newest first.
        closed: the newest release, where the host still has its cohort report.
    """
    ends: list[RoundEnd] = []
    end, answers = b"", list[bytes]()
    for signed in backwards:
        kind = Signed.from_bytes(signed).type
        if kind in (Release.TYPE, Adoption.TYPE) and (closed is None or signed != closed.release):
            break
        if kind in (Release.TYPE, Abort.TYPE):
            end, answers = signed, []
        elif kind in (Admission.TYPE, Rejection.TYPE):
            answers.append(signed)
        elif kind == Announcement.TYPE and end:
            if closed is not None and end == closed.release:
                release = RoundEnd(
                    announcement=signed,
                    answers=tuple(answers[::-1]),
                    release=end,
                    cohort=closed.cohort,
                )
                ends.append(release)
                break
            ends.append(RoundEnd(announcement=signed, answers=tuple(answers[::-1]), abort=end))
            end = b""
            if len(ends) == MAX_ENDS:
                break
    return tuple(ends[::-1])
