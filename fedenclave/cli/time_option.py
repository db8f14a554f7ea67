"""A time in the future that a command is told: a day, a time in UTC, or so many days from now."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from fedenclave.protocol.errors import ConfigurationError

Expires = Annotated[
    str | None,
    typer.Option(
        "--expires",
        metavar="WHEN",
        help="From when on it seals nothing new: 2027-06-30, 2027-06-30T12:00:00Z, or 365d.",
    ),
]
_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ")


def expiry(text: str | None) -> int:
    """Return Unix seconds; 0 where nothing is given.

    Raises:
        ConfigurationError: it is no time.
    """
    if text is None:
        return 0
    if found := _DAYS.fullmatch(text):
        return int(time.time()) + int(found[1]) * 86_400
    for form in _FORMATS:
        try:
            # Not 0, which is for never: the first second of 1970 is over, too.
            return int(datetime.strptime(text, form).replace(tzinfo=UTC).timestamp()) or 1
        except (ValueError, OverflowError):
            continue
    raise ConfigurationError(
        f"--expires is {text[:40]!r}, want a day as 2027-06-30, a time in UTC as "
        "2027-06-30T12:00:00Z, or days as 365d",
        hint="days end at midnight, UTC, when they begin",
    )
