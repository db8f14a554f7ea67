"""T6: an update is counted twice: in its round, in a later one, or elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from fedenclave.attack_suite.attack import Witness, attack
from fedenclave.attack_suite.forging import signed_frame
from fedenclave.attack_suite.world import World, now, payload_of, value_of
from fedenclave.protocol import merkle
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Reason
from fedenclave.protocol.sealed_update import read_envelope
from fedenclave.protocol.statements import Checkpoint


@attack("T06-replay-in-this-round", "hand the same sealed update over twice")
def replay_in_this_round(world: World, witness: Witness) -> None:
    """The same bytes get the same answer; what counts is how often they are counted."""
    world.open()
    sealed = world.sealed("a", 1)
    first = world.submit("a", sealed)
    before = world.status()
    again = world.submit("a", sealed)
    world.contribute("b", 4)
    release, deliveries = world.close_round()
    world.take("ab", deliveries)
    witness.found(
        "submit a's update again, beside b's",
        f"{release.clients} updates are counted, and the model is {value_of(world.model())}",
        stopped=again == first
        and before.admitted == 1
        and release.clients == 2
        and value_of(world.model()) == 3.0,
    )
    witness.goes_on(world)


@attack("T06-second-update", "send a second update of one client in one round")
def second_update(world: World, witness: Witness) -> None:
    """A new ciphertext of the same member, correctly sealed and signed."""
    world.open()
    world.contribute("ac")
    witness.rejected(
        "submit another update of c",
        lambda: world.pass_on(world.forge("c", payload_of(9))),
        Reason.REPLAYED,
    )
    _, deliveries = world.close_round()
    world.take("ac", deliveries)
    witness.found(
        "look at what was released",
        f"the model is {value_of(world.model())}",
        stopped=value_of(world.model()) == 1.5,
    )
    witness.goes_on(world)


@attack("T06-replay-from-an-earlier-round", "hand over updates of a released and an aborted round")
def replay_from_an_earlier_round(world: World, witness: Witness) -> None:
    """The aborted round was on the same base model and for the same cohort as the next."""
    world.open()
    released = world.contribute("abc")
    world.close_round()
    world.open()
    aborted = world.contribute("a")
    world.coordinator.abort()
    world.open()
    for tried, update in (("a released", released["b"]), ("an aborted", aborted["a"])):
        witness.rejected(
            f"submit an update of {tried} round", partial(world.pass_on, update), Reason.WRONG_ROUND
        )
    witness.goes_on(world)


_ELSEWHERE: tuple[tuple[str, Mapping[str, Any], Reason], ...] = (
    ("another federation", {"federation": "another"}, Reason.WRONG_FEDERATION),
    ("another manifest", {"manifest": bytes(32)}, Reason.WRONG_MANIFEST),
    ("the next round", {"round": 2}, Reason.WRONG_ROUND),
    ("another announcement", {"announcement": bytes(32)}, Reason.WRONG_ROUND),
    ("another base model", {"base_model": bytes(32)}, Reason.WRONG_BASE_MODEL),
    ("another schema", {"schema": bytes(32)}, Reason.WRONG_SCHEMA),
    ("another length", {"sealed_size": 1}, Reason.WRONG_LENGTH),
    ("another client", {"client": "b"}, Reason.BAD_SIGNATURE),
    ("a client that is none", {"client": "nobody"}, Reason.UNKNOWN_CLIENT),
    (
        "another history",
        {"checkpoint": Checkpoint(size=0, root=Digest(bytes(32)))},
        Reason.ENCLAVE_OLDER_THAN_CLIENT,
    ),
)


@attack("T06-update-for-something-else", "send updates whose header names something else")
def update_for_something_else(world: World, witness: Witness) -> None:
    """Each is sealed to the right key and signed by c; one field of the header is another."""
    world.open()
    for what, changes, reason in _ELSEWHERE:
        forged = world.forge("c", payload_of(1), signer="c", **changes)
        witness.rejected(f"submit an update for {what}", partial(world.pass_on, forged), reason)
    witness.goes_on(world)


@attack("T06-not-asked", "send an update of a client outside of the round's cohort")
def not_asked(world: World, witness: Witness) -> None:
    """It is on the roster, and was not told to train in this round."""
    world.open(["a", "b"])
    witness.rejected(
        "submit an update of c",
        lambda: world.pass_on(world.forge("c", payload_of(1))),
        Reason.NOT_IN_COHORT,
    )
    witness.goes_on(world)


@attack("T06-moved-key", "put another member's wrapped key and chunks under a header of one's own")
def moved_key(world: World, witness: Witness) -> None:
    """To have a's update counted twice; c signs it anew, and only HPKE binds the header as well."""
    world.open()
    theirs, own = world.sealed("a"), read_envelope(world.forge("c", payload_of(1)))
    moved = replace(own, wrapped_key=read_envelope(theirs).wrapped_key)
    chunks = theirs[-world.header("a").sealed_size :]
    witness.rejected(
        "submit a's wrapped key and chunks under c's header",
        lambda: world.pass_on(signed_frame(moved, world.keys["c"]) + chunks),
        Reason.CANNOT_OPEN,
    )
    witness.goes_on(world)


@attack("T06-from-another-federation", "hand over an update of another federation's member")
def from_another_federation(world: World, witness: Witness) -> None:
    """The same names and the same first model; also signed again with this federation's key."""
    world.open()
    other = world.another_world()
    other.open()
    witness.rejected(
        "submit it as it is", lambda: world.pass_on(other.sealed("c")), Reason.BAD_SIGNATURE
    )
    other.keys["c"] = world.keys["c"]
    witness.rejected(
        "submit it signed again",
        lambda: world.pass_on(other.forge("c", payload_of(1))),
        Reason.WRONG_MANIFEST,
    )
    witness.goes_on(world)


@attack("T06-round-offered-twice", "offer one round to one client twice, to get two updates of it")
def round_offered_twice(world: World, witness: Witness) -> None:
    """With fresh evidence; to a client that was restarted; and by two offers accepted before."""
    world.open()
    first, second = world.accept("a"), world.accept("a")
    world.sessions["a"].seal(first, payload_of(1), 1)
    witness.client_refuses(
        "have a seal for the second of two accepted offers",
        lambda: world.sessions["a"].seal(second, payload_of(2), 1),
        saying="sealed already",
    )
    world.sessions["a"] = world.session_again("a")
    witness.client_refuses(
        "have a do so after a restart of it",
        lambda: world.sessions["a"].seal(second, payload_of(2), 1),
        saying="sealed already",
    )
    nonce = world.sessions["a"].hello(now()).nonce
    again = replace(
        world.offers["a"],
        evidence=world.aggregator.evidence(merkle.root([nonce])),
        nonce=nonce,
        nonce_index=0,
        nonce_count=1,
        nonce_path=(),
    )
    witness.client_refuses(
        "offer the round again with fresh evidence",
        lambda: world.accept("a", again),
        saying="sealed for round 1 already",
    )
    witness.goes_on(world)


ATTACKS = (
    replay_in_this_round,
    second_update,
    replay_from_an_earlier_round,
    update_for_something_else,
    not_asked,
    moved_key,
    from_another_federation,
    round_offered_twice,
)
