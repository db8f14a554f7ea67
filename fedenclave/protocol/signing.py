"""Ed25519 signatures over a typed payload.

A statement signed as one type never verifies as another: the type's name is under the signature.

SPEC.md, section 3.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import ClassVar, NewType, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fedenclave.protocol.digests import Digest, sha256
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record

PublicKey = NewType("PublicKey", bytes)
"""A raw Ed25519 public key, 32 bytes."""


class Signer(Protocol):
    """An Ed25519 private key: in this process, or in a token that signs for it."""

    def sign(self, data: bytes, /) -> bytes:
        """Return the signature over `data`."""
        ...

    def public_key(self) -> Ed25519PublicKey:
        """Return the public half."""
        ...


SIGNATURE_SIZE = 64
PUBLIC_KEY_SIZE = 32
_PREFIX = "ed25519:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement(Record):
    """A record that is signed as a whole; `TYPE` names it under the signature."""

    TYPE: ClassVar[str] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed(Record):
    """A statement's encoding with its signature. Nothing in it is checked yet."""

    MAX_SIZE: ClassVar[int] = 4 << 20

    type: str
    payload: bytes
    signature: bytes


StatementT = TypeVar("StatementT", bound=Statement)


def signing_input(type_name: str, payload: bytes) -> bytes:
    """Return the bytes under a signature: `fedenclave/sig/<type>/v1`, a zero byte, the payload."""
    return f"fedenclave/sig/{type_name}/v1".encode() + b"\x00" + payload


def public_key(private_key: Signer) -> PublicKey:
    """Return the raw public half of `private_key`."""
    return PublicKey(private_key.public_key().public_bytes_raw())


def sign(statement: Statement, private_key: Signer) -> bytes:
    """Return the encoded `Signed` of `statement`."""
    payload = statement.to_bytes()
    signature = private_key.sign(signing_input(statement.TYPE, payload))
    return Signed(type=statement.TYPE, payload=payload, signature=signature).to_bytes()


def verify(cls: type[StatementT], signed: bytes, key: PublicKey) -> StatementT:
    """Return the statement in `signed` after its signature by `key` has been checked.

    The payload is decoded only after the signature holds.

    Raises:
        MalformedMessage: it does not decode, is of another type, or the signature does not hold.
    """
    return verify_opened(cls, Signed.from_bytes(signed), key)


def verify_opened(cls: type[StatementT], envelope: Signed, key: PublicKey) -> StatementT:
    """Return what `verify` returns, of a `Signed` that has been decoded.

    Raises:
        MalformedMessage: as there.
    """
    if envelope.type != cls.TYPE:
        raise MalformedMessage(f"statement is of type {envelope.type[:40]!r}, want {cls.TYPE!r}")
    if not signature_holds(cls.TYPE, envelope.payload, envelope.signature, key):
        raise MalformedMessage(f"signature of the {cls.TYPE} does not hold")
    return cls.from_bytes(envelope.payload)


def signature_holds(type_name: str, payload: bytes, signature: bytes, key: PublicKey) -> bool:
    """Return whether `signature` is `key`'s over the typed payload."""
    try:
        verifier = Ed25519PublicKey.from_public_bytes(key)
        verifier.verify(signature, signing_input(type_name, payload))
    except (InvalidSignature, ValueError):
        return False
    return True


def statement_digest(signed: bytes) -> Digest:
    """Return the digest by which other statements and the log name a signed statement."""
    return sha256(signed)


def key_to_text(key: bytes) -> str:
    """Return `ed25519:<base64>`."""
    return _PREFIX + base64.b64encode(key).decode()


def key_from_text(text: str) -> PublicKey:
    """Parse `ed25519:<base64 of 32 bytes>`.

    Raises:
        MalformedMessage: it is anything else.
    """
    try:
        raw = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    # Comparing the text again refuses base64 that decodes to the same bytes in another spelling.
    if len(raw) != PUBLIC_KEY_SIZE or key_to_text(raw) != text:
        raise MalformedMessage(f"public key is {text[:80]!r}, want ed25519: and base64 of 32 bytes")
    return PublicKey(raw)
