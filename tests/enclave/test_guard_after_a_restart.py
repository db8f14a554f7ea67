"""T5: what a restart could make the differencing guard forget."""

from __future__ import annotations

from fedenclave.enclave.states import State
from fedenclave.protocol.errors import Refusal
from tests.enclave.shards import Enclave, Shared, released, signed_peers
from tests.enclave.test_journal import AnchoredSealer
from tests.enclave.test_resume import again, refusal
from tests.enclave.test_winding_back import OTHERS, SIX, Windable, chip


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


def test_guard_remembers_it_over_another_restart_before_the_next_round() -> None:
    """What the first restart has cut off is noted with the end of the round, or it is nowhere."""
    enclave = Windable(0, chip())
    first = again(enclave.base)
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX, 1))
    enclave.close()
    enclave.resume(enclave.segment, first)
    enclave.federation.abort_round(2)
    enclave.write()
    enclave.resume(enclave.segment, first)
    assert enclave.federation.state is State.IDLE
    enclave.base = first
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX[:5], 1))
    assert refusal(enclave.close) is Refusal.DIFFERENCING


def test_guard_of_a_shard_remembers_over_a_restart_what_it_has_answered() -> None:
    """The round was aborted here, and for all that this enclave knows released by the root."""
    root, shard = Enclave(0), Windable(1, AnchoredSealer())
    both = Shared([root, shard], signed_peers([root, shard]))
    root.open(OTHERS)
    root.admit({OTHERS[0]: 1})
    shard.open(SIX)
    shard.admit(dict.fromkeys(SIX, 1))
    shard.federation.settle()
    papers = both.reports()
    shard.write()
    shard.federation.settle()
    shard.export(both.totals(papers)[0])
    shard.federation.abort_round(2)
    shard.write()
    shard.resume(shard.segment)
    assert shard.federation.state is State.IDLE
    shard.open(SIX)
    shard.admit(dict.fromkeys(SIX, 1))
    assert refusal(shard.close) is Refusal.DIFFERENCING
