"""T9: a member sends NaN, infinities, another shape, a huge norm, or claims many examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from fedenclave.attack_suite.attack import Open, Witness, attack
from fedenclave.attack_suite.world import NARROW, WIDE, World, payload_of, value_of
from fedenclave.protocol.aggregation import Krum, Median
from fedenclave.protocol.errors import Reason, Refusal

_MAX_NORM = 2 * math.sqrt(WIDE + NARROW)
"""The norm of an update whose every element is 2."""

_SEVEN = tuple("abcdefg")
_HUGE = -900.0


def with_element(value: float, at: int, kind: type[np.floating] = np.float32) -> bytes:
    """Return a payload of ones with one odd element of the float32 or float16 tensor."""
    payload, odd = bytearray(payload_of(1)), kind(value).tobytes()
    position = 4 * at if kind is np.float32 else 4 * WIDE + 2 * at
    payload[position : position + len(odd)] = odd
    return bytes(payload)


def _send(world: World, witness: Witness, tried: str, payload: bytes, by: Reason) -> None:
    sealed = world.forge("c", payload)
    witness.rejected(f"submit an update {tried}", partial(world.pass_on, sealed), by)


def _others_decide(world: World, witness: Witness) -> None:
    """See the round be released without the poisoner."""
    honest = [name for name in world.sessions if name != "c"]
    world.contribute(honest)
    release, deliveries = world.close_round()
    world.take(honest, deliveries)
    witness.found(
        "have the round released",
        f"it counts {release.clients} clients, and the model is {value_of(world.model())}",
        stopped=release.clients == len(honest) and value_of(world.model()) == 1.5,
    )


@attack("T09-no-number", "poison one element of an update with NaN or infinity")
def no_number(world: World, witness: Witness) -> None:
    """One NaN in one update makes the mean of all a NaN."""
    world.open()
    for tried, payload in (
        ("whose first element is NaN", with_element(math.nan, 0)),
        ("whose last float32 is NaN", with_element(math.nan, WIDE - 1)),
        ("with an infinity at a chunk's border", with_element(-math.inf, 65536)),
        ("whose last float16 is NaN", with_element(math.nan, NARROW - 1, np.float16)),
        ("with a float16 infinity", with_element(math.inf, 0, np.float16)),
    ):
        _send(world, witness, tried, payload, Reason.NOT_FINITE)
    _others_decide(world, witness)


@attack(
    "T09-too-large",
    "send values and norms beyond what the rules allow",
    rules={"max_norm": _MAX_NORM},
)
def too_large(world: World, witness: Witness) -> None:
    """Also a value whose square no float32 can hold."""
    world.open()
    for tried, payload, by in (
        ("with 3e38", with_element(3e38, 0), Reason.OVER_MAX_ABS),
        ("just over max_abs", with_element(1000.0001, WIDE - 1), Reason.OVER_MAX_ABS),
        ("with a float16 of 1001", with_element(1001, 3, np.float16), Reason.OVER_MAX_ABS),
        ("just over max_norm", payload_of(2.01), Reason.OVER_NORM),
    ):
        _send(world, witness, tried, payload, by)
    _others_decide(world, witness)


@attack("T09-wrong-shape", "send another shape, odd keys, and chunks in another order")
def wrong_shape(world: World, witness: Witness) -> None:
    """What is not exactly one update of the schema is none."""
    world.open()
    sealed = world.forge("c", payload_of(1))
    # From the end: 4,464 float32 are the second chunk, 10 float16 the third.
    second, third = 4 * (WIDE - 65536) + 16, 2 * NARROW + 16
    swapped = sealed[-third:] + sealed[-third - second : -third]
    odd_key = world.forge("c", payload_of(1), content_key=bytes(31))
    for tried, data, by in (
        ("with an element less", world.forge("c", payload_of(1)[:-2]), Reason.WRONG_LENGTH),
        ("with a byte more", sealed + b"\0", Reason.WRONG_LENGTH),
        ("with two chunks swapped", sealed[: -third - second] + swapped, Reason.CANNOT_OPEN),
        ("with a bit changed", sealed[:-1] + bytes([sealed[-1] ^ 1]), Reason.CANNOT_OPEN),
        ("under a key of 31 bytes", odd_key, Reason.CANNOT_OPEN),
    ):
        witness.rejected(f"submit an update {tried}", partial(world.pass_on, data), by)
    _others_decide(world, witness)


@attack("T09-no-examples", "claim no examples, or a metric that is no number")
def no_examples(world: World, witness: Witness) -> None:
    """A weight of zero is a division by zero where all claim it; it is sealed, so nobody sees."""
    world.open()
    none = world.forge("c", payload_of(1), num_examples=0)
    witness.rejected("claim no examples", lambda: world.pass_on(none), Reason.BAD_NUM_EXAMPLES)
    more = world.forge("c", payload_of(1), metrics=[1.0])
    witness.rejected(
        "send a metric that nobody asked for", lambda: world.pass_on(more), Reason.WRONG_LENGTH
    )
    _others_decide(world, witness)


@attack("T09-inflated-examples", "claim more examples than anybody has", rules={"weight_cap": 3})
def inflated_examples(world: World, witness: Witness) -> None:
    """Without a cap the mean would be the update of whoever claims most."""
    world.open()
    world.submit("c", world.forge("c", payload_of(8), num_examples=2**64 - 1))
    world.contribute("a", 0)
    release, deliveries = world.close_round()
    world.take("a", deliveries)
    value = value_of(world.model())
    witness.found(
        "claim 2^64 - 1 examples beside one of a",
        f"{release.clients} updates count 3 to 1: the model is {value}",
        stopped=value == 0.5 + 8 * 3 / 4,
    )
    witness.goes_on(world)


def _seven(world: World, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        world.admit(name, world.sealed(name, 0.9 + number / 20))


@attack(
    "T09-huge-against-a-median",
    "send the largest update that is admitted, where the rule is the median",
    clients=_SEVEN,
    rules={"rule": Median(), "weighting": "uniform"},
)
def huge_against_a_median(world: World, witness: Witness) -> None:
    """Within the bounds, and far from everybody else's."""
    honest = [name for name in _SEVEN if name != "c"]
    world.open()
    world.submit("c", world.forge("c", payload_of(_HUGE)))
    _seven(world, honest)
    release, deliveries = world.close_round()
    world.take(honest, deliveries)
    moved = value_of(world.model()) - 0.5
    witness.found(
        f"send {_HUGE:g} everywhere beside six that send 0.9 to 1.15",
        f"the median of {release.clients} is {moved:.3f}",
        stopped=release.clients == len(_SEVEN) and 0.89 < moved < 1.16,
    )


@attack(
    "T09-too-few-for-the-rule",
    "close a robust rule's round with fewer updates than it needs",
    clients=_SEVEN,
    rules={"rule": Krum(byzantine=2)},
)
def too_few_for_the_rule(world: World, witness: Witness) -> None:
    """Two liars among six are a majority of the neighbours that Krum looks at."""
    world.open()
    _seven(world, _SEVEN[:-1])
    witness.refused("close with six", world.coordinator.close, Refusal.COHORT_TOO_SMALL)
    witness.goes_on(world)


ATTACKS = (
    no_number,
    too_large,
    wrong_shape,
    no_examples,
    inflated_examples,
    huge_against_a_median,
    too_few_for_the_rule,
)

OPEN = (
    Open(
        id="T09-within-the-bounds",
        title="poison the mean with an update that keeps to every bound",
        reason="a mean averages what is admitted; robust rules hold up to the number of liars that "
        "the manifest names (`fedenclave simulate gallery` draws how far each rule is moved)",
    ),
)
