"""JSON of vendors has one meaning, and its fields the types that are asked for."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.strict_json import MAX_INTEGER, JsonObject, parse_object
from fedenclave.protocol.errors import MalformedMessage


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'"text"',
        b"null",
        b"1",
        b"{",
        b"{}{}",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1,"a":1}',
        b'{"a":[{"b":1,"b":2}]}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":[-1e999]}',
        b'{"a":"\\udc00"}',
        b'{"\\ud800":1}',
        b'{"a":"\xff"}',
        b'{"a":"\n"}',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"1" * 5000 + b"}",
        b'{"a":9007199254740992}',
        b'{"a":[-9007199254740992]}',
        b'{"a":18446744073709551616}',
        b'{"a":' * 50000 + b"1" + b"}" * 50000,
    ],
)
def test_what_two_programs_could_read_in_two_ways_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_object(data, "it")


@given(st.binary(max_size=100))
def test_random_bytes_parse_or_are_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        assert isinstance(parse_object(data, "it"), JsonObject)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.none()
        | st.booleans()
        | st.integers(-MAX_INTEGER, MAX_INTEGER)
        | st.lists(st.booleans()),
    )
)
def test_what_is_json_parses_to_itself(value: dict[str, Any]) -> None:
    assert parse_object(json.dumps(value).encode(), "it").values == value


VALUES: dict[str, Any] = {
    "text": "x",
    "integer": 5,
    "boolean": True,
    "texts": ["a", "b"],
    "table": {"a": 1},
    "tables": [{"a": 1}],
    "null": None,
    "fraction": 1.5,
    "mixed": ["a", 1],
    "negative": -1,
    "huge": MAX_INTEGER + 1,
}
ACCEPTED = {
    "text": {"text"},
    "integer": {"integer"},
    "boolean": {"boolean"},
    "texts": {"texts"},
    "table": {"table"},
    "tables": {"tables"},
}


@pytest.mark.parametrize("reader", sorted(ACCEPTED))
@pytest.mark.parametrize("key", [*VALUES, "missing"])
def test_a_reader_takes_its_own_type_alone(reader: str, key: str) -> None:
    owner = JsonObject(VALUES, "it")
    if key in ACCEPTED[reader]:
        getattr(owner, reader)(key)
        return
    with pytest.raises(MalformedMessage, match=key):
        getattr(owner, reader)(key)


@pytest.mark.parametrize(
    "text", ["", "00", "000000", "zz00", "0 00", "00\n0", "\u0660\u0660\u0660\u0660"]
)
def test_hex_of_another_length_or_alphabet_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        JsonObject({"a": text}, "it").hexadecimal("a", 2)
    assert JsonObject({"a": "aBcD"}, "it").hexadecimal("a", 2) == b"\xab\xcd"
