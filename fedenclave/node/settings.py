"""Writing key-value settings as flwr's --node-config and --run-config read them.

flwr 1.41 cuts the option apart with a regular expression and reads the pieces as TOML. It knows
no escapes: a quoted value ends at the first quote of its kind. So there are strings that cannot
be said at all, and they are refused here instead of arriving changed.

Source: flwr 1.41, flwr/common/config.py, parse_config_args.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Setting = str | int | float | bool

# A key that TOML takes without quotes; a dot would make a table of it.
KEY = re.compile(r"[A-Za-z0-9_-]+")


def write_settings(settings: Mapping[str, Setting]) -> str:
    """Return `key=value` pairs as one argument for flwr.

    Raises:
        ValueError: A key or value cannot be written so that flwr reads it back unchanged.
    """
    return " ".join(f"{_key(key)}={_value(key, value)}" for key, value in settings.items())


def _key(key: str) -> str:
    if not KEY.fullmatch(key):
        raise ValueError(f"setting is named {key!r}, want letters, digits, '-' and '_'")
    return key


def _value(key: str, value: Setting) -> str:
    # A bool is an int to Python, and TOML spells it in lower case.
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    if value.isprintable():
        # TOML's literal string, in which a backslash is a backslash.
        if "'" not in value:
            return f"'{value}'"
        if '"' not in value and "\\" not in value:
            return f'"{value}"'
    raise ValueError(f"flwr cannot read setting {key} with value {value!r}")
