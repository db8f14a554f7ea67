"""Read pins from a policy's table: hex values of one length, and lists of them.

An empty list where a pin must be is an error: it would accept nothing, or be taken for everything.
"""

from __future__ import annotations

import re

from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import Table

ANY = "any"
_HEX = re.compile(r"(?:[0-9a-f]{2})+")


def take_hex(table: Table, key: str, *, sizes: tuple[int, ...]) -> bytes:
    """Return a value written as lower-case hex, of one of `sizes` bytes."""
    return _hex(table, key, table.take_text(key), sizes)


def take_hexes(table: Table, key: str, *, sizes: tuple[int, ...]) -> tuple[bytes, ...]:
    """Return a list of at least one value, each of one of `sizes` bytes."""
    texts = table.take_texts(key)
    if not texts:
        raise ConfigurationError(
            f"{table.where} {key} is empty, want at least one value",
            hint="an empty list accepts nothing; remove the format to refuse it",
        )
    return tuple(_hex(table, key, text, sizes) for text in texts)


def take_hexes_or_any(
    table: Table, key: str, *, sizes: tuple[int, ...]
) -> tuple[bytes, ...] | None:
    """Return a list as `take_hexes` does, or None for the literal list `["any"]`.

    For hardware ids and the like, where accepting all must be said in words.
    """
    texts = table.take_texts(key)
    if texts == (ANY,):
        return None
    if not texts:
        raise ConfigurationError(
            f'{table.where} {key} is empty, want at least one value, or ["any"] to accept all'
        )
    return tuple(_hex(table, key, text, sizes) for text in texts)


def take_some_texts(table: Table, key: str) -> tuple[str, ...]:
    """Return a list of at least one text."""
    texts = table.take_texts(key)
    if not texts or not all(texts):
        raise ConfigurationError(f"{table.where} {key} is empty, want at least one text")
    return texts


def take_texts_or_any(
    table: Table, key: str, *, may_be_empty: bool = False
) -> tuple[str, ...] | None:
    """Return a list of texts, or None for the literal list `["any"]`.

    Args:
        table: the policy's.
        key: of the list.
        may_be_empty: whether the empty list means something: that there must be nothing.

    Raises:
        ConfigurationError: `any` is among other texts, where nobody could tell what is meant.
    """
    texts = table.take_texts(key) if may_be_empty else take_some_texts(table, key)
    if ANY in texts and texts != (ANY,):
        raise ConfigurationError(
            f"{table.where} {key} has {ANY!r} among other values",
            hint=f'write ["{ANY}"] alone to accept all',
        )
    return None if texts == (ANY,) else texts


def _hex(table: Table, key: str, text: str, sizes: tuple[int, ...]) -> bytes:
    wanted = " or ".join(str(2 * size) for size in sizes)
    if not _HEX.fullmatch(text) or len(text) // 2 not in sizes:
        raise ConfigurationError(
            f"{table.where} {key} is {text[:100]!r}, want {wanted} lower-case hex digits"
        )
    return bytes.fromhex(text)
