"""T8: the operator sends a model of its own, or a different one to each client."""

from dataclasses import replace

import numpy as np
import pytest

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.attack_suite.world import FIRST, SCHEMA, now, payload_of
from fedenclave.host.aggregator import Aggregator
from fedenclave.protocol.digests import Digest, to_text
from fedenclave.protocol.errors import EnclaveRefused, Refusal, RequestRefused
from fedenclave.protocol.exchange import RoundOffer
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import sign
from fedenclave.protocol.statements import Suite
from fedenclave.protocol.tensors import DType, Schema, TensorSpec
from fedenclave.protocol.training_config import (
    NO_TRAINING_CONFIG,
    NOTHING,
    configuration,
    training_config,
)
from tests.attacks.world import World, value_of

FILE = FIRST.to_bytes()
CRAFTED = Model(schema=SCHEMA, payload=payload_of(9))


def refused(world: World, offer: RoundOffer, file: bytes, match: str, name: str = "a") -> None:
    session = world.sessions[name]
    before = session.state
    with pytest.raises(EnclaveRefused, match=match):
        session.accept(offer, file, now(), training_config=NO_TRAINING_CONFIG)
    assert session.state == before


def test_host_sending_a_model_of_its_own_is_refused(world: World) -> None:
    offer = world.open()["a"]
    one_bit = bytearray(FILE)
    one_bit[-1] ^= 1
    for file in (CRAFTED.to_bytes(), bytes(one_bit)):
        refused(world, offer, file, "the model is sha256")
    for file in (FILE[:-1], FILE + b"\0", FILE[:100], b"", b"FEM1", b"FEM2" + FILE[4:]):
        refused(world, offer, file, "model")
    world.contribute({"a": 1, "b": 1})
    assert world.release("ab")[0].clients == 2


def test_host_sending_the_same_bytes_under_other_names_is_refused(world: World) -> None:
    """Robbing the Fed needs no other numbers, only another layer for them to lie in."""
    offer = world.open()["a"]
    odd = tuple(replace(spec, name=spec.name + "x") for spec in SCHEMA.tensors)
    renamed = Model(schema=Schema(tensors=odd), payload=FIRST.payload)
    refused(world, offer, renamed.to_bytes(), "another schema")


def test_enclave_announcing_a_model_without_a_chain_is_refused(world: World) -> None:
    session, liar = world.sessions["a"], LyingEnclave(world.manifest)
    nonce = session.hello(now()).nonce
    digest = CRAFTED.digest()
    announced = liar.announcement(base_model=digest, round=2)
    good = liar.release(model=digest)
    offer = liar.offer(nonce, announcement=announced)
    links = {
        "no chain of releases leads to": [(), (liar.release(),), (liar.release(model=bytes(32)),)],
        "builds on": [(liar.release(base_model=Digest(bytes(32)), model=digest),)],
        "another manifest": [
            (liar.release(manifest=Digest(bytes(32)), model=digest),),
            (liar.release(federation="other", model=digest),),
        ],
        "does not hold": [(LyingEnclave(world.manifest).release(model=digest),)],
        "want 'release'": [(liar.announcement(),)],
        "not valid cbor": [(b"",)],
    }
    for match, chains in links.items():
        for chain in chains:
            refused(world, replace(offer, releases=chain), CRAFTED.to_bytes(), match)
    accepted = session.accept(
        replace(offer, releases=(good,)),
        CRAFTED.to_bytes(),
        now(),
        training_config=NO_TRAINING_CONFIG,
    )
    assert accepted.announcement.base_model == session.state.head_model == digest


def test_a_chain_has_one_order_and_no_way_back(world: World) -> None:
    session, liar = world.sessions["a"], LyingEnclave(world.manifest)
    middle, last = Digest(b"m" * 32), CRAFTED.digest()
    one = liar.release(round=1, model=middle)
    two = liar.release(round=2, base_model=middle, model=last)
    announced = liar.announcement(base_model=last, round=3)
    offer = liar.offer(session.hello(now()).nonce, announcement=announced)
    for chain in ((two,), (two, one)):
        refused(world, replace(offer, releases=chain), CRAFTED.to_bytes(), "builds on")
    other = liar.release(round=1, model=Digest(b"f" * 32))
    refused(world, replace(offer, releases=(other, one, two)), CRAFTED.to_bytes(), "builds on")
    session.accept(
        replace(offer, releases=(one, two)),
        CRAFTED.to_bytes(),
        now(),
        training_config=NO_TRAINING_CONFIG,
    )
    # The first model again would be a second round on a base that is spent.
    back = liar.announcement(base_model=world.manifest.initial_model, round=4)
    refused(
        world,
        liar.offer(session.hello(now()).nonce, announcement=back, releases=(one, two)),
        FILE,
        "no chain",
    )


def test_host_showing_two_clients_two_announcements_gets_one_cohort_only(world: World) -> None:
    """Two rounds, each half announced: neither client's update fits the other's round."""
    world.open()
    first = world.sealed("a", 1)
    world.coordinator.abort()
    world.open()
    assert not world.submit("a", first).admitted
    world.contribute({"b": 1, "c": 1})
    release, receipts = world.release("bc")
    assert receipts["b"].clients == receipts["c"].clients == ("b", "c")
    assert release.clients == 2


def test_enclave_announcing_other_rules_is_refused(world: World) -> None:
    liar = LyingEnclave(world.manifest)
    for changes, match in (
        ({"federation": "another"}, "another manifest"),
        ({"manifest": Digest(bytes(32))}, "another manifest"),
        ({"suite": Suite.HYBRID}, "suite or schema"),
        ({"schema": Digest(bytes(32))}, "suite or schema"),
    ):
        nonce = world.sessions["a"].hello(now()).nonce
        refused(world, liar.offer(nonce, announcement=liar.announcement(**changes)), FILE, match)


def test_an_announcement_signed_by_a_member_or_the_host_is_refused(world: World) -> None:
    offer = world.open()["a"]
    for key in (world.members["alpha"], world.keys["b"]):
        forged = sign(world.announcement, key)
        refused(world, replace(offer, announcement=forged), FILE, "does not hold")


def test_client_whose_training_diverged_seals_nothing(world: World) -> None:
    world.open()
    accepted = world.accept("a")
    stored = world.stores["a"].state
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(EnclaveRefused, match="NaN or an infinity"):
            world.sessions["a"].seal(accepted, payload_of(value), 1)
    with pytest.raises(ValueError, match="num_examples"):
        world.sessions["a"].seal(accepted, payload_of(1), 0)
    assert world.stores["a"].state == stored
    world.sessions["a"].seal(accepted, payload_of(1), 1)


def test_enclave_refuses_a_first_model_that_is_not_the_agreed_one(world: World) -> None:
    small = Schema(tensors=(TensorSpec(name="w", dtype=DType.FLOAT32, shape=(1,)),))
    for model in (CRAFTED, Model(schema=small, payload=bytes(4))):
        with pytest.raises(RequestRefused) as error:
            Aggregator(
                world.folder / "other",
                manifest=world.manifest.source,
                approvals=world.approvals,
                model=model,
                tee="insecure",
            )
        assert error.value.refusal is Refusal.WRONG_MODEL


def test_enclave_refuses_a_manifest_whose_schema_is_not_its_models(world: World) -> None:
    """Members can sign a mistake; updates would then name one schema and be read by another."""
    pinned, other = to_text(SCHEMA.digest).encode(), to_text(bytes(32)).encode()
    assert world.manifest.source.count(pinned) == 1
    world.manifest = Manifest.from_bytes(world.manifest.source.replace(pinned, other))
    with pytest.raises(RequestRefused) as error:
        Aggregator(
            world.folder / "other",
            manifest=world.manifest.source,
            approvals=[world.approve(member) for member in world.members],
            model=FIRST,
            tee="insecure",
        )
    assert error.value.refusal is Refusal.WRONG_MODEL


def test_host_changing_the_base_model_while_a_round_is_open_gets_no_release(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    base = world.folder / "models" / "round-0.fem"
    base.write_bytes(CRAFTED.to_bytes())
    before = world.status()
    with pytest.raises(RequestRefused, match="wrong-model"):
        world.coordinator.close()
    assert world.status() == before
    base.write_bytes(FILE)
    world.release("ab")
    assert value_of(world.model()) == 1.5


def test_host_telling_one_client_to_train_otherwise_than_announced_is_refused(world: World) -> None:
    """Learning rate 0 for all but one would make the mean that one's update."""
    offer = world.open()["a"]
    session = world.sessions["a"]
    before = session.state
    told = training_config(message=configuration({"message": {"lr": 0.0}}).digest, run=NOTHING)
    with pytest.raises(EnclaveRefused, match="this client is told to train by"):
        session.accept(offer, FILE, now(), training_config=told)
    assert session.state == before
    world.contribute({"a": 1, "b": 1})
    assert world.release("ab")[0].clients == 2


def test_the_receipt_says_how_everybody_was_told_to_train(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    _, receipts = world.release("ab")
    assert {r.training_config for r in receipts.values()} == {NO_TRAINING_CONFIG}
