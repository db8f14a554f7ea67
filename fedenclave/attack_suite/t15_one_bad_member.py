"""T15: one bad member stops everyone, or takes another one's place."""

from __future__ import annotations

import math
from collections.abc import Callable

from fedenclave.attack_suite.attack import Witness, attack
from fedenclave.attack_suite.world import World, payload_of, value_of
from fedenclave.audit.receipt import Verdict


def _spoilt(sealed: bytes) -> bytes:
    return sealed[:-1] + bytes([sealed[-1] ^ 1])


_BAD: dict[str, Callable[[World], bytes]] = {
    "nothing": lambda world: b"",
    "garbage": lambda world: 100 * b"garbage",
    "half an update": lambda world: world.forge("c", payload_of(1))[:100_000],
    "an update and more": lambda world: world.forge("c", payload_of(1)) + b"more",
    "what does not open": lambda world: _spoilt(world.forge("c", payload_of(1))),
    "NaN": lambda world: world.forge("c", payload_of(math.nan)),
    "an update in a's name": lambda world: world.forge("a", payload_of(1), signer="c"),
}


def _released_without_c(world: World, witness: Witness) -> None:
    release, deliveries = world.close_round()
    receipts = world.take("ab", deliveries)
    value = value_of(world.model())
    witness.found(
        "have the round released",
        f"it counts {release.clients} clients, and the model is {value}",
        stopped=value == 2.5
        and release.clients == 2
        and {receipt.verdict for receipt in receipts.values()} == {Verdict.INCLUDED},
    )
    witness.goes_on(world)


@attack("T15-bad-updates", "send everything that is no good, from one member, in one round")
def bad_updates(world: World, witness: Witness) -> None:
    """Each is rejected, signed; the others' round is as it would have been."""
    world.open()
    for what, make in _BAD.items():
        answer = world.submit("c", make(world))
        witness.found(
            f"submit {what}", f"the enclave rejects: {answer.reason}", stopped=not answer.admitted
        )
    world.contribute("a", 1)
    world.contribute("b", 3)
    _released_without_c(world, witness)


@attack("T15-takes-anothers-place", "use up another member's place with its own envelope")
def takes_anothers_place(world: World, witness: Witness) -> None:
    """C is faster than a, with a's envelope and damaged chunks; then with all of it."""
    world.open()
    update = world.sealed("a", 1)
    first = world.submit("c", _spoilt(update))
    mine = world.submit("a", update)
    again = world.submit("c", update)
    witness.found(
        "submit a's update damaged, before a does",
        f"the enclave rejects: {first.reason}; then a's own is "
        + ("admitted" if mine.admitted else "rejected"),
        stopped=not first.admitted and mine.admitted and again == mine,
    )
    world.contribute("b", 3)
    _released_without_c(world, witness)


ATTACKS = (bad_updates, takes_anothers_place)
