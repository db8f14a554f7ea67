"""Members change their manifest: the history goes on, and nobody is taken along unasked."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedenclave.attestation.endorsements import NO_ENDORSEMENTS
from fedenclave.audit.amended import manifests_before
from fedenclave.audit.folder import contradictions
from fedenclave.audit.log import LogInvalid, verify_log
from fedenclave.audit.receipt import ReceiptInvalid, Verdict, verify_one_of_many, verify_receipt
from fedenclave.audit.shared_parts import SharedParts
from fedenclave.protocol.aggregation import Momentum
from fedenclave.protocol.errors import (
    ConfigurationError,
    EnclaveRefused,
    FedEnclaveError,
    Refusal,
    RequestRefused,
)
from fedenclave.protocol.log_file import MAGIC
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import PublicKey
from tests.amendment.world import ZERO, ChangingWorld
from tests.attacks.world import now, value_of

ABC = {"a": "alpha", "b": "beta", "c": "gamma"}
ABD = {"a": "alpha", "b": "beta", "d": "delta"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ChangingWorld]:
    world = ChangingWorld(tmp_path / "host", ABC)
    yield world
    world.close()


def play(world: ChangingWorld, names: str, step: float = 1.0) -> None:
    world.open(list(names))
    world.contribute(dict.fromkeys(names, step))
    world.release(names)


def log_of(world: ChangingWorld) -> io.BytesIO:
    return io.BytesIO(MAGIC + world.aggregator.log_part(0, 2**30))


def test_key_log_model_and_rounds_go_on_and_all_of_it_verifies(world: ChangingWorld) -> None:
    play(world, "abc")
    before, key = world.status(), world.aggregator.info()[2].signing_key
    world.close()
    world.amend(world.draft(ABD))
    assert world.aggregator.info()[2].signing_key == key
    assert world.status().log_size == before.log_size + 2  # that it was ended, and the amendment
    assert value_of(world.model()) == 1.5
    play(world, "abd")  # d was never there before: it gets the whole log, and the chain in it
    play(world, "ab")
    assert world.status().round == 3
    assert value_of(world.model()) == 3.5
    old, new = world.former[0][0], world.manifest
    verified = verify_log(log_of(world), PublicKey(key), new, former=[old])
    assert (verified.manifest, len(verified.rounds)) == (new.digest, 3)
    agreed = [tuple(sorted(member.name for member in each.members)) for each in (old, new)]
    assert verified.approved_by == ((old.digest, agreed[0]), (new.digest, agreed[1]))
    shared = SharedParts(new, NO_ENDORSEMENTS, [old])
    receipts = [
        verify_one_of_many(data, shared)
        for name in "abcd"
        for data in world.stores[name].receipts.values()
    ]
    assert len(receipts) == 8
    assert {receipt.manifest for receipt in receipts} == {old.digest, new.digest}
    assert contradictions(receipts, now=now()) == []


def test_a_reader_without_the_older_manifest_learns_that_it_is_missing(
    world: ChangingWorld,
) -> None:
    play(world, "abc")
    world.close()
    world.amend(world.draft(ABD))
    key = PublicKey(world.aggregator.info()[2].signing_key)
    with pytest.raises(LogInvalid, match="another manifest"):
        verify_log(log_of(world), key, world.manifest)
    # With the older one alone it is a log of its time, which goes on under rules unknown to it.
    with pytest.raises(LogInvalid, match="another manifest"):
        verify_log(log_of(world), key, world.former[0][0])
    (receipt,) = world.stores["c"].receipts.values()
    with pytest.raises(ReceiptInvalid, match="another manifest than yours"):
        verify_receipt(receipt, world.manifest)


def test_a_restart_goes_on_under_the_manifest_in_force(world: ChangingWorld) -> None:
    play(world, "abc")
    world.close()
    world.amend(world.draft(ABD))
    play(world, "abd")
    log = world.status().log_size
    world.restart()
    assert world.status().log_size == log + 1
    play(world, "abd")
    assert world.status().round == 3


def test_the_older_manifest_does_not_come_back(world: ChangingWorld) -> None:
    play(world, "abc")
    world.close()
    first, approvals = world.manifest, world.approvals
    world.amend(world.draft(ABD))
    second, second_approvals = world.manifest, world.approvals
    world.close()
    world.manifest, world.approvals = first, approvals
    with pytest.raises(RequestRefused) as refused:
        world.start()
    assert refused.value.refusal is Refusal.STATE
    world.manifest, world.approvals = second, second_approvals
    world.start()
    play(world, "abd")


def refused(world: ChangingWorld, manifest: Manifest, approving: list[str] | None = None) -> str:
    world.close()
    state = {path: path.read_bytes() for path in world.folder.rglob("*") if path.is_file()}
    with pytest.raises(FedEnclaveError) as error:
        world.amend(manifest, approving)
    changed = {path for path, data in state.items() if path.read_bytes() != data}
    assert not {path for path in changed if path.suffix in (".fel", ".fes", ".feu")}
    world.start()
    return error.value.message


@pytest.mark.parametrize(
    ("approving", "says"),
    [
        (["alpha", "beta"], "approved by 2 of the members before the change, want 3"),
        (["alpha", "beta", "gamma"], "approved by 2 of the members after the change, want 3"),
        ([], "approved by 0"),
    ],
)
def test_enough_members_of_before_and_of_after_must_approve(
    world: ChangingWorld, approving: list[str], says: str
) -> None:
    play(world, "abc")
    assert says in refused(world, world.draft(ABD), approving)
    play(world, "abc")


OTHER: dict[str, dict[str, Any]] = {
    "no manifest": {"continues": None},
    "another one": {"continues": ZERO},
    "another federation": {"name": "other"},
    "another first model": {"initial_model": ZERO},
    "the operator's keys": {"development": False},
}


@pytest.mark.parametrize("what", OTHER)
def test_a_manifest_that_cannot_take_its_place_is_refused(world: ChangingWorld, what: str) -> None:
    play(world, "abc")
    says = refused(world, world.draft(ABD, **OTHER[what]))
    assert "manifest-unusable" in says or "state-unusable" in says
    play(world, "abc")


@pytest.mark.parametrize("what", OTHER)
def test_the_enclave_itself_refuses_it_too(world: ChangingWorld, what: str) -> None:
    """Not only its host: an operator's host asks what it likes."""
    play(world, "abc")
    manifest = world.draft(ABD, **OTHER[what])
    before = world.status()
    approvals = tuple(world.approval(manifest, name) for name in sorted(world.members))
    with pytest.raises(RequestRefused) as error:
        world.aggregator._amend(manifest.source, approvals)
    assert error.value.refusal is Refusal.MANIFEST
    assert world.status() == before
    world.aggregator._agree(world.manifest.source, tuple(world.approvals))
    play(world, "abc")


@pytest.mark.parametrize("approving", [["alpha", "beta", "delta"], ["alpha", "beta", "gamma"]])
def test_the_enclave_itself_counts_the_approvals(
    world: ChangingWorld, approving: list[str]
) -> None:
    play(world, "abc")
    manifest = world.draft(ABD)
    approvals = tuple(world.approval(manifest, name) for name in approving)
    with pytest.raises(RequestRefused) as error:
        world.aggregator._amend(manifest.source, approvals)
    assert error.value.refusal is Refusal.NOT_APPROVED


def test_an_open_round_is_aborted_and_its_clients_are_told(world: ChangingWorld) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    world.close()
    world.amend(world.draft(ABD))
    assert world.status().state == "idle"
    (deliveries,) = world.coordinator.deliveries_before()
    receipt = world.sessions["a"].take_delivery(deliveries["a"])
    assert receipt.verdict is Verdict.ABORTED
    assert receipt.manifest == world.former[0][0].digest


def test_the_guard_remembers_releases_and_clients_of_before(world: ChangingWorld) -> None:
    """T5: on a model that stays as it was, c's update must not come out by taking c off."""
    play(world, "abc", step=0.0)
    world.close()
    world.amend(world.draft({"a": "alpha", "b": "beta", "z": "zeta"}))
    world.restart()
    world.open(["a", "b"])
    world.contribute({"a": 0, "b": 0})
    with pytest.raises(RequestRefused) as error:
        world.coordinator.close()
    assert error.value.refusal is Refusal.DIFFERENCING
    world.coordinator.abort()
    # And once more over a second change, where c is back.
    world.close()
    world.amend(world.draft(ABC))
    world.open(["a", "b"])
    world.contribute({"a": 0, "b": 0})
    with pytest.raises(RequestRefused) as error:
        world.coordinator.close()
    assert error.value.refusal is Refusal.DIFFERENCING


@pytest.mark.parametrize("kept", [True, False])
def test_the_optimisers_memory_goes_on_with_the_same_optimiser_and_with_no_other(
    tmp_path: Path, kept: bool
) -> None:
    world = ChangingWorld(tmp_path / "host", ABC, server=Momentum(learning_rate=1.0, momentum=0.5))
    play(world, "abc")
    world.close()
    rules = {} if kept else {"server": Momentum(learning_rate=1.0, momentum=0.25)}
    world.amend(world.draft(ABC, rules=rules))
    play(world, "abc")
    # 0.5, then a step of 1, then one of 1.5; or of 1 again.
    assert value_of(world.model()) == (3.0 if kept else 2.5)
    world.close()


def test_a_client_that_is_not_on_the_new_roster_is_out(world: ChangingWorld) -> None:
    play(world, "abc")
    world.close()
    old = world.sessions["c"]
    world.amend(world.draft(ABD))
    with pytest.raises(RequestRefused):
        world.open(["a", "b", "d", "c"]) if "c" in world.sessions else world.coordinator.open(
            {"c": old.hello(now())}, ZERO
        )
    with pytest.raises(ConfigurationError, match="not on the manifest's roster"):
        world.session("c")


def test_a_client_refuses_a_round_under_a_manifest_that_the_log_does_not_lead_to(
    world: ChangingWorld,
) -> None:
    """Its owner has approved the new one; the enclave must have taken it up, and said so."""
    play(world, "abc")
    session = world.sessions["a"]
    after = world.draft(ABC, rules={"max_abs": 7.0})
    world.sessions["a"] = type(session)(
        manifest=after,
        approvals=[world.approval(after, name) for name in world.members],
        name="a",
        key=world.keys["a"],
        store=world.stores["a"],
        former=[(world.manifest, tuple(world.approvals))],
    )
    world.open()
    state = world.sessions["a"].state
    with pytest.raises(EnclaveRefused):
        world.accept("a")
    assert replace(world.sessions["a"].state, nonces=()) == replace(state, nonces=())
    world.sessions["a"] = session


def test_manifests_are_joined_by_what_each_continues(world: ChangingWorld) -> None:
    first = world.manifest
    second = world.draft(ABD)
    world.manifest = second
    third = world.draft(ABC)
    world.manifest = first
    other = world.draft(ABC, name="other")
    assert manifests_before(third, [second, other, first]) == [first, second]
    assert manifests_before(third, [first]) == []
    assert manifests_before(first, [second, third]) == []
