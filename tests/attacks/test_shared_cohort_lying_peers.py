"""A peer that the members named lies to the enclaves that share a cohort with it.

The members have appraised its code, so this is code with a hole. What it says is signed, and sealed
to the right key; it is refused for what it says, and every enclave stays as it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from fedenclave.enclave.operations import OPERATIONS
from fedenclave.enclave.sharding import Shard
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.frames import MergeRequest, Operation, ShardPapers
from fedenclave.protocol.peers import PeerMessage, Purpose
from fedenclave.protocol.signing import Signed, sign
from fedenclave.protocol.statements import Announcement, CohortReport, Suite
from tests.attacks.shared_cohort import COHORTS, refused, three
from tests.enclave.cohort import memory_file
from tests.enclave.shards import Enclave, Shared, released

OTHER = Digest(b"\x07" * 32)


def opened_round(enclave: Enclave) -> Announcement:
    round_ = enclave.federation._round
    assert round_ is not None
    return round_.announcement


@pytest.mark.parametrize(
    "other",
    [
        {"federation": "another"},
        {"manifest": OTHER},
        {"round": 2},
        {"base_model": OTHER},
        {"schema": OTHER},
        {"training_config": OTHER},
        {"suite": Suite.X25519},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_root_whose_round_differs_in_one_thing_hears_of_no_update(
    other: dict[str, object],
) -> None:
    shared = three()
    root, shard = shared.root, shared.enclaves[1]
    announced = sign(replace(opened_round(root), **other), root.federation._key)  # type: ignore[arg-type]
    with refused(shared, Refusal.PEER_MESSAGE):
        shard.federation.report(root.key, announced, shared.peers)


def another_owner(report: CohortReport) -> CohortReport:
    """Alpha's client becomes gamma's: one organisation more than there is."""
    first, *rest = report.contributions
    return replace(report, contributions=(replace(first, organisation="gamma"), *rest))


def one_left_out(report: CohortReport) -> CohortReport:
    return replace(report, contributions=report.contributions[1:])


def one_more_missing(report: CohortReport) -> CohortReport:
    return replace(report, missing=(*report.missing, COHORTS[2][0]))


@pytest.mark.parametrize("lie", [another_owner, one_left_out, one_more_missing])
def test_a_shard_that_reports_other_clients_or_owners_than_its_own_is_not_counted(
    lie: Callable[[CohortReport], CohortReport],
) -> None:
    shared = three()
    shard = shared.enclaves[1]
    round_ = shard.federation._round
    assert round_ is not None
    told = lie(round_.cohort_report())
    assert told.contributions[0].client in COHORTS[1]
    round_.cohort_report = lambda: told  # type: ignore[method-assign]
    papers = shared.reports()
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.totals(papers)


def test_what_a_peer_has_sealed_to_nobody_is_refused_as_its_message() -> None:
    shared = three()
    root, shard = shared.root, shared.enclaves[1]
    shared.reports()
    sharing, round_ = shard.federation._sharing, root.federation._round
    assert sharing is not None
    assert round_ is not None
    unsealed = sharing._channel._message(
        Purpose.REPORT, shard.key, root.key, round_.announcement_digest
    )
    report = sign(replace(unsealed, sealed=bytes(200)), shard.federation._key)
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.totals([ShardPapers(announcement=shard.announcement, report=report)])


@pytest.mark.parametrize(
    "other",
    [
        {"federation": "another"},
        {"manifest": OTHER},
        {"round": 2},
        {"purpose": Purpose.TOTAL},
        {"receiver": OTHER},
        {"answers": OTHER},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_a_peer_has_signed_for_the_log_is_what_it_has_sealed(other: dict[str, object]) -> None:
    """Sealed as it is wanted, and signed as something else: its log would tell of another."""
    shared = three()
    shard = shared.enclaves[1]
    (honest, *_) = shared.reports()
    message = PeerMessage.from_bytes(Signed.from_bytes(honest.report).payload)
    signed = sign(replace(message, **other), shard.federation._key)  # type: ignore[arg-type]
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.totals([replace(honest, report=signed)])


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_partial_sums_key_of_another_length_is_refused_as_its_message(size: int) -> None:
    shared = three()
    totals = shared.totals(shared.reports())
    sums = [each.export(total) for each, total in zip(shared.enclaves[1:], totals, strict=True)]
    liar = shared.enclaves[1].federation
    shard = liar._shared().role(Shard)
    odd = shard.answer(totals[0], shard.read(totals[0], liar._history), bytes(size))
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.root.merge([(odd, sums[0][1]), sums[1]])
    shared.root.merge(sums)  # nothing but the key was wrong


@pytest.mark.parametrize(
    "other",
    [{"federation": "another"}, {"manifest": OTHER}, {"round": 2}, {"base_model": OTHER}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_root_that_releases_another_round_has_no_shard_that_follows(
    other: dict[str, object],
) -> None:
    shared = three()
    root = shared.root
    closed = root.merge(shared.sums())
    release = sign(replace(released(closed)[0], **other), root.federation._key)  # type: ignore[arg-type]
    with refused(shared, Refusal.PEER_MESSAGE):
        shared.enclaves[1].adopt(replace(closed, release=release), memory_file(root.model()))


def test_a_host_that_brings_keys_without_their_files_gets_no_merge() -> None:
    shared: Shared = three()
    keys = tuple(key for key, _ in shared.sums())
    _, merge = OPERATIONS[Operation.MERGE]
    for partial_sums in (keys[:1], (*keys, keys[0]), ()):
        body = MergeRequest(partial_sums=partial_sums, base_offset=0, time=1).to_bytes()
        files = [os.memfd_create("file") for _ in range(1 + len(keys))]
        with refused(shared, Refusal.PEER_MESSAGE):
            merge(shared.root.federation, body, files)
        for file in files:
            os.close(file)
