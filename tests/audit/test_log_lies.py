"""One lie in a log each, and the check that sees it."""

from __future__ import annotations

from typing import Any

import pytest

from fedenclave.audit.log import Signatures
from fedenclave.protocol.errors import Reason
from fedenclave.protocol.peers import Purpose
from fedenclave.protocol.signing import public_key
from fedenclave.protocol.statements import Checkpoint, ReleasedMetric, Suite
from tests.audit.log_builder import (
    APPROVING,
    KEY,
    ZERO,
    Lie,
    LogBuilder,
    refused,
)
from tests.audit.lying_receipt import MANIFEST

BOTH = pytest.mark.parametrize("signatures", list(Signatures))


def in_round(*steps: Lie) -> Lie:
    """Return what makes these steps after a start and an announcement."""

    def make(log: LogBuilder) -> None:
        log.start()
        log.announce()
        for step in steps:
            step(log)

    return make


def ended(**changes: Any) -> Lie:
    """Return what releases a round of everybody, with a lie in the release."""

    def make(log: LogBuilder) -> None:
        for client in "abc":
            log.admit(client)
        log.release(**changes)

    return make


def as_root(**changes: Any) -> Lie:
    """Return what releases a round of everybody as the root of other enclaves."""

    def make(log: LogBuilder) -> None:
        log.message(Purpose.TOTAL)
        ended(**changes)(log)

    return make


def next_round(**changes: Any) -> Lie:
    """Return what announces a round after a released one, with a lie in the announcement."""

    def make(log: LogBuilder) -> None:
        log.start()
        log.round()
        log.announce(**changes)

    return make


WRONG_ROOT = {"checkpoint": Checkpoint(size=2, root=ZERO)}
WRONG_SIZE = {"checkpoint": Checkpoint(size=9, root=ZERO)}

# What the refusal says, and the lie. Blanks at the end tell equal ones apart.
LIES: dict[str, Lie] = {
    "another federation": lambda log: log.start(federation="other"),
    "another manifest": lambda log: log.start(manifest=ZERO),
    "another manifest ": in_round(lambda log: log.admit("a", manifest=ZERO)),
    "another federation ": in_round(lambda log: log.reject("a", federation="other")),
    "it is no start": lambda log: log.announce(),
    "second start": in_round(lambda log: log.start()),
    "approvals are not the members'": lambda log: log.start(approved_by=(*APPROVING, "zeta")),
    "approvals are not the members' ": lambda log: log.start(approved_by=APPROVING[:1] * 3),
    "it is approved by 0 members, want": lambda log: log.start(approved_by=()),
    "another model than the agreed": lambda log: log.start(model=ZERO),
    "another schema": lambda log: log.start(schema=ZERO),
    "announces round 2, want 1": lambda log: (log.start(), log.announce(round=2)),
    "announces round 1, want 2": next_round(round=1),
    "round 1 has no end": in_round(lambda log: log.announce()),
    "it builds on": next_round(base_model=MANIFEST.initial_model),
    "it has another schema": next_round(schema=ZERO),
    "another hpke suite": next_round(suite=Suite.HYBRID),
    "not sorted": next_round(cohort=("b", "a")),
    "not sorted ": next_round(cohort=("a", "a", "b")),
    "names d, not on the roster": next_round(cohort=("a", "d")),
    "1 organisations, want 2": next_round(cohort=("a",)),
    "the cohort is the host's": next_round(available=("a", "b", "c")),
    "admits d, not of the cohort": in_round(lambda log: log.admit("d")),
    "admits a second update of a": in_round(lambda log: log.admit("a"), lambda log: log.admit("a")),
    "admits a second update of a ": in_round(
        lambda log: log.admit("a"),
        lambda log: log.reject("a", Reason.CHANGED_AFTER_ADMISSION),
        lambda log: log.admit("a"),
    ),
    "of round 2, want 1": in_round(lambda log: log.admit("a", round=2)),
    "of round 2, want 1 ": in_round(lambda log: log.reject("a", round=2)),
    "of round 2, want 1  ": in_round(lambda log: log.message(Purpose.REPORT, round=2)),
    "none is open": lambda log: (log.start(), log.admit("a")),
    "none is open ": lambda log: (log.start(), log.round(), log.reject("a")),
    "none is open  ": lambda log: (log.start(), log.round(), log.release()),
    "none is open   ": lambda log: (log.start(), log.round(), log.abort()),
    "none is open    ": lambda log: (log.start(), log.round(), log.adopt()),
    "aside that was not admitted": in_round(
        lambda log: log.reject("a", Reason.CHANGED_AFTER_ADMISSION)
    ),
    "aside that was not admitted ": in_round(
        lambda log: log.admit("a", update=ZERO),
        lambda log: log.reject("a", Reason.CHANGED_AFTER_ADMISSION),
    ),
    "another enclave's message": in_round(
        lambda log: log.message(Purpose.REPORT, sender=b"x" * 32)
    ),
    "another announcement": in_round(ended(announcement=ZERO)),
    "of round 2, want 1   ": in_round(ended(round=2)),
    "it builds on ": in_round(ended(base_model=ZERO)),
    "it has another schema ": in_round(ended(schema=ZERO)),
    "other metrics": in_round(ended(metrics=(ReleasedMetric.of("loss", 1.0),))),
    "counts 4 clients of 3": in_round(ended(clients=4)),
    "counts 2 clients of 3": in_round(ended(clients=2)),
    "counts 3 clients of 2": in_round(ended(organisations=2)),
    "counts 1 clients of 1 organisations, and the log admits 2 of 2": in_round(
        lambda log: log.admit("a"),
        lambda log: log.admit("b"),
        lambda log: log.message(Purpose.TOTAL),
        lambda log: log.release(clients=1, organisations=1),
    ),
    # A root counts other enclaves' clients beside its own, and never fewer; nobody else does.
    "counts 2 clients of 3 organisations": in_round(as_root(clients=2)),
    "counts 4 clients of 2 organisations": in_round(as_root(clients=4, organisations=2)),
    "counts 5 clients of 3 organisations": in_round(
        lambda log: log.message(Purpose.REPORT),
        lambda log: log.message(Purpose.PARTIAL_SUM),
        ended(clients=5),
    ),
    "1 organisations, want 2 ": in_round(lambda log: log.admit("a"), lambda log: log.release()),
    "of round 2, want 1    ": in_round(lambda log: log.abort(round=2)),
    "of round 2, want 1     ": in_round(lambda log: log.adopt(round=2)),
    "release of its own": in_round(lambda log: log.adopt(root=public_key(KEY))),
    "another root": in_round(lambda log: log.abort(**WRONG_ROOT)),
    "another root ": in_round(lambda log: log.adopt(**WRONG_ROOT)),
    "another root  ": lambda log: (
        log.start(),
        log.announce(checkpoint=Checkpoint(size=1, root=ZERO)),
    ),
    "is of 9 entries": in_round(lambda log: log.abort(**WRONG_SIZE)),
    "is of 9 entries ": in_round(ended(**WRONG_SIZE)),
    "is of 9 entries  ": next_round(**WRONG_SIZE),
    "round 1 has no end  ": in_round(lambda log: log.evaluate()),
    "of round 2, want 1, the newest ": lambda log: (
        log.start(),
        log.round(),
        log.evaluate(round=2),
    ),
    "before the first round": lambda log: (log.start(), log.evaluate()),
    "it evaluates": lambda log: (log.start(), log.round(), log.evaluate(model=ZERO)),
    "another root    ": lambda log: (
        log.start(),
        log.announce(),
        log.abort(),
        log.evaluate(checkpoint=Checkpoint(size=3, root=ZERO)),
    ),
    "round 1 has no end ": in_round(lambda log: log.shut_down()),
    "of round 2, want 1, the newest": lambda log: (
        log.start(),
        log.round(),
        log.shut_down(round=2),
    ),
    "of round 0, want 1, the newest": lambda log: (
        log.start(),
        log.round(),
        log.shut_down(round=0),
    ),
    "another root   ": lambda log: (
        log.start(),
        log.shut_down(checkpoint=Checkpoint(size=1, root=ZERO)),
    ),
    "no entry": lambda log: None,
}


@BOTH
@pytest.mark.parametrize("refusal", LIES)
def test_each_check_sees_its_lie(refusal: str, signatures: Signatures) -> None:
    log = LogBuilder()
    LIES[refusal](log)
    refused(log, refusal.strip(), signatures=signatures)
