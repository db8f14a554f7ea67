"""What an attack is, and how it says what stopped it.

An attack is a function that plays it and tells a `Witness` of every try. The witness makes sure
that each was stopped, by what should stop it, and that nothing changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fedenclave.attack_suite.world import Snapshot, World
from fedenclave.audit.receipt import ReceiptInvalid
from fedenclave.protocol.errors import (
    EnclaveRefused,
    FedEnclaveError,
    Reason,
    Refusal,
    RequestRefused,
)
from fedenclave.protocol.frames import AdmissionResult

ErrorT = TypeVar("ErrorT", bound=FedEnclaveError)


class NotStopped(FedEnclaveError):
    """An attack got through, or was refused for another reason than what should stop it."""


class NotPlayed(FedEnclaveError):
    """An attack cannot be played here, for want of what is optional."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One thing that an attack tried, and what was seen to stop it.

    `control`: it was no part of the attack, but shows that all is well but for that.
    """

    tried: str
    stopped_by: str
    control: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Every try of an attack was stopped."""

    tries: tuple[Try, ...]


Play = Callable[[World, "Witness"], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """An attack that must be stopped.

    Attributes:
        id: `T06-replay-in-this-round`: the row of THREAT_MODEL.md, and what is done.
        title: one line for a table.
        play: plays it; its docstring says what is tried and why.
        options: of the world it is played in; see `World.start`.
    """

    id: str
    title: str
    play: Play
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> str:
        """The row of THREAT_MODEL.md, or the paper, that it belongs to."""
        return row_of(self.id)

    def run(self, world: World) -> Stopped:
        """Play it in `world`, which was started with `options`.

        Raises:
            NotStopped: a try got through.
            NotPlayed: something that it needs is not installed.
        """
        witness = Witness(world.snapshot)
        self.play(world, witness)
        if all(each.control for each in witness.tries):
            raise NotStopped(f"{self.id} tried nothing")
        return Stopped(tries=tuple(witness.tries))


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """An attack that this version does not stop, or that is not played here, and why."""

    id: str
    title: str
    reason: str

    @property
    def row(self) -> str:
        """The row of THREAT_MODEL.md, or the paper, that it belongs to."""
        return row_of(self.id)


def row_of(name: str) -> str:
    """Return `T6` for `T06-...`; the name of the paper for what is not a row."""
    prefix = name.partition("-")[0]
    return f"T{int(prefix[1:])}" if prefix[1:].isdecimal() else prefix


def attack(name: str, title: str, **options: Any) -> Callable[[Play], Attack]:
    """Make an `Attack` of the function below."""
    return lambda play: Attack(id=name, title=title, play=play, options=options)


class Witness:
    """Sees every try of one attack."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        """Compare `snapshot()` before and after a try that must change nothing."""
        self._snapshot = snapshot
        self.tries: list[Try] = []

    def refused(self, tried: str, act: Callable[[], object], by: Refusal) -> None:
        """See the enclave refuse what its host asks, and change nothing.

        Raises:
            NotStopped: it does not, or for another reason.
        """
        before = self._snapshot()
        error = self._raised(tried, act, RequestRefused)
        self._is(tried, error.refusal is by, by.value, error.refusal.value)
        self._unchanged(tried, before, self._snapshot())
        self._saw(tried, f"the enclave refuses: {error.refusal.value}")

    def rejected(self, tried: str, act: Callable[[], AdmissionResult], by: Reason) -> None:
        """See the enclave reject an update: signed, for a closed reason, and not counted.

        Raises:
            NotStopped: it does not, or for another reason.
        """
        before = self._snapshot().without_log()
        result = act()
        if result.admitted:
            raise NotStopped(f"{tried}: the update was admitted")
        self._is(tried, result.reason == by.value, by.value, result.reason)
        self._unchanged(tried, before, self._snapshot().without_log())
        self._saw(tried, f"the enclave rejects: {result.reason}")

    def client_refuses(self, tried: str, act: Callable[[], object], *, saying: str) -> None:
        """See a client refuse, with `saying` in what it says, and remember nothing.

        Raises:
            NotStopped: it does not, or for another reason.
        """
        before = self._snapshot()
        error = self._raised(tried, act, EnclaveRefused)
        self._is(tried, saying in str(error), saying, str(error))
        self._unchanged(tried, before, self._snapshot())
        self._saw(tried, f"the client refuses: {error.message}")

    def worthless(self, tried: str, act: Callable[[], object]) -> None:
        """See what was delivered as a receipt prove nothing, and not be kept.

        Raises:
            NotStopped: it was taken for a receipt.
        """
        before = self._snapshot()
        error = self._raised(tried, act, ReceiptInvalid)
        self._unchanged(tried, before, self._snapshot())
        self._saw(tried, f"the client refuses: {error.message}")

    def found(self, tried: str, seen: str, *, stopped: bool) -> None:
        """Take note of what was found, where nobody has to refuse anything.

        Raises:
            NotStopped: `stopped` is false.
        """
        if not stopped:
            raise NotStopped(f"{tried}: {seen}")
        self._saw(tried, seen)

    def control(self, did: str, seen: str, *, well: bool) -> None:
        """Take note of what is no part of the attack, and must work as ever.

        Raises:
            NotStopped: `well` is false: the attack has spoilt it.
        """
        if not well:
            raise NotStopped(f"{did}: {seen}")
        self.tries.append(Try(tried=did, stopped_by=seen, control=True))

    def goes_on(self, world: World) -> None:
        """See an honest round of everybody end as if nothing had happened.

        Raises:
            NotStopped: it does not.
        """
        included = world.honest_round()
        self.control(
            "have everybody take part in an honest round",
            f"{len(included)} of {len(world.sessions)} receipts say included",
            well=len(included) == len(world.sessions),
        )

    def _saw(self, tried: str, stopped_by: str) -> None:
        self.tries.append(Try(tried=tried, stopped_by=stopped_by))

    @staticmethod
    def _raised(tried: str, act: Callable[[], object], kind: type[ErrorT]) -> ErrorT:
        try:
            act()
        except kind as error:
            return error
        raise NotStopped(f"{tried}: it was done")

    @staticmethod
    def _is(tried: str, holds: bool, want: str, got: str) -> None:
        if not holds:
            raise NotStopped(f"{tried}: stopped by {got!r}, want {want!r}")

    @staticmethod
    def _unchanged(tried: str, before: Snapshot, after: Snapshot) -> None:
        if before != after:
            raise NotStopped(f"{tried}: refused, and something changed all the same")
