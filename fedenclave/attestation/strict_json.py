"""Read a vendor's JSON strictly: one meaning for the same bytes, and typed fields.

Python's parser takes the last of two equal keys, `NaN`, `1e999` (as infinity), lone surrogates and
integers of any size. Two programs could then read one signed text in two ways; all of these are
refused here.

Source: RFC 8259; RFC 7493 (I-JSON), sections 2.1 to 2.3.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from fedenclave.protocol.errors import MalformedMessage

MAX_INTEGER = (1 << 53) - 1
"""The greatest integer that every JSON reader keeps exactly (RFC 7493, section 2.2)."""


def parse_object(data: bytes, what: str) -> JsonObject:
    """Return the JSON object that `data` encodes.

    Raises:
        MalformedMessage: it is not UTF-8, not JSON, not an object, or not strict.
    """
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_exact,
        )
        # A lone surrogate survives parsing, and breaks whoever prints or encodes it later.
        json.dumps(value, ensure_ascii=False).encode()
    except MalformedMessage as error:
        raise MalformedMessage(f"{what} is not strict json: {error.message}") from error
    # Bad UTF-8 and bad JSON are both ValueErrors.
    except (ValueError, RecursionError) as error:
        raise MalformedMessage(f"{what} is not json that can be read") from error
    if not isinstance(value, dict):
        raise MalformedMessage(f"{what} is {_kind(value)}, want a json object")
    return JsonObject(value, what)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedMessage("a key occurs twice")
    return found


def _no_constant(text: str) -> NoReturn:
    raise MalformedMessage(f"{text} is no number")


def _exact(text: str) -> int:
    # By its length first: to turn very many digits into a number takes long.
    number = int(text) if len(text) <= len(str(MAX_INTEGER)) + 1 else None
    if number is None or abs(number) > MAX_INTEGER:
        raise MalformedMessage(f"{text[:40]} is larger than any integer that every reader keeps")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise MalformedMessage(f"{text[:40]} is larger than any number that can be kept")
    return number


def _kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = {bool: "true or false", int: "an integer", float: "a fraction", str: "a text"}
    return kinds.get(type(value), "a list" if isinstance(value, list) else "an object")


class JsonObject:
    """One JSON object; its readers refuse a field that is absent or of another type."""

    def __init__(self, values: Mapping[str, Any], what: str) -> None:
        """Wrap `values`; `what` names the object in messages."""
        self.values, self.what = dict(values), what

    def __contains__(self, key: str) -> bool:
        """Return whether the field is there, be it null."""
        return key in self.values

    def _wrong(self, key: str, wanted: str) -> MalformedMessage:
        found = _kind(self.values[key]) if key in self.values else "missing"
        return MalformedMessage(f"{self.what} has {key} {found}, want {wanted}")

    def text(self, key: str) -> str:
        """Return a text.

        Raises:
            MalformedMessage: it is absent or something else; so do the other readers.
        """
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def integer(self, key: str) -> int:
        """Return an integer from 0 to 2**53 - 1."""
        value = self.values.get(key)
        if type(value) is not int or not 0 <= value <= MAX_INTEGER:
            raise self._wrong(key, "an integer from 0 to 2^53 - 1")
        return value

    def boolean(self, key: str) -> bool:
        """Return true or false."""
        value = self.values.get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(key, "a list of texts")
        return tuple(value)

    def table(self, key: str) -> JsonObject:
        """Return an object in this one."""
        value = self.values.get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return JsonObject(value, f"{self.what} {key}")

    def tables(self, key: str) -> tuple[JsonObject, ...]:
        """Return a list of objects in this one."""
        value = self.values.get(key)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise self._wrong(key, "a list of objects")
        return tuple(JsonObject(item, f"{self.what} {key}") for item in value)

    def hexadecimal(self, key: str, size: int) -> bytes:
        """Return the bytes of a text of exactly `2 * size` hex digits of either case."""
        text = self.text(key)
        try:
            # fromhex skips white space, so the length is judged in digits.
            value = bytes.fromhex(text) if len(text) == 2 * size else b""
        except ValueError:
            value = b""
        if len(value) != size:
            raise self._wrong(key, f"{2 * size} hex digits")
        return value
