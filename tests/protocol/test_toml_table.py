"""A table gives what is asked for in its type, or one ConfigurationError that names the key."""

import contextlib

import pytest

from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table, parse


def table(text: str) -> Table:
    return parse(text.encode(), "rules")


@pytest.mark.parametrize("value", ['"text"', "1", '["a", 1]', "{ a = 1 }", "true", "[[]]"])
def test_a_list_of_texts_is_a_list_and_of_texts(value: str) -> None:
    with pytest.raises(ConfigurationError, match="rules key is not a list of texts"):
        table(f"key = {value}").take_texts("key")


@pytest.mark.parametrize("text", ["", "key = 1", "key = []", "key = [1]", "key = {}", "[key]"])
def test_an_array_of_tables_is_there_not_empty_and_of_tables(text: str) -> None:
    with pytest.raises(ConfigurationError, match="rules has no table"):
        table(text).take_tables("key")


def test_a_missing_key_is_never_a_default() -> None:
    empty = table("")
    for take in (
        lambda: empty.take_text("key"),
        lambda: empty.take_bool("key"),
        lambda: empty.take_int("key", low=0, high=1),
        lambda: empty.take_number("key", low=0, high=1),
        lambda: empty.take_choice("key", ("a",)),
        lambda: empty.take_texts("key"),
        lambda: empty.take_table("key"),
        lambda: empty.take_tables("key"),
    ):
        with pytest.raises(ConfigurationError, match="key"):
            take()


def test_what_is_there_is_given_once() -> None:
    rules = table('a = ["x", "y"]\nb = 2\nc = true\n[[d]]\ne = 1.5\n')
    assert rules.take_texts("a") == ("x", "y")
    assert rules.take_int("b", low=0, high=2) == 2
    assert rules.take_bool("c") is True
    (inner,) = rules.take_tables("d")
    with pytest.raises(ConfigurationError, match="unknown keys: e"):
        inner.finish()
    assert inner.take_number("e", low=1, high=2) == 1.5
    inner.finish()
    rules.finish()
    with pytest.raises(ConfigurationError, match="has no b"):
        rules.take_int("b", low=0, high=2)


@pytest.mark.parametrize("dot", [".", " . ", ".\t"])
def test_a_key_of_many_parts_is_refused_unread(dot: str) -> None:
    """The library takes quadratic time for it: twenty kilobytes cost seconds, four MiB a day."""
    assert parse(f"a{dot.join(['', *'b' * 15])} = 1".encode(), "file").names()
    for parts in (17, 2_000_000):
        with pytest.raises(ConfigurationError, match="key of more than 16 parts"):
            parse((dot.join(["a"] * parts) + " = 1").encode(), "file")


@pytest.mark.parametrize(
    "unit", [b"a", b"a.", b"a ", b"'", b'\\"', b"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o "]
)
def test_a_long_text_takes_no_quadratic_time(unit: bytes) -> None:
    """Quadratic, 1 MiB would take half an hour, and this test ends by its timeout."""
    text = unit * ((1 << 20) // len(unit))
    with contextlib.suppress(ConfigurationError):
        parse(b'x = "' + text + b'"', "file")
    with contextlib.suppress(ConfigurationError):
        parse(b"# " + text, "file")
