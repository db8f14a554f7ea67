"""Read CBOR diagnostic notation (RFC 8949, section 8), as far as claims sets are written in it.

Maps, arrays, integers, texts without escapes, `h'...'`, and comments between slashes. For tests:
Veraison publishes claims sets in this form, and as JSON with names instead of labels.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:/[^/]*/\s*)*(?:(?P<mark>[{}\[\]:,])|(?P<hex>h'[0-9A-Fa-f]*')|(?P<text>"[^"\\]*")"""
    r"""|(?P<int>-?[0-9]+))"""
)
_LABELS = {
    "psa-profile": (None, -75000),
    "eat-profile": (265, None),
    "psa-client-id": (2394, -75001),
    "psa-security-lifecycle": (2395, -75002),
    "psa-implementation-id": (2396, -75003),
    "psa-boot-seed": (2397, -75004),
    "psa-hwver": (None, -75005),
    "psa-certification-reference": (2398, None),
    "psa-software-components": (2399, -75006),
    "psa-no-software-measurements": (None, -75007),
    "psa-nonce": (10, -75008),
    "psa-instance-id": (256, -75009),
    "psa-verification-service-indicator": (2400, -75010),
}
"""Label in the new profile and in the old one; None if Veraison's name is not for it."""

_ATTRIBUTES = {"measurement-type": 1, "measurement-value": 2, "version": 4, "signer-id": 5}
_BYTES = {"psa-implementation-id", "psa-boot-seed", "psa-nonce", "psa-instance-id"}
_ATTRIBUTE_BYTES = {"measurement-value", "signer-id"}


def parse_diagnostic(text: str) -> Any:
    """Return the value; a ValueError if there is something else in it."""
    tokens = []
    position, stripped = 0, text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise ValueError(f"cannot read {stripped[position : position + 20]!r}")
        tokens.append((match.lastgroup, match.group(match.lastgroup or 0)))
        position = match.end()
    value = _value(tokens)
    if tokens:
        raise ValueError("something is left over")
    return value


def _value(tokens: list[tuple[str | None, str]]) -> Any:
    kind, text = tokens.pop(0)
    if kind == "hex":
        return bytes.fromhex(text[2:-1])
    if kind == "text":
        return text[1:-1]
    if kind == "int":
        return int(text)
    end = {"{": "}", "[": "]"}[text]
    items = []
    while tokens[0][1] != end:
        key = _value(tokens)
        if text == "{":
            assert tokens.pop(0)[1] == ":"
            key = (key, _value(tokens))
        items.append(key)
        if tokens[0][1] == ",":
            tokens.pop(0)
    tokens.pop(0)
    return dict(items) if text == "{" else items


def parse_json(text: str, *, old: bool) -> dict[int, Any]:
    """Return the claims of Veraison's JSON by label; names of the other profile are left out."""
    claims = {}
    for name, value in json.loads(text).items():
        label = _LABELS[name][1 if old else 0]
        if label is not None:
            claims[label] = _json_value(name, value)
    return claims


def _json_value(name: str, value: Any) -> Any:
    if name == "psa-software-components":
        return [
            {
                _ATTRIBUTES[key]: base64.b64decode(item) if key in _ATTRIBUTE_BYTES else item
                for key, item in component.items()
            }
            for component in value
        ]
    if name in _BYTES:
        return (
            [base64.b64decode(item) for item in value]
            if isinstance(value, list)
            else base64.b64decode(value)
        )
    return value
