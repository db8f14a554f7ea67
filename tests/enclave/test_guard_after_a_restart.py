"""T5 on hardware without an anchor: what a restart makes the differencing guard forget."""

from __future__ import annotations

from fedenclave.enclave.states import State
from fedenclave.protocol.errors import Refusal
from tests.enclave.shards import released
from tests.enclave.test_resume import again, refusal
from tests.enclave.test_winding_back import SIX, Windable, chip


def test_guard_remembers_a_release_that_a_restart_counts_as_none() -> None:
    """It was fetched, and the host says that it was not: its cohort may have been told."""
    enclave = Windable(0, chip())
    first = again(enclave.base)
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX, 1))
    told = enclave.close()
    assert released(told)[0].clients == 6
    # Nothing is cut off: the host hands in the model before, and the enclave itself forgets.
    enclave.resume(enclave.segment, first)
    assert enclave.federation.state is State.LOST
    enclave.federation.abort_round(2)
    enclave.write()
    enclave.base = first
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX[:5], 1))  # all but c05: the difference is its update
    assert refusal(enclave.close) is Refusal.DIFFERENCING
