"""Read a TOML table strictly: every key known, every key present, every type right.

A typing error in a rules file must never become a default.

SPEC.md, section 10.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any, TypeVar

from fedenclave.protocol.errors import ConfigurationError

_MOST_PARTS = 16
# Begins at a word's first letter only, and never goes back: else it takes quadratic time itself.
_PART = rb"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_DOT = rb"[ \t]*+\.[ \t]*+"
_LONG_KEY = re.compile(
    rb"(?<![A-Za-z0-9_-])" + _PART + rb"(?:" + _DOT + _PART + rb"){%d}" % _MOST_PARTS
)

T = TypeVar("T", str, int, bool)


def _shown(value: object) -> str:
    """Return `value` for a message: short, and never an error of its own."""
    if isinstance(value, int) and abs(value) >= 2**64:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, bool | int | float):
        return repr(value)
    return type(value).__name__


def parse(data: bytes, what: str) -> Table:
    """Return the top table of a TOML document.

    Raises:
        ConfigurationError: it is not UTF-8 or not TOML, or a key has too many parts.
    """
    if _LONG_KEY.search(data):
        # tomllib takes quadratic time for them: minutes for a hundred kilobytes.
        raise ConfigurationError(f"{what} has a key of more than {_MOST_PARTS} parts")
    try:
        return Table(tomllib.loads(data.decode()), what)
    # TOMLDecodeError is a ValueError, and so is what int() says of 5,000 digits.
    except ValueError as error:
        raise ConfigurationError(
            f"{what} is not valid toml: {error}", hint="is it the right file, and all of it?"
        ) from error
    # tomllib recurses over nested arrays, so a hostile document can exhaust the stack.
    except RecursionError as error:
        raise ConfigurationError(f"{what} is not valid toml: nested too deeply") from error


class Table:
    """One table; `take_*` removes a key, `finish` refuses whatever is left."""

    def __init__(self, values: dict[str, Any], where: str) -> None:
        """Wrap a copy of `values`; `where` names the table in messages."""
        self._values = dict(values)
        self.where = where

    def _take(self, key: str, kind: type[T], kind_name: str) -> T:
        if key not in self._values:
            raise self._missing(key, kind_name)
        value = self._values.pop(key)
        if type(value) is not kind:
            got = type(value).__name__
            raise ConfigurationError(f"{self.where} {key} is {got}, want {kind_name}")
        return value

    def _missing(self, key: str, wanted: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.where} has no {key}, want {wanted}",
            hint="nothing has a default: is it misspelt?",
        )

    def take_text(self, key: str) -> str:
        """Return a string."""
        return self._take(key, str, "a text")

    def take_bool(self, key: str) -> bool:
        """Return true or false."""
        return self._take(key, bool, "true or false")

    def take_int(self, key: str, *, low: int, high: int) -> int:
        """Return an integer from `low` to `high`."""
        value = self._take(key, int, f"an integer from {low} to {high}")
        if not low <= value <= high:
            raise ConfigurationError(f"{self.where} {key} is {_shown(value)}, want {low} to {high}")
        return value

    def take_number(self, key: str, *, low: float, high: float) -> float:
        """Return a finite number from `low` to `high`; an integer is taken for one."""
        if key not in self._values:
            raise self._missing(key, f"a number from {low:g} to {high:g}")
        value = self._values.pop(key)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # Comparison first: it takes integers of any size, and NaN fails it.
        if not number or not low <= value <= high:
            raise ConfigurationError(
                f"{self.where} {key} is {_shown(value)}, want a number from {low:g} to {high:g}"
            )
        return float(value)

    def take_choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Return one of `choices`."""
        value = self.take_text(key)
        if value not in choices:
            raise ConfigurationError(
                f"{self.where} {key} is {value[:80]!r}, want {' or '.join(map(repr, choices))}"
            )
        return value

    def take_texts(self, key: str) -> tuple[str, ...]:
        """Return a list of strings."""
        value = self._values.pop(key, None)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigurationError(f"{self.where} {key} is not a list of texts")
        return tuple(value)

    def take_table(self, key: str) -> Table:
        """Return a table in this one."""
        return Table(self.take_plain(key), f"{self.where} [{key}]")

    def take_plain(self, key: str) -> dict[str, Any]:
        """Return the plain values of a table in this one, for another package to read."""
        value = self._values.pop(key, None)
        if not isinstance(value, dict):
            raise ConfigurationError(f"{self.where} has no table [{key}]")
        return value

    def take_tables(self, key: str) -> list[Table]:
        """Return an array of at least one table."""
        value = self._values.pop(key, None)
        if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
            raise ConfigurationError(f"{self.where} has no table [[{key}]]")
        return [Table(v, f"{self.where} [[{key}]] number {i}") for i, v in enumerate(value, 1)]

    def __contains__(self, key: str) -> bool:
        """Return whether `key` is there and not taken yet."""
        return key in self._values

    def names(self) -> tuple[str, ...]:
        """Return the keys not taken yet."""
        return tuple(self._values)

    def finish(self) -> None:
        """Refuse the table if it holds a key that nobody took."""
        if self._values:
            names = ", ".join(sorted(self._values))[:200]
            raise ConfigurationError(
                f"{self.where} has unknown keys: {names}",
                hint="remove them, or check their spelling; nothing unknown is ever ignored",
            )
