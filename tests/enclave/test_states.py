"""The table of states: what is not in it is refused, and changes nothing."""

import os
import socket
from collections.abc import Iterator
from itertools import product

import pytest

from fedenclave.enclave.hardening import Hardening
from fedenclave.enclave.operations import OPERATIONS
from fedenclave.enclave.service import Service
from fedenclave.enclave.states import TRANSITIONS, State, after
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.frames import Operation, Request

EVERY_PAIR = list(product(State, Operation))
# A round ends only by a release or an abort, and none begins but from idle.
# A cohort is shared by a round that is open, and its shards and root leave it as one, too.
INTO_COLLECTING = {(State.IDLE, Operation.OPEN)}
OUT_OF_COLLECTING = {(State.COLLECTING, Operation.CLOSE), (State.COLLECTING, Operation.ABORT)}
SHARED = {
    (State.COLLECTING, Operation.REPORT),
    (State.COLLECTING, Operation.TOTAL),
    (State.SHARD, Operation.ADOPT),
    (State.SHARD, Operation.ABORT),
    (State.ROOT, Operation.MERGE),
    (State.ROOT, Operation.ABORT),
}
# Where an earlier run was is no way of its own: `resume` leads there.
RESTARTED = {
    (State.NEW, Operation.RESUME),
    (State.UNWRITTEN, Operation.REPEAT),
    (State.LOST, Operation.ABORT),
}
# Of this run: the next one goes on.
ENDED = {(State.IDLE, Operation.SHUTDOWN)}


@pytest.mark.parametrize(("state", "operation"), EVERY_PAIR)
def test_a_pair_is_in_the_table_or_refused(state: State, operation: Operation) -> None:
    if (state, operation) in TRANSITIONS:
        assert after(state, operation) is TRANSITIONS[state, operation]
        return
    with pytest.raises(RequestRefused) as refused:
        after(state, operation)
    assert refused.value.refusal is Refusal.WRONG_STATE


def test_the_table_leads_in_and_out_of_a_round_by_these_ways_only() -> None:
    moves = {pair for pair, state in TRANSITIONS.items() if pair[0] is not state}
    start = {(State.NEW, Operation.START)}
    assert moves == start | INTO_COLLECTING | OUT_OF_COLLECTING | SHARED | RESTARTED | ENDED
    back_to_new = [pair for pair, state in TRANSITIONS.items() if state is State.NEW]
    # The key of its state is asked for before there is any.
    staying = {Operation.ASK, Operation.UNLOCK, Operation.STATUS}
    assert set(back_to_new) == {(State.NEW, operation) for operation in staying}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service that nobody has started: it is asked without its socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Service(theirs, Hardening(), "insecure")


@pytest.mark.parametrize(
    ("state", "operation"), [pair for pair in EVERY_PAIR if pair not in TRANSITIONS]
)
def test_the_service_refuses_every_other_pair_before_it_looks_at_the_request(
    service: Service, state: State, operation: Operation
) -> None:
    service._state = state
    read, write = os.pipe()
    os.close(write)
    reply = service._answer(Request(operation=operation, body=b"\xff").to_bytes(), [read])
    assert (reply.refusal, reply.body) == (Refusal.WRONG_STATE, b"")
    assert service._state is state
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read)  # what came beside a refused request is closed


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_service_without_a_federation_refuses_what_only_one_can_do_in_any_state(
    service: Service, operation: Operation
) -> None:
    """The table already keeps it from there; a mistake in it must not become an internal error."""
    service._state = next(state for state, asked in TRANSITIONS if asked is operation)
    count, _ = service._handler(operation)
    descriptors = [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]
    reply = service._answer(Request(operation=operation, body=b"").to_bytes(), descriptors)
    assert reply.refusal == Refusal.WRONG_STATE
