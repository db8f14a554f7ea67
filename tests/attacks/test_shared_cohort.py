"""Several enclaves share a cohort, and the host that carries their messages carries other ones.

Each refusal leaves every enclave as it was.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Refusal
from fedenclave.protocol.frames import ShardPapers
from fedenclave.protocol.manifest import agreed_peers
from fedenclave.protocol.peers import PeerMessage
from fedenclave.protocol.signing import Signed, sign
from fedenclave.protocol.statements import Peers
from tests.attacks.shared_cohort import COHORTS, NAMES, collect, refused, three
from tests.enclave.cohort import memory_file
from tests.enclave.shards import (
    MEMBER_KEYS,
    Enclave,
    damaged,
    released,
    signed_peers,
)

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
