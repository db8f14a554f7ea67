"""What is said between two rounds, and when it is not: federations without processes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedenclave.enclave.federation import Federation
from fedenclave.enclave.sealing.insecure import InsecureSealer
from fedenclave.enclave.states import State
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal
from tests.enclave.shards import Enclave
from tests.enclave.test_resume import again, collected, refusal, unwritten
from tests.enclave.test_winding_back import Windable, chip

SIX = [f"c{n:02d}" for n in range(6)]
SAYS: dict[str, Callable[[Federation], bytes]] = {
    "evaluated": lambda federation: federation.evaluated(Digest(b"e" * 32), 3),
    "shutdown": lambda federation: federation.shut_down(3),
}
EACH = pytest.mark.parametrize("say", SAYS.values(), ids=SAYS)


@EACH
def test_nothing_is_said_in_an_open_round(say: Callable[[Federation], bytes]) -> None:
    enclave = Enclave()
    enclave.collect(SIX, dict.fromkeys(SIX, 1))
    enclave.close()
    assert say(enclave.federation)
    enclave.open(SIX)
    before = enclave.state()
    assert refusal(lambda: say(enclave.federation)) is Refusal.WRONG_STATE
    assert enclave.state() == before


def test_an_enclave_that_has_just_started_or_resumed_can_say_that_it_ends() -> None:
    """Nothing is released that its host could lack; but of what was there is nothing evaluated."""
    enclave = Windable(0, InsecureSealer())
    assert refusal(lambda: SAYS["evaluated"](enclave.federation)) is Refusal.WRONG_STATE
    for _ in range(2):
        assert enclave.federation.shut_down(3)
        enclave.write()
        enclave.resume(enclave.segment)


@EACH
def test_nothing_is_said_behind_a_model_that_was_made_again_until_it_is_fetched(
    say: Callable[[Federation], bytes],
) -> None:
    enclave = collected()
    unwritten(enclave)
    enclave.attach(*SIX)
    enclave.federation.repeat(enclave.base, enclave.states)
    assert enclave.federation.state is State.IDLE
    before = enclave.state()
    assert refusal(lambda: say(enclave.federation)) is Refusal.WRONG_STATE
    assert enclave.state() == before
    enclave.federation.write_model(again(enclave.base))
    assert say(enclave.federation)


@EACH
def test_a_round_behind_a_release_that_was_never_fetched_does_not_silence_the_enclave(
    say: Callable[[Federation], bytes],
) -> None:
    """With its opening the release is in the state that no restart goes behind."""
    enclave = Enclave()
    enclave.collect(SIX, dict.fromkeys(SIX, 1))
    enclave.federation.close_round(enclave.base, enclave.states, 1)
    assert refusal(lambda: say(enclave.federation)) is Refusal.WRONG_STATE
    enclave.open(SIX)
    enclave.federation.abort_round(2)
    assert say(enclave.federation)


@EACH
def test_what_was_said_behind_a_release_keeps_it_from_being_cut_off(
    say: Callable[[Federation], bytes],
) -> None:
    """Where no round outlives a restart, the model before it says that it was never told."""
    enclave = Windable(0, chip())
    first = again(enclave.base)
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX, 1))
    enclave.close()
    say(enclave.federation)
    enclave.write()
    assert refusal(lambda: enclave.resume(enclave.segment, first)) is Refusal.WRONG_MODEL
    size = enclave.federation.log.size
    enclave.resume(enclave.segment)
    assert (enclave.federation.state, enclave.federation.log.size) == (State.IDLE, size)


def test_the_log_with_the_newest_evaluation_is_known_after_a_restart() -> None:
    """It is the checkpoint of the note that the host publishes: members hold it."""
    enclave = Windable(0, InsecureSealer())
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX, 1))
    enclave.close()
    SAYS["evaluated"](enclave.federation)
    enclave.write()
    log = enclave.federation.log
    enclave.federation.note()
    enclave.write()
    enclave.resume(enclave.segment)
    assert enclave.federation.log == log
    assert enclave.federation._log.knows(log)
