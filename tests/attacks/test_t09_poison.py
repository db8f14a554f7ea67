"""T9: a member sends NaN, infinities, another shape, a huge norm, or claims many examples."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedenclave.attack_suite.world import FIRST, NARROW, WIDE, payload_of
from fedenclave.protocol.errors import Reason
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World, value_of

# DEFAULT_RULES: max_abs 1000, max_norm 1e6, weight_cap 1e6, reject.
INF16, NAN16 = b"\x00\x7c", b"\x01\x7e"


def with_element(value: float | bytes, at: int, base: float = 1.0) -> bytes:
    """Return a payload of `base` with one odd float32 (a float) or float16 (its bits)."""
    payload = bytearray(payload_of(base))
    odd = np.float32(value).tobytes() if isinstance(value, float) else value
    position = 4 * at if isinstance(value, float) else 4 * WIDE + 2 * at
    payload[position : position + len(odd)] = odd
    return bytes(payload)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One round in which client a is tried again and again: rejected, it may send another."""
    folder: Path = tmp_path_factory.mktemp("crowd")
    world = World(folder)
    world.open()
    yield world
    world.contribute({"b": 1, "c": 1})
    world.release("bc")
    assert value_of(world.model()) == 1.5
    world.close()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (with_element(np.nan, 0), Reason.NOT_FINITE),
        (with_element(np.nan, WIDE - 1), Reason.NOT_FINITE),
        (with_element(np.inf, 5), Reason.NOT_FINITE),
        (with_element(-np.inf, 65536), Reason.NOT_FINITE),
        (with_element(NAN16, NARROW - 1), Reason.NOT_FINITE),
        (with_element(INF16, 0), Reason.NOT_FINITE),
        (with_element(3e38, 0), Reason.OVER_MAX_ABS),  # its square overflows float32
        (with_element(1000.0001, 0), Reason.OVER_MAX_ABS),  # the next float32
        (with_element(-1001.0, WIDE - 1), Reason.OVER_MAX_ABS),
        (with_element(np.float16(1001).tobytes(), 3), Reason.OVER_MAX_ABS),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value.value,
)
def test_member_poisoning_one_element_is_rejected(
    crowd: World, payload: bytes, reason: Reason
) -> None:
    before = crowd.status()
    result = crowd.aggregator.submit([crowd.forge("a", payload)])
    assert (result.admitted, result.reason) == (False, reason.value)
    assert crowd.status().admitted == before.admitted
    assert len(list(crowd.folder.glob("ciphertext/*.feu"))) == before.admitted


def test_member_claiming_no_examples_is_rejected(crowd: World) -> None:
    result = crowd.aggregator.submit([crowd.forge("a", payload_of(1), num_examples=0)])
    assert result.reason == Reason.BAD_NUM_EXAMPLES.value


def test_member_sending_another_shape_is_rejected(crowd: World) -> None:
    """The schema's digest is in the header; a payload of another length does not even open."""
    short = crowd.forge("a", bytes(FIRST.payload)[:-2])
    assert crowd.aggregator.submit([short]).reason == Reason.WRONG_LENGTH.value
    shifted = crowd.forge("a", bytes(FIRST.payload))
    assert crowd.aggregator.submit([shifted[:-1]]).reason == Reason.WRONG_LENGTH.value
    assert crowd.aggregator.submit([shifted + b"\0"]).reason == Reason.WRONG_LENGTH.value


def test_member_sealing_with_an_odd_key_is_rejected(crowd: World) -> None:
    for key in (b"", bytes(16), bytes(31), bytes(33)):
        result = crowd.aggregator.submit([crowd.forge("a", payload_of(1), content_key=key)])
        assert result.reason == Reason.CANNOT_OPEN.value


def test_member_swapping_or_changing_its_chunks_is_rejected(crowd: World) -> None:
    # From the end: 70,000 float32 are chunks of 65,536 and 4,464; 10 float16 are the last.
    sealed = crowd.forge("a", payload_of(1))
    second, third = 4 * 4464 + 16, 2 * NARROW + 16
    last_first = sealed[-third:] + sealed[-third - second : -third]
    odd = bytearray(sealed)
    odd[-1] ^= 1
    for bad in (bytes(odd), sealed[: -third - second] + last_first):
        assert crowd.aggregator.submit([bad]).reason == Reason.CANNOT_OPEN.value


def test_values_at_the_bound_are_admitted(new_world: NewWorld) -> None:
    world = new_world(max_abs=1000.0)
    world.open()
    assert world.submit("a", world.forge("a", payload_of(1000.0))).admitted
    assert world.submit("b", world.forge("b", payload_of(-1000.0))).admitted
    world.contribute({"c": 3.0})
    world.release("c")
    assert value_of(world.model()) == 1.5


def test_member_claiming_many_examples_counts_what_the_cap_allows(new_world: NewWorld) -> None:
    world = new_world(weight_cap=3)
    world.open()
    world.submit("a", world.forge("a", payload_of(8), num_examples=2**64 - 1))
    world.contribute({"b": 0})
    world.release("b")
    assert value_of(world.model()) == 0.5 + 8 * 3 / 4


def test_uniform_weighting_ignores_what_members_claim(new_world: NewWorld) -> None:
    world = new_world(weighting="uniform")
    world.open()
    world.submit("a", world.forge("a", payload_of(8), num_examples=10**6))
    world.contribute({"b": 0})
    world.release("b")
    assert value_of(world.model()) == 4.5


def test_member_over_the_norm_is_rejected_or_clipped_as_the_rules_say(new_world: NewWorld) -> None:
    norm_of_one = float(np.sqrt(WIDE + NARROW))
    strict = new_world(max_norm=2 * norm_of_one)
    strict.open()
    result = strict.aggregator.submit([strict.forge("a", payload_of(2.01))])
    assert result.reason == Reason.OVER_NORM.value
    strict.contribute({"a": 2.0, "b": 0})  # at the bound
    strict.release("ab")
    assert value_of(strict.model()) == 1.5

    clipping = new_world(max_norm=2 * norm_of_one, over_norm="clip")
    clipping.open()
    assert clipping.submit("a", clipping.forge("a", payload_of(512))).admitted
    clipping.contribute({"b": 0})
    clipping.release("b")
    # 512 becomes 2, and half of it is the mean; the norm is known to about 1e-5.
    assert value_of(clipping.model()) == pytest.approx(1.5, rel=1e-4)
