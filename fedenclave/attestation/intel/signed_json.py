"""JSON documents that Intel signs: the body, the signature over it, and fields with their ranges.

It verifies nothing: collateral.py does. Fields that are not asked for are left alone, as Intel adds
some without a new version; what is asked for must be there and be of the right type.

Source: Intel PCS API version 4: `{"tcbInfo": BODY, "signature": HEX}`, where the signature is over
the body without white space. The same JSON written again without white space is that body.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from fedenclave.attestation.strict_json import JsonObject, parse_object
from fedenclave.protocol.errors import MalformedMessage

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_SIGNATURE_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedJson:
    """A signed document. `body` is what is signed; `signature` is r and s, 64 bytes."""

    body: str
    signature: bytes
    fields: JsonObject


def parse_signed_json(data: bytes, key: str, what: str) -> SignedJson:
    """Return the document whose body is under `key`.

    Raises:
        MalformedMessage: it is no such document.
    """
    outer = parse_object(data, what)
    fields = outer.table(key)
    return SignedJson(
        body=json.dumps(fields.values, separators=(",", ":"), ensure_ascii=False),
        signature=outer.hexadecimal("signature", _SIGNATURE_SIZE),
        fields=fields,
    )


def bounded(fields: JsonObject, key: str, high: int) -> int:
    """Return an integer from 0 to `high`.

    Raises:
        MalformedMessage: it is absent or something else; so do the other readers.
    """
    value = fields.integer(key)
    if value > high:
        raise MalformedMessage(f"{fields.what} has {key} {value}, want at most {high}")
    return value


def date(fields: JsonObject, key: str) -> int:
    """Return Unix seconds."""
    text = fields.text(key)
    try:
        if not _DATE.fullmatch(text):
            raise ValueError
        return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())
    except (ValueError, OverflowError) as error:
        raise MalformedMessage(
            f"{fields.what} has {key} {text[:40]!r}, want a date as 2025-06-19T10:16:03Z"
        ) from error
