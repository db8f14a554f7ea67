"""One value, one encoding: whatever bytes come in, a value or MalformedMessage comes out."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.protocol.codec import MAX_DEPTH, MAX_VALUES, decode, encode
from fedenclave.protocol.errors import MalformedMessage

LIMIT = 1 << 16
PLAIN = st.recursive(
    st.booleans() | st.integers(0, 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


def refused(data: bytes, max_size: int = LIMIT) -> None:
    with pytest.raises(MalformedMessage):
        decode(data, max_size=max_size)


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@given(PLAIN)
def test_what_is_encoded_decodes_to_the_same_value(value: object) -> None:
    try:
        encoded = encode(value)
        decoded = decode(encoded, max_size=LIMIT)
    except MalformedMessage:
        assert encoded == encode(value)  # nested too deeply: the one thing that only decoding sees
        return
    assert decoded == value
    assert encode(decoded) == encoded


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_a_canonical_value_or_malformed(data: bytes) -> None:
    try:
        value = decode(data, max_size=LIMIT)
    except MalformedMessage:
        return
    assert encode(value) == data


@given(PLAIN, st.data())
def test_a_flipped_bit_never_decodes_to_the_same_value(value: object, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        changed = decode(bytes(encoded), max_size=LIMIT)
    except MalformedMessage:
        return
    assert encode(changed) == encoded != encode(value)


@pytest.mark.parametrize(
    "hex_bytes",
    [
        "1800",  # 0 in two bytes
        "190001",  # 1 in three
        "5801ff",  # a byte string's length in two
        "a2616201616101",  # keys in the wrong order
        "a2616101616101",  # a key twice
        "a10101",  # a key that is no text
        "a1f501",
        "9fff",  # an array of indefinite length
        "5f4101ff",  # a byte string of indefinite length
        "7f6161ff",
        "bf616101ff",
        "0000",  # something after the end
        "20",  # a negative integer
        "f6",  # null
        "f7",  # undefined
        "e0",  # a simple value
        "f93c00",  # floats
        "fa3f800000",
        "fb3ff0000000000000",
        "61ff",  # text that is not UTF-8
        "63eda080",  # a lone surrogate
        "",
        "1c",  # reserved
        "ff",  # a break of nothing
    ],
)
def test_another_spelling_or_another_type_is_refused(hex_bytes: str) -> None:
    refused(bytes.fromhex(hex_bytes))


@pytest.mark.parametrize("content", [0, b"\x01", "2020-01-01", [1, 2], [b"x", 1]])
def test_no_tag_is_ever_followed(content: object) -> None:
    for tag in (*range(300), 1004, 1010, 43000, 43001, 55799, 55800, 2**32):
        head = cbor2.dumps(cbor2.CBORTag(tag, 0))[:-1]
        refused(head + cbor2.dumps(content))
        refused(b"\x81" + head + cbor2.dumps(content))


def test_depth_and_size_have_limits() -> None:
    assert decode(encode(nested(MAX_DEPTH)), max_size=LIMIT) == nested(MAX_DEPTH)
    refused(encode(nested(2 * MAX_DEPTH)))
    refused(b"\x81" * 10_000 + b"\x00")
    assert decode(b"\x42ab", max_size=3) == b"ab"
    refused(b"\x42ab", max_size=2)


@pytest.mark.parametrize("head", ["9bffffffffffffffff", "bbffffffffffffffff", "9a00ffffff", "5bff"])
def test_a_length_that_lies_costs_nothing(head: str) -> None:
    refused(bytes.fromhex(head))


def test_many_small_values_are_refused_before_they_fill_the_memory() -> None:
    fits = b"\x9a" + (MAX_VALUES - 1).to_bytes(4, "big") + b"\x00" * (MAX_VALUES - 1)
    assert len(decode(fits, max_size=1 << 20)) == MAX_VALUES - 1
    one_more = b"\x9a" + MAX_VALUES.to_bytes(4, "big") + b"\x80" * MAX_VALUES
    refused(one_more, max_size=1 << 20)


@pytest.mark.parametrize("value", [None, 1.5, -1, 2**64, {1: 2}, {b"a": 1}, {1, 2}, object()])
def test_a_value_outside_the_protocol_is_the_callers_bug(value: object) -> None:
    with pytest.raises(ValueError, match=r"protocol|unsigned|text"):
        encode(value)


@given(st.dictionaries(st.text(max_size=8), PLAIN, min_size=2), st.integers(0, 2), st.data())
def test_keys_in_any_other_order_are_refused_however_deep(
    value: dict[str, object], around: int, data: st.DataObject
) -> None:
    def wrapped(inner: object) -> object:
        for _ in range(around):
            inner = {"inner": [inner]}
        return inner

    true = encode(wrapped(value))
    shuffled = data.draw(st.permutations(list(value.items())))
    other = cbor2.dumps(wrapped(dict(shuffled)))
    for encoded in {true, other}:
        try:
            decoded = decode(encoded, max_size=LIMIT)
        except MalformedMessage:
            continue
        assert encoded == true
        assert decoded == wrapped(value)


def test_map_keys_are_ordered_by_their_encodings() -> None:
    assert encode({"b": 1, "aa": 2, "é": 3, "a": 4}).hex() == "a46161046162016261610262c3a903"
