"""The enclave draws the cohort by lot where the manifest says so, and everybody can see of whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.audit.log import LogInvalid, verify_log
from fedenclave.enclave.cohort_draw import draw
from fedenclave.protocol.cohort import DrawnCohort, cohort_problem
from fedenclave.protocol.errors import EnclaveRefused, Refusal, RequestRefused
from fedenclave.protocol.log_file import MAGIC
from fedenclave.protocol.signing import PublicKey, public_key
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.world import World, now

OWNERS = {"a": "alpha", "b": "beta", "c": "gamma", "d": "delta", "e": "delta"}


def test_every_cohort_with_enough_organisations_is_as_probable_as_any_other() -> None:
    """Ten sets of three, and d and e are one organisation's: seven are of three organisations."""
    names = sorted(OWNERS)
    drawn = DrawnCohort(size=3, of_at_least=3)
    rounds = 7000
    counts = Counter(tuple(draw(drawn, names, OWNERS, 3)) for _ in range(rounds))
    assert len(counts) == 7
    assert not any({"d", "e"} <= set(cohort) for cohort in counts)
    # Each of 7: 1000 expected, standard deviation 29. Seven of them miss six once in 10^8 runs.
    assert all(abs(count - rounds / 7) < 6 * 29.3 for count in counts.values())


@pytest.mark.parametrize(
    ("available", "owner_of", "drawn"),
    [
        (["a", "b"], OWNERS, DrawnCohort(size=2, of_at_least=3)),
        (["d", "e"], OWNERS, DrawnCohort(size=2, of_at_least=2)),
    ],
)
def test_too_few_available_clients_open_no_round(
    available: list[str], owner_of: Mapping[str, str], drawn: DrawnCohort
) -> None:
    with pytest.raises(RequestRefused) as refused:
        draw(drawn, available, owner_of, 2)
    assert refused.value.refusal is Refusal.COHORT_TOO_SMALL


@pytest.mark.parametrize(
    ("cohort", "available", "problem"),
    [
        ("ab", "abc", ""),
        ("bc", "abcd", ""),
        ("ab", "ab", "drawn of 2 clients, want 3"),
        ("ab", "", "drawn of 0 clients"),
        ("abc", "abcd", "not 2 of the available"),
        ("ad", "abc", "not 2 of the available"),
        ("ab", "acb", "not sorted"),
        ("ab", "abb", "not sorted"),
        ("ab", "abx", "not sorted, each once, all on the roster"),
    ],
)
def test_what_is_announced_is_compared_with_the_manifest(
    cohort: str, available: str, problem: str
) -> None:
    drawn = DrawnCohort(size=2, of_at_least=3)
    found = cohort_problem(drawn, cohort, available, set("abcde"))
    assert bool(found) == bool(problem)
    assert problem in found
    assert bool(cohort_problem(None, cohort, available, set("abcde"))) == bool(available)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "host", OWNERS, min_cohort=2, drawn=DrawnCohort(size=3, of_at_least=4))
    yield world
    world.close()


def test_rounds_of_drawn_cohorts_from_offer_to_log(world: World) -> None:
    seen = set()
    for available in ("abcde", "abcd", "abce"):
        offers = world.open(list(available))
        cohort = world.announcement.cohort
        assert sorted(offers) == sorted(cohort)
        assert len(cohort) == 3
        assert world.announcement.available == tuple(available)
        seen.add(cohort)
        world.contribute(dict.fromkeys(cohort, 1.0))
        _, receipts = world.release(list(cohort))
        assert all(receipt.clients == cohort for receipt in receipts.values())
    log = MAGIC + world.aggregator.log_part(0, 2**20)
    path = world.folder / "copy"
    path.write_bytes(log)
    with path.open("rb") as stream:
        verified = verify_log(
            stream, PublicKey(world.aggregator.info()[2].signing_key), world.manifest
        )
    assert {each.cohort for each in verified.rounds} == seen


@pytest.mark.parametrize("available", [["a", "b", "c"], ["a", "b", "c", "c", "d"], [*"abcdx"]])
def test_no_round_is_opened_of_fewer_or_unknown_clients(world: World, available: list[str]) -> None:
    before = world.status()
    with pytest.raises(RequestRefused):
        world.aggregator.open_round(available, NO_TRAINING_CONFIG)
    assert world.status() == before


@pytest.mark.parametrize(
    ("cohort", "available"),
    [("abc", ""), ("abc", "abc"), ("ab", "abcd"), ("abe", "abcd"), ("abcd", "abcd")],
)
def test_clients_and_auditors_refuse_a_cohort_that_was_not_drawn_as_agreed(
    world: World, tmp_path: Path, cohort: str, available: str
) -> None:
    session, liar = world.sessions["a"], LyingEnclave(world.manifest)
    announced = liar.announcement(cohort=tuple(cohort), available=tuple(available))
    offer = liar.offer(session.hello(now()).nonce, announcement=announced)
    with pytest.raises(EnclaveRefused, match="not chosen as the manifest says"):
        session.accept(offer, world.aggregator.model(), now(), training_config=NO_TRAINING_CONFIG)
    liar.log.append(announced)
    path = tmp_path / "log"
    path.write_bytes(MAGIC + liar.log_part().entries)
    with path.open("rb") as stream, pytest.raises(LogInvalid, match="cohort is"):
        verify_log(stream, public_key(liar.key), world.manifest)


def test_a_named_cohort_has_no_available_clients(tmp_path: Path) -> None:
    named = World(tmp_path / "named")
    session, liar = named.sessions["a"], LyingEnclave(named.manifest)
    honest = liar.announcement()
    offer = liar.offer(session.hello(now()).nonce, announcement=honest)
    file = named.aggregator.model()
    assert session.accept(offer, file, now(), training_config=NO_TRAINING_CONFIG)
    other = liar.announcement(available=("a", "b", "c"))
    wrong = liar.offer(session.hello(now()).nonce, announcement=other)
    with pytest.raises(EnclaveRefused, match="the cohort is the host's"):
        session.accept(wrong, file, now(), training_config=NO_TRAINING_CONFIG)
    named.close()
