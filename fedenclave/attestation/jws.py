"""JSON Web Tokens that a vendor's attestation service signs: parse strictly, verify, judge times.

Not a general JWT reader: compact serialisation, RS256, nothing else. PyJWT verifies the signature;
what is added here is that one token has one spelling, and that no clock is read.

Rules:
  * The algorithm is RS256 because this file says so; the header must agree, and never chooses.
  * base64url has no padding and no bits that mean nothing: changing any one character of a token
    changes its bytes.
  * Headers and claims are strict JSON (strict_json.py). `crit`, `b64` and `zip` are refused: none
    is understood. A key in the header (`jwk`, `jku`, `x5u`) is never used.
  * `nbf` <= now < `exp`, `iat` <= now, and the age counts from `iat`. There is no leeway: who has
    no clock within a second of the vendor's judges a second later.

Source: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best practices), RFC 7518 section 3.3 (RS256).
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import iso
from fedenclave.attestation.result import Trust
from fedenclave.attestation.strict_json import JsonObject, parse_object
from fedenclave.protocol.errors import MalformedMessage

ALGORITHM = "RS256"
MAX_TOKEN = 64 << 10
"""Bytes. A Confidential Space token with its certificates has 11 KiB."""
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*")
_NOT_UNDERSTOOD = ("crit", "b64", "zip")

ALWAYS = frozenset(
    {"signature algorithm", "token header", "signature", "token validity", "token age"}
)
"""Names of the checks that are made of every token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token taken apart; nothing in it is verified."""

    encoded: bytes
    header: JsonObject
    claims: JsonObject


def parse_token(encoded: bytes, what: str) -> Token:
    """Return the parts of a token in compact serialisation.

    Raises:
        MalformedMessage: it is larger than 64 KiB, not three canonical base64url segments, or its
            header or claims are not strict JSON.
    """
    if len(encoded) > MAX_TOKEN:
        raise MalformedMessage(f"{what} has {len(encoded)} bytes, want at most {MAX_TOKEN}")
    segments = encoded.split(b".")
    if len(segments) != 3:
        raise MalformedMessage(f"{what} has {len(segments)} segments, want 3")
    header, claims, _ = (base64url(segment, what) for segment in segments)
    return Token(
        encoded=encoded,
        header=parse_object(header, f"{what} header"),
        claims=parse_object(claims, f"{what} claims"),
    )


def base64url(encoded: bytes, what: str) -> bytes:
    """Return the bytes that canonical base64url without padding encodes.

    Raises:
        MalformedMessage: it has another character, padding, an impossible length, or unused bits
            that are not zero.
    """
    if not _BASE64URL.fullmatch(encoded) or len(encoded) % 4 == 1:
        raise MalformedMessage(f"{what} is not base64url without padding")
    data = base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=") != encoded:
        raise MalformedMessage(f"{what} has base64url bits after its end that are not zero")
    return data


def check_header(checklist: Checklist, token: Token) -> None:
    """Check that the token says RS256, and asks for nothing that is not understood.

    Raises:
        EvidenceRefused: it does not.
    """
    found = token.header.values.get("alg")
    checklist.must(
        "signature algorithm",
        holds=found == ALGORITHM,
        found=found,
        wanted=ALGORITHM,
        trust=Trust.INSTANCE_IDENTITY,
        hint="only RS256 is accepted, and an unsigned token never; nothing was sent",
    )
    odd = [name for name in _NOT_UNDERSTOOD if name in token.header]
    kind = token.header.values.get("typ", "JWT")
    checklist.must(
        "token header",
        holds=not odd and kind == "JWT",
        found=f"asks for {', '.join(odd)}" if odd else f"typ {kind}",
        wanted="typ JWT, and none of " + ", ".join(_NOT_UNDERSTOOD),
        trust=Trust.INSTANCE_IDENTITY,
    )


def check_signature(checklist: Checklist, token: Token, key: RSAPublicKey) -> None:
    """Check the token's signature by `key`, which a chain or the bundle vouches for.

    Raises:
        EvidenceRefused: it does not verify.
    """
    try:
        jwt.PyJWS(
            algorithms=[ALGORITHM], options={"enforce_minimum_key_length": True}
        ).decode_complete(token.encoded, key, algorithms=[ALGORITHM])
        problem = ""
    except jwt.PyJWTError as error:
        problem = str(error)
    checklist.must(
        "signature",
        holds=not problem,
        found=problem or "verifies",
        wanted="a signature by the vendor's key over these very claims",
        trust=Trust.INSTANCE_IDENTITY,
        hint="the token was changed on its way, or was never the vendor's; nothing was sent",
    )


def check_times(checklist: Checklist, token: Token, *, now: int, freshness_seconds: int) -> None:
    """Check `nbf`, `exp` and `iat` at `now`.

    Args:
        checklist: where the checks go.
        token: its signature is verified.
        now: Unix seconds.
        freshness_seconds: greatest age, counted from `iat`.

    Raises:
        EvidenceRefused: the token is not valid at `now`.
        MalformedMessage: one of the three claims is missing or no integer.
    """
    issued, first, last = (token.claims.integer(name) for name in ("iat", "nbf", "exp"))
    checklist.must(
        "token validity",
        holds=max(first, issued) <= now < last,
        found=f"issued {iso(issued)}, valid {iso(first)} to {iso(last)}",
        wanted=f"issued before, and valid at {iso(now)}",
        trust=Trust.INSTANCE_IDENTITY,
        hint="give the time at which the evidence was made with --at, if it is an old one",
    )
    checklist.want(
        "token age",
        holds=now - issued <= freshness_seconds,
        found=f"{now - issued} s",
        wanted=f"at most {freshness_seconds} s",
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is old; ask for a new one",
    )


def text_binding(report_data: bytes) -> bytes:
    """Return what a token binds for 64 bytes of report data: SHA-256 as 64 lower-case hex digits.

    Services take a nonce as text only, and of limited length; 64 digits also fill the 64 bytes of
    a report data field exactly, so that one value serves every kind of token.
    """
    return hashlib.sha256(report_data).hexdigest().encode()
