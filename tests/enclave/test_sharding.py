"""A cohort over several enclaves: any split releases the bytes that one enclave releases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedenclave.enclave.partial_sums import PartialSum
from fedenclave.protocol import aggregation as kinds
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.manifest import Rules
from fedenclave.protocol.signing import PublicKey, statement_digest, verify
from fedenclave.protocol.statements import Adoption
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.cohort import memory_file
from tests.enclave.shards import OWNERS, SCHEMA, Enclave, Shared, released

WITH_METRIC = replace(DEFAULT_RULES, metrics=("loss",), max_norm=150.0, over_norm="clip")
MOMENTUM = replace(WITH_METRIC, server=kinds.Momentum(learning_rate=0.5, momentum=0.9))
NAMES = sorted(OWNERS)

WEIGHTS = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 2**40), min_size=2, max_size=9)
COHORTS = WEIGHTS.filter(lambda weights: len({OWNERS[name] for name in weights}) >= 2)


@pytest.mark.parametrize("rules", [WITH_METRIC, MOMENTUM], ids=["mean", "momentum"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rounds=st.lists(COHORTS, min_size=1, max_size=2), count=st.integers(1, 4), data=st.data())
def test_any_split_of_a_cohort_in_any_order_releases_the_bytes_of_one_enclave(
    rules: Rules, rounds: list[dict[str, int]], count: int, data: st.DataObject
) -> None:
    alone, shared = Enclave(9, rules), Shared.of(count, rules)
    # Announced are six of the roster each, two of every organisation; admitted is who is drawn.
    cohorts = [NAMES[6 * n : 6 * n + 6] for n in range(count)]
    reach = {name for cohort in cohorts for name in cohort}
    for seed, drawn in enumerate(rounds):
        weights = {name: weight for name, weight in drawn.items() if name in reach}
        weights |= {cohorts[0][0]: 5, cohorts[-1][1]: 3}  # never below min_cohort
        alone.collect(NAMES, weights, seed)
        one, one_report = released(alone.close())
        for enclave, cohort in zip(shared.enclaves, cohorts, strict=True):
            order = data.draw(st.permutations([name for name in cohort if name in weights]))
            enclave.collect(cohort, {name: weights[name] for name in order}, seed)
        many, many_report = released(shared.release())
        assert {enclave.model() for enclave in shared.enclaves} == {alone.model()}
        assert (many.model, many.base_model) == (one.model, one.base_model)
        assert (many.clients, many.organisations) == (one.clients, one.organisations)
        assert many.metrics == one.metrics
        who = [(c.client, c.organisation, c.outcome) for c in one_report.contributions]
        assert [(c.client, c.organisation, c.outcome) for c in many_report.contributions] == who
        assert set(many_report.missing) == set(one_report.missing) & reach


def test_a_partial_sums_chunks_are_sealed_as_the_specification_says() -> None:
    key, file = bytes(range(32)), memory_file()
    sums, position = PartialSum(SCHEMA, key, file), 0
    last = len(SCHEMA.chunks) - 1
    for index, chunk in enumerate(SCHEMA.chunks):
        values = np.arange(chunk.size // chunk.dtype.itemsize, dtype=np.int64) - 7
        sums.write(index, values)
        sealed = file.read(8 * len(values) + 16, position)
        nonce = bytes(7) + index.to_bytes(4, "big") + bytes([index == last])
        assert AESGCM(key).decrypt(nonce, sealed, None) == values.astype("<i8").tobytes()
        position += len(sealed)
    assert file.size() == position


def test_a_shard_signs_that_it_has_adopted_the_roots_release() -> None:
    shared = Shared.of(2)
    for enclave, cohort in zip(shared.enclaves, (NAMES[:3], NAMES[3:6]), strict=True):
        enclave.collect(cohort, dict.fromkeys(cohort, 1))
    closed = shared.root.merge(shared.sums())
    shard = shared.enclaves[1]
    signed = shard.adopt(closed, shared.root.base)
    adoption = verify(Adoption, signed, PublicKey(shard.key))
    assert (adoption.root, adoption.round) == (shared.root.key, 1)
    assert adoption.release == statement_digest(closed.release)
    assert adoption.model == released(closed)[0].model
    assert sha256(shard.model()) == sha256(shared.root.model())
    # The next round, with the other one as the root.
    swapped = Shared(shared.enclaves[::-1], shared.peers)
    for enclave, cohort in zip(shared.enclaves, (NAMES[:3], NAMES[3:6]), strict=True):
        enclave.collect(cohort, dict.fromkeys(cohort, 1), seed=1)
    assert released(swapped.release())[0].base_model == adoption.model


def test_a_shard_is_behind_the_server_optimiser_and_cannot_be_the_root_any_more() -> None:
    shared = Shared.of(2, MOMENTUM)
    halves = (NAMES[:3], NAMES[3:6])
    for enclave, cohort in zip(shared.enclaves, halves, strict=True):
        enclave.collect(cohort, dict.fromkeys(cohort, 1))
    shared.release()
    for enclave, cohort in zip(shared.enclaves, halves, strict=True):
        enclave.collect(cohort, dict.fromkeys(cohort, 1))
    shard = shared.enclaves[1]
    for attempt in (shard.close, lambda: shard.federation.total([], [])):
        with pytest.raises(RequestRefused) as refused:
            attempt()
        assert refused.value.refusal is Refusal.WRONG_STATE
    shared.release()


@pytest.mark.parametrize(
    "rule", [kinds.Median(), kinds.MultiKrum(byzantine=1, selected=3)], ids=lambda r: r.RULE
)
def test_a_rule_that_needs_all_updates_at_once_is_not_divided(rule: kinds.Rule) -> None:
    shared = Shared.of(2, replace(DEFAULT_RULES, rule=rule))
    for enclave, cohort in zip(shared.enclaves, (NAMES[:6], NAMES[6:12]), strict=True):
        enclave.collect(cohort, dict.fromkeys(cohort, 1))
    before = [enclave.state() for enclave in shared.enclaves]
    for attempt in (lambda: shared.reports(), lambda: shared.totals([])):
        with pytest.raises(RequestRefused, match="rule-unusable") as refused:
            attempt()
        assert "mean" in refused.value.hint
    assert [enclave.state() for enclave in shared.enclaves] == before
