"""Several enclaves share a cohort, and the host that carries their messages carries other ones.

Each refusal leaves every enclave as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Refusal, RequestRefused
from fedenclave.protocol.frames import ShardPapers
from fedenclave.protocol.manifest import agreed_peers
from fedenclave.protocol.peers import PeerMessage
from fedenclave.protocol.sealed_update import TAG_SIZE
from fedenclave.protocol.signing import Signed, sign
from fedenclave.protocol.statements import Outcome, Peers
from fedenclave.protocol.tensors import CHUNK_SIZE
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.cohort import memory_file
from tests.enclave.shards import (
    MEMBER_KEYS,
    OWNERS,
    Enclave,
    Shared,
    damaged,
    released,
    signed_peers,
)

NAMES = sorted(OWNERS)
COHORTS = (NAMES[:6], NAMES[6:12], NAMES[12:18])


@contextmanager
def refused(shared: Shared, want: Refusal) -> Iterator[None]:
    """Expect a refusal that changes nothing."""
    before = [enclave.state() for enclave in shared.enclaves]
    with pytest.raises(RequestRefused) as error:
        yield
    assert error.value.refusal is want
    assert [enclave.state() for enclave in shared.enclaves] == before


def three(**rules: object) -> Shared:
    """Three enclaves, each with updates of its own six clients."""
    shared = Shared.of(3, replace(DEFAULT_RULES, **rules))
    collect(shared)
    return shared


def collect(shared: Shared, seed: int = 0) -> None:
    for enclave, cohort in zip(shared.enclaves, COHORTS, strict=True):
        enclave.collect(cohort, dict.fromkeys(cohort, 2), seed)


def model_of_one(*cohorts: list[str], seed: int = 0) -> bytes:
    alone = Enclave(9)
    names = [name for cohort in cohorts for name in cohort]
    alone.collect(names, dict.fromkeys(names, 2), seed)
    alone.close()
    return alone.model()


# -- who is a peer


def test_an_enclave_that_members_did_not_name_gets_nothing_and_is_not_merged() -> None:
    shared, stranger = three(), Enclave(8)
    stranger.collect(NAMES[18:], dict.fromkeys(NAMES[18:], 1))
    papers = stranger.report(shared.root, signed_peers([shared.root, stranger]))
    too_few = signed_peers([shared.root, stranger], members=["beta"])
    for peers in (shared.peers, [], too_few, [*too_few, *too_few]):
        with refused(shared, Refusal.NOT_A_PEER):
            shared.enclaves[1].federation.report(stranger.key, stranger.announcement, peers)
        with refused(shared, Refusal.NOT_A_PEER):
            shared.root.federation.total([papers], peers)
    shared.release()


def test_members_count_together_only_for_exactly_the_same_enclaves_and_manifest() -> None:
    shared, other = three(), Enclave(8)
    manifest, enclaves = shared.root.manifest, shared.enclaves
    named = frozenset(enclave.key for enclave in enclaves)
    assert agreed_peers(manifest, shared.peers) == named
    (alpha,) = signed_peers(enclaves, ["alpha"])
    forged = sign(
        replace(_peers(alpha), member="gamma"),
        Ed25519PrivateKey.generate(),
    )
    worthless = (
        [alpha],
        [alpha, alpha],
        [alpha, forged],
        [alpha, *signed_peers([*enclaves, other], ["gamma"])],
        [alpha, *signed_peers(enclaves, ["gamma"], manifest=Digest(bytes(32)))],
        [alpha, *signed_peers(enclaves, ["gamma"], federation="another")],
        [alpha, b"", b"\xff"],
        [],
    )
    for peers in worthless:
        assert agreed_peers(manifest, peers) == frozenset()
        with refused(shared, Refusal.NOT_A_PEER):
            enclaves[1].federation.report(shared.root.key, shared.root.announcement, peers)
    # An enclave is not its own peer, and two that leave this one out are none of its own.
    with refused(shared, Refusal.NOT_A_PEER):
        shared.root.federation.report(shared.root.key, shared.root.announcement, shared.peers)
    with refused(shared, Refusal.NOT_A_PEER):
        enclaves[2].federation.report(
            shared.root.key, shared.root.announcement, signed_peers(enclaves[:2])
        )


def _peers(signed: bytes) -> Peers:
    return Peers.from_bytes(Signed.from_bytes(signed).payload)


# -- which round


def test_a_root_of_another_round_model_or_training_is_not_followed() -> None:
    shared = three()
    root, shard = shared.root, shared.enclaves[1]
    early = root.announcement
    root.federation.abort_round(1)
    root.open(COHORTS[0])
    with refused(shared, Refusal.PEER_MESSAGE):
        shard.federation.report(root.key, root.announcement, shared.peers)
    shard.federation.abort_round(1)
    shard.open(COHORTS[1], Digest(b"\x01" * 32))
    with refused(shared, Refusal.PEER_MESSAGE):
        shard.federation.report(root.key, root.announcement, shared.peers)
    with refused(shared, Refusal.PEER_MESSAGE):
        shard.federation.report(root.key, early, shared.peers)


def test_a_shard_follows_one_root() -> None:
    shared = three()
    shared.reports()
    other = shared.enclaves[2]
    with refused(shared, Refusal.WRONG_STATE):
        shared.enclaves[1].federation.report(other.key, other.announcement, shared.peers)


def test_messages_replayed_from_an_earlier_round_are_refused() -> None:
    shared = three()
    reports = shared.reports()
    totals = shared.totals(reports)
    sums = [e.export(t) for e, t in zip(shared.enclaves[1:], totals, strict=True)]
    closed = shared.root.merge(sums)
    for enclave in shared.enclaves[1:]:
        enclave.adopt(closed, memory_file(shared.root.model()))
    collect(shared, seed=1)
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.totals(reports)
    fresh = shared.reports()
    mixed = [
        ShardPapers(announcement=new.announcement, report=old.report)
        for new, old in zip(fresh, reports, strict=True)
    ]
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.totals(mixed)
    shared.totals(fresh)
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.enclaves[1].export(totals[0])
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.root.merge(sums)
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.enclaves[1].adopt(closed, memory_file(shared.root.model()))
    shared.release()


# -- which sum


def test_a_partial_sum_for_another_total_weight_is_refused() -> None:
    shared = three()
    reports = shared.reports()
    first = shared.totals(reports)
    old = shared.enclaves[1].export(first[0])
    second = shared.totals(reports[:1])
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.root.merge([old])
    new = shared.enclaves[1].export(second[0])
    # A shard that has answered a newer total does not answer an older one any more.
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.enclaves[1].export(first[0])
    shared.root.merge([new])
    assert shared.root.model() == model_of_one(*COHORTS[:2])


def test_partial_sums_swapped_doubled_or_left_out_are_refused() -> None:
    shared = three()
    (one, its_file), (two, other_file) = shared.sums()
    for sums in (
        [(one, other_file), (two, its_file)],
        [(one, its_file), (one, its_file)],
        [(one, its_file)],
        [],
        [(one, its_file), (two, other_file), (two, other_file)],
    ):
        with refused(shared, Refusal.PEER_MESSAGE):
            shared.root.merge(sums)
    shared.root.merge([(two, other_file), (one, its_file)])
    assert shared.root.model() == model_of_one(*COHORTS)


@pytest.mark.parametrize("at", [0, 2 * CHUNK_SIZE, 2 * CHUNK_SIZE + TAG_SIZE + 5])
def test_a_partial_sum_with_a_changed_byte_is_refused(at: int) -> None:
    shared = three()
    sums = shared.sums()
    damaged(sums[0][1], at)
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.root.merge(sums)
    damaged(sums[0][1], at)
    shared.root.merge(sums)
    assert shared.root.model() == model_of_one(*COHORTS)


def test_a_truncated_partial_sum_is_refused() -> None:
    shared = three()
    (key, file), other = shared.sums()
    whole = file.read(file.size(), 0)
    for size in (0, 2 * CHUNK_SIZE + TAG_SIZE, len(whole) - 1):
        with refused(shared, Refusal.STORAGE):
            shared.root.merge([(key, memory_file(whole[:size])), other])
    # Chunks in another order are no shorter.
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.root.merge([(key, memory_file(whole[::-1])), other])
    shared.root.merge([(key, memory_file(whole)), other])


def test_a_message_that_was_changed_on_its_way_is_refused() -> None:
    shared = three()
    papers = shared.reports()
    signed = Signed.from_bytes(papers[0].report)
    message = PeerMessage.from_bytes(signed.payload)
    before = shared.root.state()
    for changed in (
        replace(message, sealed=message.sealed[:-1]),
        replace(message, round=2),
        replace(message, sender=shared.enclaves[2].key),
    ):
        report = replace(signed, payload=changed.to_bytes()).to_bytes()
        with pytest.raises(MalformedMessage):
            shared.totals([replace(papers[0], report=report)])
    assert shared.root.state() == before
    # Another enclave's announcement does not go with it, either.
    with pytest.raises(MalformedMessage):
        shared.totals([replace(papers[0], announcement=papers[1].announcement)])
    assert shared.root.state() == before


def test_a_total_for_another_shard_is_not_answered() -> None:
    shared = three()
    totals = shared.totals(shared.reports())
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.enclaves[1].export(totals[1])


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


# -- a host that drops a shard


def test_the_root_goes_on_without_a_dropped_shard_under_a_new_total() -> None:
    shared = three()
    reports = shared.reports()
    totals = shared.totals(reports)
    only = shared.enclaves[1].export(totals[0])
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.root.merge([only])
    again = shared.totals(reports[:1])
    closed = shared.root.merge([shared.enclaves[1].export(again[0])])
    assert shared.root.model() == model_of_one(*COHORTS[:2])
    assert released(closed)[0].clients == 12
    # The round is over, also for the shard that was dropped.
    with pytest.raises(RequestRefused):
        shared.totals(reports)
    for enclave in shared.enclaves[1:]:
        enclave.adopt(closed, memory_file(shared.root.model()))
    collect(shared, seed=1)
    shared.release()


def test_the_root_can_go_on_without_any_shard() -> None:
    shared = three()
    shared.totals(shared.reports())
    shared.totals([])
    shared.root.merge([])
    assert shared.root.model() == model_of_one(COHORTS[0])


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


# -- updates that change on the way


@pytest.mark.parametrize("place", ["root", "shard"])
def test_an_update_swapped_after_the_report_is_set_aside_and_all_is_agreed_anew(
    place: str,
) -> None:
    shared = three()
    root, shard = shared.root, shared.enclaves[1]
    totals = shared.totals(shared.reports())
    victim = COHORTS[0 if place == "root" else 1][2]
    enclave = root if place == "root" else shard
    file = enclave.files[victim]
    whole = file.size() - 1
    sums: list = []

    def attempt() -> None:
        sums[:] = [e.export(t) for e, t in zip(shared.enclaves[1:], totals, strict=True)]
        root.merge(sums)

    if place == "root":
        sums[:] = [e.export(t) for e, t in zip(shared.enclaves[1:], totals, strict=True)]
    damaged(file, whole)
    tries: Callable[[], object] = (lambda: root.merge(sums)) if place == "root" else attempt
    for _ in range(2):  # the second time nothing is read: the number of clients is another
        with pytest.raises(RequestRefused) as error:
            tries()
        assert error.value.refusal is Refusal.SET_ASIDE
    release, report = released(root.merge(shared.sums()))
    assert release.clients == 17
    outcomes = {c.client: c.outcome for c in report.contributions}
    assert outcomes.pop(victim) is Outcome.SET_ASIDE
    assert set(outcomes.values()) == {Outcome.INCLUDED}
    rest = [[name for name in cohort if name != victim] for cohort in COHORTS]
    assert root.model() == model_of_one(*rest)


# -- adoption


def test_only_the_roots_release_with_its_model_is_adopted() -> None:
    shared = three()
    closed = shared.root.merge(shared.sums())
    shard, model = shared.enclaves[1], memory_file(shared.root.model())
    forged = sign(released(closed)[0], MEMBER_KEYS["alpha"])
    before = shard.state()
    with pytest.raises(MalformedMessage):
        shard.adopt(replace(closed, release=forged), model)
    assert shard.state() == before
    other = memory_file(shared.root.model())
    damaged(other, 5)
    with refused(shared, Refusal.WRONG_MODEL):
        shard.adopt(closed, other)
    shard.adopt(closed, model)
    # The round is over there, and its key gone.
    with refused(shared, Refusal.WRONG_STATE):
        shard.adopt(closed, model)
