"""T8: the operator sends a model of its own, or has one member train otherwise than the others."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fedenclave.attack_suite.attack import Open, Witness, attack
from fedenclave.attack_suite.world import FIRST, SCHEMA, World, now, payload_of, value_of
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Reason, Refusal
from fedenclave.protocol.model import Model
from fedenclave.protocol.tensors import Schema
from fedenclave.protocol.training_config import (
    NOTHING,
    configuration,
    training_config,
)

_CRAFTED = Model(schema=SCHEMA, payload=payload_of(9))


@attack("T08-own-model", "send one client a crafted model in the place of the released one")
def own_model(world: World, witness: Witness) -> None:
    """Also one bit off, cut short, and the same numbers under other names (Robbing the Fed)."""
    world.open()
    file = world.aggregator.model()
    renamed = tuple(replace(spec, name=spec.name + "x") for spec in SCHEMA.tensors)
    other_names = Model(schema=Schema(tensors=renamed), payload=FIRST.payload)
    for tried, data, says in (
        ("another model", _CRAFTED.to_bytes(), "the model is sha256"),
        ("a model with one bit changed", file[:-1] + bytes([file[-1] ^ 1]), "the model is sha256"),
        ("the same numbers under other names", other_names.to_bytes(), "another schema"),
        ("a model that is cut short", file[:-1], "model"),
        ("nothing", b"", "model"),
    ):
        witness.client_refuses(
            f"send a {tried}", partial(world.accept, "a", file=data), saying=says
        )
    witness.goes_on(world)


@attack("T08-model-without-a-chain", "have an enclave with a hole announce a model of no chain")
def model_without_a_chain(world: World, witness: Witness) -> None:
    """A chain of signed releases leads from the agreed first model to what is trained on."""
    liar, digest = world.liar(), _CRAFTED.digest()
    offer = liar.offer(
        world.sessions["a"].hello(now()).nonce,
        announcement=liar.announcement(base_model=digest, round=2),
    )
    other = Digest(bytes(32))
    for tried, chain, says in (
        ("no release", (), "no chain of releases leads to"),
        ("a release of another model", (liar.release(),), "no chain of releases leads to"),
        ("a gap", (liar.release(base_model=other, model=digest),), "builds on"),
        ("another manifest's release", (liar.release(manifest=other, model=digest),), "another"),
        ("another enclave's release", (world.liar().release(model=digest),), "does not hold"),
        ("an announcement for a release", (liar.announcement(),), "want 'release'"),
    ):
        forged = replace(offer, releases=chain)
        witness.client_refuses(
            f"offer the crafted model with {tried}",
            partial(world.accept, "a", forged, _CRAFTED.to_bytes()),
            saying=says,
        )
    witness.goes_on(world)


@attack("T08-back-to-the-first-model", "have a client train on a model that is spent, once more")
def back_to_the_first_model(world: World, witness: Witness) -> None:
    """A second release on it, subtracted from the first, is what T5 is about."""
    session, liar = world.sessions["a"], world.liar()
    one = liar.release(round=1, model=_CRAFTED.digest())
    announced = liar.announcement(base_model=session.manifest.initial_model, round=2)
    offer = liar.offer(session.hello(now()).nonce, announcement=announced, releases=(one,))
    witness.client_refuses(
        "announce a round on the first model after a release",
        partial(world.accept, "a", offer, FIRST.to_bytes()),
        saying="no chain",
    )


@attack("T08-two-announcements", "announce two rounds to two halves of the cohort")
def two_announcements(world: World, witness: Witness) -> None:
    """Model inconsistency: each half would train on what the operator likes, and be summed up."""
    world.open()
    first = world.sealed("a")
    world.coordinator.abort()
    world.open()
    witness.rejected(
        "submit the first half's update to the second half's round",
        lambda: world.pass_on(first),
        Reason.WRONG_ROUND,
    )
    world.contribute("bc")
    release, deliveries = world.close_round()
    receipts = world.take("bc", deliveries)
    witness.found(
        "close the second half's round",
        f"release and receipts count {list(receipts['b'].clients)}",
        stopped=receipts["b"].clients == ("b", "c") and release.clients == 2,
    )


@attack("T08-trains-otherwise", "tell one client to train, and the others not to")
def trains_otherwise(world: World, witness: Witness) -> None:
    """With a learning rate of 0 for all but one, the mean is that one's update."""
    world.open()
    told = configuration({"message": {"lr": 0.0}}).digest
    for tried, config in (
        ("by its message", training_config(message=told, run=NOTHING)),
        ("by the run's configuration", training_config(message=NOTHING, run=told)),
    ):
        witness.client_refuses(
            f"set a's learning rate to 0 {tried}",
            partial(
                world.sessions["a"].accept,
                world.offers["a"],
                world.aggregator.model(),
                now(),
                training_config=config,
            ),
            saying="this client is told to train by",
        )
    witness.goes_on(world)


@attack("T08-base-model-swapped", "swap the base model on the host's disk while a round is open")
def base_model_swapped(world: World, witness: Witness) -> None:
    """What is released is base plus mean: another base would be another model, signed."""
    world.open()
    world.contribute("abc")
    base = world.folder / "models" / "round-0.fem"
    file = base.read_bytes()
    base.write_bytes(_CRAFTED.to_bytes())
    witness.refused("close on another base", world.coordinator.close, Refusal.WRONG_MODEL)
    base.write_bytes(file)
    world.take("abc", world.close_round()[1])
    witness.control(
        "put it back",
        f"the model is {value_of(world.model())}",
        well=value_of(world.model()) == 1.5,
    )


@attack("T08-other-first-model", "start the federation with another first model")
def other_first_model(world: World, witness: Witness) -> None:
    """The manifest that the members approved names the model that they agreed on."""
    witness.refused(
        "start an enclave with a crafted model",
        lambda: world.another_enclave(model=_CRAFTED),
        Refusal.WRONG_MODEL,
    )
    witness.goes_on(world)


ATTACKS = (
    own_model,
    model_without_a_chain,
    back_to_the_first_model,
    two_announcements,
    trains_otherwise,
    base_model_swapped,
    other_first_model,
)

OPEN = (
    Open(
        id="T08-told-all-alike",
        title="tell every member to train in a way that shows more than it should",
        reason="a client sees that all are told the same, and its receipt keeps the digest; "
        "whether it is sensible is for the members and their app to see to",
    ),
)
