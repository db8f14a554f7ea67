"""One digest for a configuration: the same for the same, another for anything else (T8)."""

from __future__ import annotations

import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.training_config import (
    Configuration,
    Table,
    configuration,
    training_config,
)

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=8),
)
TABLES = st.dictionaries(
    st.text(max_size=4),
    st.dictionaries(st.text(max_size=4), SCALARS | st.lists(SCALARS, max_size=3), max_size=4),
    max_size=3,
)


def kinds(tables: dict[str, Table]) -> object:
    """Return what two configurations differ in: 1, True and 1.0 are three things, NaN is NaN."""
    return {
        name: {
            key: [(type(v), repr(v)) for v in value]
            if isinstance(value, list)
            else (type(value), repr(value))
            for key, value in table.items()
        }
        for name, table in tables.items()
    }


@given(TABLES)
def test_a_configuration_decodes_to_itself(tables: dict[str, Table]) -> None:
    made = configuration(tables)
    assert Configuration.from_bytes(made.to_bytes()) == made


@given(TABLES)
def test_the_order_of_tables_and_keys_does_not_matter(tables: dict[str, Table]) -> None:
    turned = {
        name: dict(reversed(list(table.items()))) for name, table in reversed(list(tables.items()))
    }
    assert configuration(turned).digest == configuration(tables).digest


@given(TABLES, TABLES)
def test_different_configurations_have_different_digests(
    one: dict[str, Table], other: dict[str, Table]
) -> None:
    same = configuration(one).digest == configuration(other).digest
    assert same == (kinds(one) == kinds(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"t": {"a": 1}}, {"t": {"a": True}}),
        ({"t": {"a": 1}}, {"t": {"a": 1.0}}),
        ({"t": {"a": 0.0}}, {"t": {"a": -0.0}}),
        ({"t": {"a": "x"}}, {"t": {"a": b"x"}}),
        ({"t": {"a": "x"}}, {"t": {"a": ["x"]}}),
        ({"t": {"a": []}}, {"t": {}}),
        ({"t": {}}, {}),
        ({"t": {"a": 1}}, {"u": {"a": 1}}),
        ({"t": {"a": 1}}, {"t": {"b": 1}}),
        ({"t": {"a": [1, 2]}}, {"t": {"a": [2, 1]}}),
    ],
)
def test_one_difference_is_another_digest(one: dict[str, Table], other: dict[str, Table]) -> None:
    assert configuration(one).digest != configuration(other).digest


def test_message_and_run_are_not_interchangeable() -> None:
    a, b = configuration({"t": {"a": 1}}).digest, configuration({}).digest
    assert training_config(message=a, run=b) != training_config(message=b, run=a)


class Odd(enum.Enum):
    ONE = 1


@pytest.mark.parametrize("value", [None, Odd.ONE, {"a": 1}, [None], [[1]], object()])
def test_a_value_that_no_configuration_holds_is_refused(value: object) -> None:
    with pytest.raises(MalformedMessage, match="want bool, int, float, text or bytes"):
        configuration({"t": {"a": value}})  # type: ignore[dict-item]


@pytest.mark.parametrize("tables", [{"a\ud800": {}}, {"t": {"a\ud800": 1}}])
def test_a_name_that_is_no_utf8_is_refused(tables: dict[str, Table]) -> None:
    with pytest.raises(MalformedMessage, match="not UTF-8"):
        configuration(tables)


def test_a_configuration_that_nobody_would_decode_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="want at most 1048576"):
        configuration({"t": {"a": bytes(1 << 20)}})
