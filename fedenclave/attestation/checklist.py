"""The list of checks that an appraisal makes, with what was found and what was wanted.

Rules:
  * `must` ends the appraisal at once: structure, signatures, chains. What comes after such a check
    means nothing without it.
  * `want` notes a failure and goes on, so that a person reads every reason at once: the policy's
    comparisons. `finish` refuses if one of them failed.
  * A failing `want` passes only if the policy's `exceptions` name that very exception; the result
    then says `warning`, and which.
  * Nothing is skipped in silence: `finish` refuses if a check that the format always makes was not
    made.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NoReturn

from fedenclave.attestation.result import (
    AFFIRMING,
    CONTRAINDICATED,
    WARNING,
    Check,
    EvidenceRefused,
    Trust,
)

_SHOWN = 400
NOTHING_SENT = "nothing was sent to this aggregator"


def shown(value: object) -> str:
    """Return `value` for a message: hex for bytes, short, on one line, printable."""
    text = value.hex() if isinstance(value, bytes | bytearray | memoryview) else str(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


class Checklist:
    """The checks of one appraisal, in order."""

    def __init__(self, exceptions: Collection[str] = ()) -> None:
        """Keep the exceptions that the policy names."""
        self._exceptions = frozenset(exceptions)
        self._checks: list[Check] = []
        self._hints: dict[int, str] = {}

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was compared so far."""
        return tuple(self._checks)

    def must(
        self, name: str, *, holds: bool, found: object, wanted: object, trust: Trust, hint: str = ""
    ) -> None:
        """Make a check without which nothing that follows means anything.

        Raises:
            EvidenceRefused: it does not hold.
        """
        self._add(name, holds, found, wanted, trust, hint, "")
        if not holds:
            raise self._refusal()

    def want(
        self,
        name: str,
        *,
        holds: bool,
        found: object,
        wanted: object,
        trust: Trust,
        hint: str = "",
        exception: str = "",
    ) -> None:
        """Make a check of the policy; `exception` is the name by which a policy lets it fail."""
        excepted = exception if not holds and exception in self._exceptions else ""
        self._add(name, holds or bool(excepted), found, wanted, trust, hint, excepted)

    def refuse(
        self, name: str, *, found: object, wanted: object, trust: Trust, hint: str
    ) -> NoReturn:
        """Refuse at once; for what is missing or unknown, where there is nothing to compare.

        Raises:
            EvidenceRefused: always.
        """
        self._add(name, False, found, wanted, trust, hint, "")
        raise self._refusal()

    def finish(self, always: Collection[str]) -> dict[Trust, int]:
        """Return the trustworthiness vector.

        Args:
            always: names of the checks that the format makes whatever the policy says.

        Raises:
            EvidenceRefused: a check does not hold.
            RuntimeError: a check of `always` was not made: a defect of the format's module.
        """
        if any(not check.holds for check in self._checks):
            raise self._refusal()
        self.check_made(always)
        return vector_of(self._checks)

    def check_made(self, names: Collection[str]) -> None:
        """Make sure that the checks of these names were made.

        Raises:
            RuntimeError: one was not: a defect of the format's module.
        """
        missing = set(names) - {check.name for check in self._checks}
        if missing:
            raise RuntimeError(f"checks that were not made: {', '.join(sorted(missing))}")

    def _add(
        self,
        name: str,
        holds: bool,
        found: object,
        wanted: object,
        trust: Trust,
        hint: str,
        excepted: str,
    ) -> None:
        if not holds:
            self._hints[len(self._checks)] = hint
        self._checks.append(
            Check(
                name=name,
                found=shown(found),
                wanted=shown(wanted),
                holds=holds,
                trust=trust,
                excepted=excepted,
            )
        )

    def _refusal(self) -> EvidenceRefused:
        failed = [(i, check) for i, check in enumerate(self._checks) if not check.holds]
        number, first = failed[0]
        more = f"; and {len(failed) - 1} more checks fail" if len(failed) > 1 else ""
        return EvidenceRefused(
            f"evidence is refused: {first.name} is {first.found}, want {first.wanted}{more}",
            hint=self._hints[number] or NOTHING_SENT,
            checks=self._checks,
        )


def vector_of(checks: Collection[Check]) -> dict[Trust, int]:
    """Return the vector of these checks: `contraindicated` wherever one fails."""
    vector: dict[Trust, int] = {}
    for check in checks:
        value = (WARNING if check.excepted else AFFIRMING) if check.holds else CONTRAINDICATED
        vector[check.trust] = max(value, vector.get(check.trust, 0))
    return vector
