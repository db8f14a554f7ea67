"""When a key's version seals nothing new any more. What it has sealed it reads for ever.

Rules:
  * The time is this machine's clock: no key says what time it is. A clock that goes wrong makes a
    key expire too early or too late, and both are said.
  * A clock that stands before the key's own making is wrong for certain. Then nothing is sealed
    under a key that has an expiry, since that may be over.
"""

from __future__ import annotations

from datetime import UTC, datetime

from fedenclave.keys.errors import KeyExpired, KeysRefused
from fedenclave.keys.provider import KeyState, KeyVersion

CLOCK_TOLERANCE = 600
"""Seconds that two machines' clocks may differ: of the one that made a key, and of this one."""


def time_text(at: float) -> str:
    """Return Unix seconds as people read them."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def checked_expiry(expires: int, now: float) -> int:
    """Return the expiry of a version that is to be made.

    Raises:
        KeysRefused: it is over already.
    """
    if expires and expires <= now:
        raise KeysRefused(
            f"the expiry is {time_text(expires)}, want a time after now, {time_text(now)}",
            hint="a key that has expired seals nothing. is this machine's clock right?",
        )
    return expires


def check_seals(version: KeyVersion, now: float) -> None:
    """Refuse to seal under a version that has expired.

    Raises:
        KeyExpired: it has.
        KeysRefused: the clock is wrong, so that nobody knows.
    """
    if not version.expires:
        return
    what = f"key {version.key} version {version.version}"
    if version.expires <= now:
        raise KeyExpired(
            f"{what} has expired at {time_text(version.expires)}, and seals nothing new; what it "
            "has sealed stays readable",
            hint="fedenclave keys rotate makes a newer version. this machine's clock says "
            f"{time_text(now)}: if that is wrong, set it",
        )
    if now < version.created - CLOCK_TOLERANCE:
        raise KeysRefused(
            f"this machine's clock says {time_text(now)}, and {what} was made at "
            f"{time_text(version.created)}: want a clock that can tell whether the key has expired",
            hint="set this machine's clock",
        )


def state_of(*, newest: bool, expires: int, destroyed: int, now: float) -> KeyState:
    """Return the state of a version from what is known of it."""
    if destroyed:
        return KeyState.DESTROYED if destroyed <= now else KeyState.SCHEDULED
    if expires and expires <= now:
        return KeyState.EXPIRED
    return KeyState.NEWEST if newest else KeyState.READABLE
