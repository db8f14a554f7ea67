"""Decode vendors' CBOR strictly: plain values only, nothing twice, nothing left over.

Not the protocol's own codec (`protocol/codec.py`), which accepts one encoding of each value.
Vendors sign the bytes that they send, and their specifications allow long forms of lengths, so an
unusual encoding inside a signed payload is theirs to choose.

Rules:
  * Integers of at most 64 bits, byte and text strings, booleans, null, arrays, maps. No floats, no
    undefined, no simple values, no bignums: none of the formats here has any.
  * Map keys are integers or texts, and none comes twice. Python takes 1, 1.0 and true for the same
    key, so a key's exact type is looked at.
  * A tag only at the very outside, and only one that the caller names.
  * Depth, size, and bytes after the end are checked.

Source: RFC 8949; validity in the sense of its section 1.2.
"""

from __future__ import annotations

from collections.abc import Collection
from io import BytesIO
from typing import Any, NoReturn, cast

import cbor2

from fedenclave.protocol.errors import MalformedMessage

MAX_DEPTH = 12
"""The deepest structure here, a COSE message with components inside a collection, has 6 levels."""

# cbor2 makes objects, references or bignums of these; every other tag arrives as a CBORTag.
_BUILT_IN_TAGS = (*range(6), 25, *range(28, 31), *range(35, 38), 52, 54, 100)
_MORE_BUILT_IN_TAGS = (256, 258, 260, 261, 1004, 43000, 55799)


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("the tag is not part of the format")


_REFUSED = dict.fromkeys((*_BUILT_IN_TAGS, *_MORE_BUILT_IN_TAGS), _refuse_tag)


def decode(data: bytes, what: str, *, max_size: int, indefinite: bool = False) -> Any:
    """Return the untagged value that `data` encodes.

    Args:
        data: the encoding, whole.
        what: names it in messages.
        max_size: bytes above which nothing is looked at.
        indefinite: whether strings, arrays and maps of indefinite length are allowed.

    Raises:
        MalformedMessage: too long, not CBOR, tagged, or not of the allowed types.
    """
    return decode_tagged(data, what, max_size=max_size, tags=(None,), indefinite=indefinite)[1]


def decode_tagged(
    data: bytes,
    what: str,
    *,
    max_size: int,
    tags: Collection[int | None],
    indefinite: bool = False,
) -> tuple[int | None, Any]:
    """Return the outer tag, and the value in it.

    Args:
        data: the encoding, whole.
        what: names it in messages.
        max_size: bytes above which nothing is looked at.
        tags: the outer tags that are allowed; None stands for no tag.
        indefinite: whether strings, arrays and maps of indefinite length are allowed.

    Raises:
        MalformedMessage: too long, not CBOR, of another tag, or not of the allowed types.
    """
    if len(data) > max_size:
        raise MalformedMessage(f"{what} has {len(data)} bytes, want at most {max_size}")
    stream = BytesIO(data)
    try:
        value = cbor2.CBORDecoder(
            stream,
            semantic_decoders=_REFUSED,
            max_depth=MAX_DEPTH,
            allow_indefinite=indefinite,
            allow_duplicate_keys=False,
        ).decode()
    # The bytes are hostile and cbor2's list of exceptions is not a promise of its API.
    except Exception as error:
        raise MalformedMessage(f"{what} is not valid cbor: {str(error)[:100]}") from error
    if stream.tell() != len(data):
        raise MalformedMessage(f"{what} has {len(data) - stream.tell()} bytes after its end")
    tag = None
    if isinstance(value, cbor2.CBORTag):
        tag, value = value.tag, value.value
    if tag not in tags:
        wanted = " or ".join("none" if allowed is None else str(allowed) for allowed in tags)
        raise MalformedMessage(
            f"{what} has cbor tag {'none' if tag is None else tag}, want {wanted}"
        )
    return tag, _plain(value, what)


def _plain(value: object, what: str) -> Any:
    """Return `value` with lists and dicts only: below a tag, cbor2 makes immutable ones."""
    if value is None or type(value) in (bool, int, bytes, str):
        return value
    if type(value) in (list, tuple):
        return [_plain(item, what) for item in cast("list[object]", value)]
    if type(value) not in (dict, cbor2.frozendict):
        raise MalformedMessage(f"{what} has a {type(value).__name__} inside, want plain values")
    plain = {}
    for key, item in cast("dict[object, object]", value).items():
        if type(key) not in (int, str):
            raise MalformedMessage(
                f"{what} has a map key of type {type(key).__name__}, want integer or text"
            )
        plain[key] = _plain(item, what)
    return plain
