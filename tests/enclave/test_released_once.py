"""A restart gives the operator no second release of a round by another sum."""

from __future__ import annotations

from dataclasses import replace

from fedenclave.enclave.states import State
from fedenclave.protocol.errors import Refusal
from tests.enclave.cohort import memory_file
from tests.enclave.test_resume import SIX, collected, refusal, unwritten


def test_a_model_that_comes_out_another_when_it_is_made_again_is_not_given_out() -> None:
    """On a machine that adds up otherwise: subtracted from the release it would tell something."""
    enclave, undisturbed = collected(), collected(1)
    undisturbed.close()
    closed = unwritten(enclave)
    enclave.attach(*SIX)
    round_ = enclave.federation._round
    assert round_ is not None
    true = round_.admitted[SIX[0]]
    round_.admitted[SIX[0]] = replace(true, weight=true.weight + 1)
    into = memory_file()
    assert refusal(enclave.repeated) is Refusal.STORAGE
    assert refusal(lambda: enclave.federation.write_model(into)) is Refusal.WRONG_STATE
    assert into.size() == 0
    assert enclave.federation.state is State.UNWRITTEN
    round_.admitted[SIX[0]] = true
    assert enclave.repeated() == closed
    assert enclave.model() == undisturbed.model()
