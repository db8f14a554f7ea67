"""What every provider says in one way: of keys' names, of keys that another has wrapped."""

from __future__ import annotations

import re

from fedenclave.keys.errors import CannotUnwrap, KeysRefused
from fedenclave.keys.provider import WrappedKey
from fedenclave.protocol.codec import encode

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def checked_key_name(key: str) -> str:
    """Return a key's name.

    Raises:
        KeysRefused: no key can have it.
    """
    if _NAME.fullmatch(key) is None:
        raise KeysRefused(
            f"a key cannot be named {key[:80]!r}",
            hint="letters, digits, dots, dashes and underscores, 64 at most",
        )
    return key


def wrapped_elsewhere(wrapped: WrappedKey, kind: str) -> CannotUnwrap:
    """Return the error for a key that a provider of another kind has wrapped."""
    return CannotUnwrap(
        f"the key was wrapped by {wrapped.provider[:80]} under {wrapped.key[:80]} version "
        f"{wrapped.version}, and the provider given is {kind}",
        hint=f"name the provider that has it: --keys {wrapped.provider[:80]}:...",
    )


def bound_bytes(kind: str, key: str, context: str) -> bytes:
    """Return the associated data under which a key store wraps: which key, and for what.

    The version is not in it: a store whose keys have versions of their own binds those itself.
    """
    return b"fedenclave/wrapped-key/v2\x00" + encode([kind, key, context])


def until(expires: int) -> dict[str, str | int]:
    """Return an audit event's fact about an expiry; nothing where there is none."""
    return {"expires": expires} if expires else {}
