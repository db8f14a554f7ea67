"""Deterministic CBOR: one value has one encoding, and only that encoding decodes.

The encoding is RFC 8949 section 4.2.1 restricted to unsigned integers, byte and text strings,
booleans, arrays and maps with text keys. No floats, no tags, no null: nothing in the protocol
needs them, and each is a way to write the same thing twice.

Decoding first counts the values without making an object of any of them: a byte of an empty array
is a list of 56 bytes in Python, so that a message of 32 MiB could fill a client's memory. Then the
bytes go to cbor2 with every tag refused, the order of keys is looked at, and the result is encoded
again and compared: whatever else was not canonical (length, indefinite form, trailing bytes)
differs.

SPEC.md, section 1.
"""

from __future__ import annotations

from typing import Any, NoReturn

import cbor2

from fedenclave.protocol.errors import MalformedMessage

MAX_DEPTH = 8
"""No message nests deeper than 5; 8 leaves room without letting a peer recurse."""

MAX_VALUES = 1 << 18
"""Values in one message. The largest honest ones, a report on 8,192 clients and the schema of a
model of 10,000 tensors, have fewer than half of it; decoded it is about 35 MiB."""

_UNSIGNED, _BYTES, _TEXT, _ARRAY, _MAP = 0, 2, 3, 4, 5
_SIMPLE = 7

# Tags that cbor2 would turn into objects (dates, bignums, regular expressions, references ...).
_KNOWN_TAGS = (*range(6), *range(20, 40), 100, *range(255, 270), 1004, 43000, 55799)


def _refuse_tag(*_: object) -> NoReturn:
    raise ValueError("tags are not part of the protocol")


_REFUSED_TAGS = dict.fromkeys(_KNOWN_TAGS, _refuse_tag)


def _canonical(value: Any) -> Any:
    """Return `value` with map keys in RFC 8949 order; refuse what the protocol does not use."""
    if isinstance(value, bool | str | bytes):
        return value
    if isinstance(value, int):
        if not 0 <= value < 2**64:
            raise ValueError("integers are unsigned and below 2**64")
        return value
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("map keys are text")
        # Bytewise order of the encoded keys; for text that is by length in bytes, then by content.
        keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
        return {key: _canonical(value[key]) for key in keys}
    raise ValueError(f"{type(value).__name__} is not part of the protocol")


def _check_canonical(value: Any) -> None:
    """Refuse a decoded `value` that `_canonical` would refuse or put in another order.

    Encoded as it is, it then gives what `encode` would give, and nothing has to be built anew.
    """
    kind = type(value)
    if kind is str or kind is bytes or kind is bool:
        return
    if kind is int:
        if not 0 <= value < 2**64:
            raise ValueError("integers are unsigned and below 2**64")
    elif kind is list:
        for item in value:
            if type(item) is not str and type(item) is not bytes:
                _check_canonical(item)
    elif kind is dict:
        last = (-1, b"")
        for key, item in value.items():
            if type(key) is not str:
                raise ValueError("map keys are text")
            encoded = key.encode()
            place = (len(encoded), encoded)
            if place <= last:
                raise ValueError("map keys are out of order")
            last = place
            _check_canonical(item)
    else:
        raise ValueError(f"{kind.__name__} is not part of the protocol")


def encode(value: Any) -> bytes:
    """Return the one encoding of `value`.

    Raises:
        ValueError: `value` holds something that the protocol does not use (a caller's bug).
    """
    return cbor2.dumps(_canonical(value))


def _check_count(data: bytes) -> None:
    """Refuse bytes of more than MAX_VALUES values, by their heads alone."""
    position, wanted, seen = 0, 1, 0
    while wanted:
        kind, argument = data[position] >> 5, data[position] & 0x1F
        position += 1
        if 24 <= argument < 28:
            size = 1 << (argument - 24)
            argument = int.from_bytes(data[position : position + size], "big")
            position += size
        elif argument >= 28:
            raise ValueError("indefinite lengths are not part of the protocol")
        wanted, seen = wanted - 1, seen + 1
        if kind in (_BYTES, _TEXT):
            position += argument
        elif kind == _ARRAY:
            wanted += argument
        elif kind == _MAP:
            wanted += 2 * argument
        elif kind not in (_UNSIGNED, _SIMPLE):
            raise ValueError("negative integers and tags are not part of the protocol")
        if wanted + seen > MAX_VALUES:
            raise ValueError("too many values")


def decode(data: bytes, *, max_size: int) -> Any:
    """Return the value that `data` encodes.

    Args:
        data: bytes from a peer.
        max_size: bytes above which nothing is even looked at.

    Raises:
        MalformedMessage: too long, not CBOR, not canonical, or not of the protocol's types.
    """
    if len(data) > max_size:
        raise MalformedMessage(f"message has {len(data)} bytes, want at most {max_size}")
    try:
        _check_count(data)
        value = cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_REFUSED_TAGS,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        _check_canonical(value)
        again = cbor2.dumps(value)
    # The bytes are hostile and cbor2's list of exceptions is not a promise of its API.
    except Exception as error:
        raise MalformedMessage(f"message of {len(data)} bytes is not valid cbor") from error
    if again != data:
        raise MalformedMessage(f"message of {len(data)} bytes is not deterministic cbor")
    return value
