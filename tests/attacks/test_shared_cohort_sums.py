"""What enclaves of a shared cohort sum up together: the host that carries it carries other sums.

Each refusal leaves every enclave as it was.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.sealed_update import TAG_SIZE
from fedenclave.protocol.statements import Outcome
from fedenclave.protocol.tensors import CHUNK_SIZE
from tests.attacks.shared_cohort import COHORTS, collect, model_of_one, refused, three
from tests.enclave.cohort import memory_file
from tests.enclave.shards import (
    damaged,
    released,
)

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
