"""The enclave's state machine. Everything that affects transitions lives in this table.

A pair that is not in it is refused, and changes nothing. `resume` leads to the state in which the
earlier run was: `idle`, `collecting`, or `unwritten` where a release's model was not written; or
to `lost` where a round is open whose keys the machine has not kept: it can only be aborted. After
`shutdown` nothing more is signed in this run.

SPEC.md, section 12.2.
"""

from __future__ import annotations

from enum import StrEnum

from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.frames import Operation


class State(StrEnum):
    """Where the enclave is."""

    NEW = "new"
    IDLE = "idle"
    COLLECTING = "collecting"
    SHARD = "shard"
    ROOT = "root"
    UNWRITTEN = "unwritten"
    LOST = "lost"
    ENDED = "ended"


TRANSITIONS: dict[tuple[State, Operation], State] = {
    (State.NEW, Operation.ASK): State.NEW,
    (State.NEW, Operation.UNLOCK): State.NEW,
    (State.NEW, Operation.START): State.IDLE,
    (State.NEW, Operation.RESUME): State.IDLE,
    (State.NEW, Operation.STATUS): State.NEW,
    (State.IDLE, Operation.EVIDENCE): State.IDLE,
    (State.IDLE, Operation.OPEN): State.COLLECTING,
    (State.IDLE, Operation.FETCH): State.IDLE,
    (State.IDLE, Operation.ASK): State.IDLE,
    (State.IDLE, Operation.UNLOCK): State.IDLE,
    (State.IDLE, Operation.AMEND): State.IDLE,
    (State.IDLE, Operation.NOTE): State.IDLE,
    (State.IDLE, Operation.EVALUATED): State.IDLE,
    (State.IDLE, Operation.SHUTDOWN): State.ENDED,
    (State.IDLE, Operation.TELL): State.IDLE,
    (State.IDLE, Operation.STATUS): State.IDLE,
    (State.COLLECTING, Operation.EVIDENCE): State.COLLECTING,
    (State.COLLECTING, Operation.ADMIT): State.COLLECTING,
    (State.COLLECTING, Operation.ATTACH): State.COLLECTING,
    (State.COLLECTING, Operation.CLOSE): State.IDLE,
    (State.COLLECTING, Operation.ABORT): State.IDLE,
    (State.COLLECTING, Operation.REPORT): State.SHARD,
    (State.COLLECTING, Operation.TOTAL): State.ROOT,
    (State.COLLECTING, Operation.TELL): State.COLLECTING,
    (State.COLLECTING, Operation.STATUS): State.COLLECTING,
    (State.SHARD, Operation.EVIDENCE): State.SHARD,
    (State.SHARD, Operation.REPORT): State.SHARD,
    (State.SHARD, Operation.EXPORT): State.SHARD,
    (State.SHARD, Operation.ADOPT): State.IDLE,
    (State.SHARD, Operation.ABORT): State.IDLE,
    (State.SHARD, Operation.TELL): State.SHARD,
    (State.SHARD, Operation.STATUS): State.SHARD,
    (State.ROOT, Operation.EVIDENCE): State.ROOT,
    (State.ROOT, Operation.TOTAL): State.ROOT,
    (State.ROOT, Operation.MERGE): State.IDLE,
    (State.ROOT, Operation.ABORT): State.IDLE,
    (State.ROOT, Operation.TELL): State.ROOT,
    (State.ROOT, Operation.STATUS): State.ROOT,
    (State.UNWRITTEN, Operation.EVIDENCE): State.UNWRITTEN,
    (State.UNWRITTEN, Operation.ATTACH): State.UNWRITTEN,
    (State.UNWRITTEN, Operation.REPEAT): State.IDLE,
    (State.UNWRITTEN, Operation.STATUS): State.UNWRITTEN,
    (State.LOST, Operation.EVIDENCE): State.LOST,
    (State.LOST, Operation.ABORT): State.IDLE,
    (State.LOST, Operation.STATUS): State.LOST,
    (State.ENDED, Operation.TELL): State.ENDED,
    (State.ENDED, Operation.STATUS): State.ENDED,
}


def after(state: State, operation: Operation) -> State:
    """Return the state after `operation`.

    Raises:
        RequestRefused: the operation is not possible in `state`.
    """
    try:
        return TRANSITIONS[state, operation]
    except KeyError:
        raise RequestRefused(Refusal.WRONG_STATE) from None
