"""How the newest rounds ended, read back from the log: for a ServerApp that takes another's place.

The one before may have ended between the enclave's answers and their way to the clients, who await
them. What it takes to make a client's delivery again is in the log, but for the cohort report of a
release, which only the newest release's is kept of.

Judges nothing: whoever receives a delivery verifies it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fedenclave.protocol.errors import MalformedMessage, Reason
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

NO_RECEIPT = (
    *(Reason.MALFORMED, Reason.UNKNOWN_CLIENT, Reason.BAD_SIGNATURE),
    *(Reason.WRONG_FEDERATION, Reason.WRONG_MANIFEST, Reason.WRONG_ROUND),
)
"""Rejections that are no answer to an update of this round: of bytes that need not be by the client
that they name, or that were damaged on their way; and of updates that are not for this round."""

MAX_ENDS = 8
"""A client keeps so many of its rounds in mind, and awaits nothing of older ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundEnd:
    """A round that is over: its announcement, the answer that counts for each client, its one end.

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
    end, answers = b"", dict[str, bytes]()
    for signed in backwards:
        kind = Signed.from_bytes(signed).type
        if kind in (Release.TYPE, Adoption.TYPE) and (closed is None or signed != closed.release):
            break
        if kind in (Release.TYPE, Abort.TYPE):
            end, answers = signed, {}
        elif kind in (Admission.TYPE, Rejection.TYPE):
            _keep(answers, signed)
        elif kind == Announcement.TYPE and end:
            if closed is not None and end == closed.release:
                release = RoundEnd(
                    announcement=signed,
                    answers=tuple(answers.values()),
                    release=end,
                    cohort=closed.cohort,
                )
                ends.append(release)
                break
            ends.append(RoundEnd(announcement=signed, answers=tuple(answers.values()), abort=end))
            end = b""
            if len(ends) == MAX_ENDS:
                break
    return tuple(ends[::-1])


def _keep(answers: dict[str, bytes], signed: bytes) -> None:
    """Keep an answer where it counts: an admission, or else the client's newest rejection.

    Anybody at the gateway has rejections made, as many as it likes: they must not be told all.
    """
    statement = Signed.from_bytes(signed)
    if statement.type == Admission.TYPE:
        answers[Admission.from_bytes(statement.payload).client] = signed
        return
    rejection = Rejection.from_bytes(statement.payload)
    if rejection.reason not in NO_RECEIPT:
        answers.setdefault(rejection.client, signed)


def answered_client(signed: bytes) -> str:
    """Return the client that an answer is to."""
    statement = Signed.from_bytes(signed)
    cls = Admission if statement.type == Admission.TYPE else Rejection
    return cls.from_bytes(statement.payload).client


def keep(path: Path, closed: Closed) -> None:
    """Keep a release with its cohort report, which is in no log, for a later start of the host."""
    partial = path.with_suffix(".partial")
    # Where the disk is full no receipts are lost but those that nobody would have delivered.
    with contextlib.suppress(OSError):
        partial.write_bytes(closed.to_bytes())
        partial.replace(path)


def kept(path: Path) -> Closed | None:
    """Return what was kept there, if there is anything that can be read."""
    with contextlib.suppress(OSError, MalformedMessage):
        return Closed.from_bytes(path.read_bytes())
    return None
