"""One entry of the log: which statement it is, and whether the enclave's key signed it.

Admissions and rejections are nearly all of a long log, and all of them look alike: for a known
federation and manifest their one encoding is a pattern with a few gaps. `CommonForms` reads those
without a decoder, twenty times as fast; what is not exactly of that form is decoded.

SPEC.md, section 7.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fedenclave.protocol.codec import encode
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Reason
from fedenclave.protocol.peers import PeerMessage
from fedenclave.protocol.signing import PublicKey, Signed, signing_input
from fedenclave.protocol.statements import (
    VERSION,
    Abort,
    Admission,
    Adoption,
    Amendment,
    Announcement,
    Evaluation,
    FederationStatement,
    Rejection,
    Release,
    Shutdown,
    Start,
)

STATEMENTS: dict[str, type[FederationStatement]] = {
    cls.TYPE: cls
    for cls in (
        *(Start, Announcement, Admission, Rejection, Release, Abort, Adoption),
        *(Evaluation, Shutdown, Amendment, PeerMessage),
    )
}
"""What an enclave's key signs for its log, by type."""

Committing = Announcement | Release | Abort | Adoption | Evaluation | Shutdown | Amendment
"""Statements with a checkpoint: they say what the whole log was before them."""


class Opened(NamedTuple):
    """An entry's parts; whether the signature holds is for `KeyCheck` to say.

    A tuple, which is made in half of a frozen dataclass's time: a long log has a million.
    """

    unverified: FederationStatement
    type: str
    payload: bytes
    signature: bytes


def open_entry(signed: bytes) -> Opened:
    """Return the parts of a signed statement of an enclave's.

    Raises:
        MalformedMessage: it does not decode, or is of a type that no enclave signs.
    """
    envelope = Signed.from_bytes(signed)
    cls = STATEMENTS.get(envelope.type)
    if cls is None:
        raise MalformedMessage(
            f"statement is of type {envelope.type[:40]!r}, want one of {', '.join(STATEMENTS)}"
        )
    return Opened(
        unverified=cls.from_bytes(envelope.payload),
        type=envelope.type,
        payload=envelope.payload,
        signature=envelope.signature,
    )


class KeyCheck:
    """Says whether signatures are one key's. The key is parsed once: a long log has many."""

    def __init__(self, key: PublicKey) -> None:
        """Use a raw public key.

        Raises:
            MalformedMessage: it is none.
        """
        try:
            self._key = Ed25519PublicKey.from_public_bytes(key)
        except ValueError as error:
            raise MalformedMessage("key is no ed25519 public key") from error

    def holds(self, type_name: str, payload: bytes, signature: bytes) -> bool:
        """Return whether the key has signed this typed payload."""
        try:
            self._key.verify(signature, signing_input(type_name, payload))
        except (InvalidSignature, ValueError):
            return False
        return True

    def first_unsigned(self, entries: Sequence[tuple[str, bytes, bytes]]) -> int | None:
        """Return the place of the first entry (type, payload, signature) it has not signed."""
        for place, entry in enumerate(entries):
            if not self.holds(*entry):
                return place
        return None


def _heads(longest: int, unit: bytes | str) -> tuple[bytes, ...]:
    """Return the one CBOR head of bytes, or of a text, of each length up to `longest`."""
    texts = (encode(unit * size) for size in range(longest + 1))
    return tuple(text[: len(text) - size] for size, text in enumerate(texts))


_NAME_HEADS = _heads(63, "x")
_BYTES_HEADS = _heads(511, b"x")
"""Long enough for every payload of a common form: two names, three digests, a reason, the keys."""

# Heads of an unsigned integer below 2**32 in its shortest form, and of a text up to 63 bytes.
_UINT = rb"([\x00-\x17]|\x18[\x18-\xff]|\x19(?!\x00)..|\x1a(?!\x00\x00)....)"
_NAME = rb"([\x60-\x77]|\x78[\x18-\x3f])([a-z0-9._-]{0,63})"
_DIGEST = rb"\x58\x20(.{32})"
_SIGNATURE = rb"\x58\x40(.{64})"


class CommonForms:
    """Reads admissions and rejections of one federation under one manifest by their form."""

    def __init__(self, federation: str, manifest: Digest) -> None:
        """Write down the two forms."""
        self._federation, self._manifest = federation, manifest
        last = (
            _key("version") + re.escape(encode(VERSION)),
            _key("manifest") + re.escape(encode(manifest)),
            _key("federation") + re.escape(encode(federation)),
        )
        first = (_key("round") + _UINT, _key("client") + _NAME)
        update = _key("update") + _DIGEST
        reasons = b"|".join(re.escape(encode(reason.value)) for reason in Reason)
        self._reasons = {encode(reason.value): reason for reason in Reason}
        reason = _key("reason") + b"(" + reasons + b")"
        data = _key("data") + _DIGEST
        self._admission = _form(Admission.TYPE, b"\xa7", data, *first, update, *last)
        self._rejection = _form(Rejection.TYPE, b"\xa7", *first, reason, update, *last)

    def open(self, signed: bytes) -> Opened:
        """Return what `open_entry` returns.

        Raises:
            MalformedMessage: as there.
        """
        admission = self._admission.fullmatch(signed)
        found = admission or self._rejection.fullmatch(signed)
        if found is None:
            return open_entry(signed)
        length, payload, *rest, update, signature = found.groups()
        # Before the round an admission has the data, behind the client a rejection its reason.
        data = rest.pop(0) if admission else b""
        round_, head, name, *reason = rest
        if length != _BYTES_HEADS[len(payload)] or head != _NAME_HEADS[len(name)]:
            return open_entry(signed)
        number = int.from_bytes(round_[1:] or round_, "big")
        statement: FederationStatement
        if admission:
            statement = Admission(
                version=VERSION,
                federation=self._federation,
                manifest=self._manifest,
                round=number,
                client=name.decode(),
                update=Digest(update),
                data=Digest(data),
            )
        else:
            statement = Rejection(
                version=VERSION,
                federation=self._federation,
                manifest=self._manifest,
                round=number,
                client=name.decode(),
                update=Digest(update),
                reason=self._reasons[reason[0]],
            )
        return Opened(statement, statement.TYPE, payload, signature)


def _key(name: str) -> bytes:
    return re.escape(encode(name))


def _form(type_name: str, map_head: bytes, *fields: bytes) -> re.Pattern[bytes]:
    """Return what a whole `Signed` of such a payload matches."""
    payload = b"(" + map_head + b"".join(fields) + b")"
    envelope = (
        b"\xa3" + _key("type") + re.escape(encode(type_name)),
        _key("payload") + rb"(\x58.|\x59..)" + payload,
        _key("signature") + _SIGNATURE,
    )
    return re.compile(b"".join(envelope), re.DOTALL)
