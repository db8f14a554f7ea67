"""Enclaves that share a cohort, each with six clients, and how to expect their refusal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.shards import OWNERS, Enclave, Shared

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
