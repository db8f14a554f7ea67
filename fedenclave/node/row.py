"""One thing of a node that was looked at: how it stands, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from fedenclave.protocol.errors import FedEnclaveError

MAY_READ = "is the path right, and may this user read it?"


class State(StrEnum):
    """How a row stands."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"
    UNSAFE = "unsafe"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that was looked at."""

    what: str
    state: State
    found: str
    hint: str = ""

    @property
    def stops(self) -> bool:
        """Whether a node does not run with it."""
        return self.state in (State.MISSING, State.UNSAFE)

    @property
    def bad(self) -> bool:
        """Whether somebody should do something about it."""
        return self.stops or self.state is State.UNREACHABLE


def row(what: str, look: Callable[[], str]) -> Row:
    """Return what `look` finds; what it raises is missing."""
    try:
        return Row(what=what, state=State.OK, found=look())
    except FedEnclaveError as error:
        return failed(what, error)
    except OSError as error:
        found = f"{error.filename or what} cannot be read: {error.strerror}"
        return Row(what=what, state=State.MISSING, found=found, hint=MAY_READ)


def failed(what: str, error: FedEnclaveError) -> Row:
    """Return what is missing."""
    hint = error.hint or "is it the right file, and all of it? else put it back from a backup"
    return Row(what=what, state=State.MISSING, found=error.message, hint=hint)
