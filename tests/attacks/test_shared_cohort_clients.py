"""Whose updates enclaves of a shared cohort count together, and which cohorts are too alike.

Each refusal leaves every enclave as it was.
"""

from __future__ import annotations

from dataclasses import replace

from fedenclave.enclave.sharding import Shard
from fedenclave.protocol.errors import Refusal
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.attacks.shared_cohort import COHORTS, collect, refused
from tests.enclave.shards import (
    OWNERS,
    Shared,
    released,
)

# -- whose updates


def test_a_client_in_two_shards_is_refused() -> None:
    shared = Shared.of(3)
    # Neither with an update in both nor where it is announced in both and sent to one.
    for cohorts, sent in (((0, 1, 1), True), ((0, 1, 0), False), ((0, 0, 1), False)):
        for enclave, number in zip(shared.enclaves, cohorts, strict=True):
            enclave.open(COHORTS[number])
        for enclave, number in zip(shared.enclaves[: 3 if sent else 1], cohorts, strict=False):
            enclave.admit(dict.fromkeys(COHORTS[number], 1))
        papers = shared.reports()
        with refused(shared, Refusal.UNKNOWN_CLIENT):
            shared.totals(papers)
        for enclave in shared.enclaves:
            enclave.federation.abort_round(1)
    collect(shared)
    papers = shared.reports()
    with refused(shared, Refusal.UNKNOWN_CLIENT):
        shared.totals([papers[0], papers[0]])
    shared.release()


def test_one_organisation_in_every_shard_is_counted_once() -> None:
    shared = Shared.of(3)
    for enclave, cohort in zip(shared.enclaves, COHORTS, strict=True):
        enclave.open(cohort)
        enclave.admit({cohort[0]: 1, cohort[3]: 1})  # alpha's, all of them
    papers = shared.reports()
    with refused(shared, Refusal.COHORT_TOO_SMALL):
        shared.totals(papers)
    with refused(shared, Refusal.WRONG_STATE):
        shared.root.merge([])


def test_a_refused_total_leaves_the_one_before_it() -> None:
    shared = Shared.of(3)
    for enclave, cohort, clients in zip(shared.enclaves, COHORTS, ((), (1,), (2,)), strict=True):
        enclave.open(cohort)
        enclave.admit({cohort[number]: 1 for number in clients})
    papers = shared.reports()
    totals = shared.totals(papers)
    with refused(shared, Refusal.COHORT_TOO_SMALL):
        shared.totals(papers[:1])
    sums = [e.export(t) for e, t in zip(shared.enclaves[1:], totals, strict=True)]
    assert released(shared.root.merge(sums))[0].clients == 2


def test_one_organisation_in_each_shard_is_enough_together() -> None:
    shared = Shared.of(3)
    for number, (enclave, cohort) in enumerate(zip(shared.enclaves, COHORTS, strict=True)):
        enclave.open(cohort)
        enclave.admit({cohort[number]: 1})
    release, report = released(shared.release())
    assert (release.clients, release.organisations) == (3, 3)
    assert len(report.missing) == 15


def test_the_length_of_a_report_tells_nothing_of_the_weight() -> None:
    lengths = set()
    for weight in (1, 300, 2**40):
        shared = Shared.of(2, replace(DEFAULT_RULES, metrics=("loss",), weight_cap=2**40))
        for enclave, cohort in zip(shared.enclaves, COHORTS, strict=False):
            enclave.collect(cohort, dict.fromkeys(cohort, weight))
        (papers,) = shared.reports()
        lengths.add(len(papers.report))
        (total,) = shared.totals([papers])
        lengths.add(-len(total))
    assert len(lengths) == 2


# -- differencing


def test_a_shard_that_has_answered_does_not_release_almost_the_same_cohort() -> None:
    """The root has released alpha's client and the shard's; the shard is told nothing of it."""
    shared = Shared.of(2)
    root, shard = shared.enclaves
    root.open(COHORTS[0])
    root.admit({COHORTS[0][0]: 1})
    shard.collect(COHORTS[1], dict.fromkeys(COHORTS[1], 1))
    root.merge(shared.sums())
    shard.federation.abort_round(1)
    shard.collect(COHORTS[1], dict.fromkeys(COHORTS[1], 1))
    with refused(shared, Refusal.DIFFERENCING):
        shard.close()


def test_a_shard_compares_a_total_with_its_own_history() -> None:
    shared = Shared.of(3)
    root, shard, other = shared.enclaves
    pair = Shared([root, shard], shared.peers)
    for enclave, cohort in zip((root, shard), COHORTS[:2], strict=True):
        enclave.collect(cohort, dict.fromkeys(cohort, 1))
    pair.sums()  # for all the shard knows, released
    for enclave in (root, shard):
        enclave.federation.abort_round(1)
    other.open(COHORTS[2])
    other.federation.abort_round(1)
    # The same but for one of alpha's clients, by another root that knows of nothing.
    swapped = Shared([other, shard], shared.peers)
    other.open([*COHORTS[0][1:], COHORTS[2][1]])
    other.admit(dict.fromkeys(COHORTS[0][1:], 1))
    shard.collect(COHORTS[1], dict.fromkeys(COHORTS[1], 1))
    totals = swapped.totals(swapped.reports())
    with refused(shared, Refusal.DIFFERENCING):
        shard.export(totals[0])


def test_a_root_compares_all_clients_with_what_it_answered_as_a_shard() -> None:
    shared = Shared.of(2)
    for enclave, cohort in zip(shared.enclaves, COHORTS, strict=False):
        enclave.collect(cohort, dict.fromkeys(cohort, 1))
    shared.sums()
    swapped = Shared(shared.enclaves[::-1], shared.peers)
    for enclave, clients in zip(shared.enclaves, (COHORTS[0][1:], COHORTS[1]), strict=True):
        enclave.federation.abort_round(1)
        enclave.collect(clients, dict.fromkeys(clients, 1))
    papers = swapped.reports()
    with refused(shared, Refusal.DIFFERENCING):
        swapped.totals(papers)


def test_a_root_compares_all_clients_with_its_history_once_more_before_it_merges() -> None:
    shared = Shared.of(3)
    collect(shared)
    sums = shared.sums()
    everyone = {client: OWNERS[client] for cohort in COHORTS for client in cohort[1:]}
    history, round_ = shared.root.federation._history, shared.root.federation._round
    assert round_ is not None
    history.add(round_.announcement.base_model, everyone)
    with refused(shared, Refusal.DIFFERENCING):
        shared.root.merge(sums)


def test_a_shard_that_has_not_reported_answers_no_total() -> None:
    shared = Shared.of(2)
    root, enclave = shared.enclaves
    for each, cohort in zip(shared.enclaves, COHORTS, strict=False):
        each.open(cohort)
    sharing, history = enclave.federation._sharing, enclave.federation._history
    assert sharing is not None
    peer = sharing._channel.peer(root.key, root.announcement, shared.peers)
    with refused(shared, Refusal.SET_ASIDE):
        Shard(sharing._channel, peer).read(b"", history)
