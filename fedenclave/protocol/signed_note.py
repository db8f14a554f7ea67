"""Signed notes: a text, a blank line, and lines of signatures by named keys.

What logs and their witnesses exchange elsewhere, so that their programs can read what ours write.

Rules:
  * The text counts for nothing unless a known key's signature holds.
  * A signature of an unknown key is ignored, whatever it is; a name alone makes no key known.
  * A known key's signature that does not hold makes the whole note worthless.

Source: C2SP signed-note, with Ed25519 (type 0x01) and, from C2SP tlog-cosignature, witnesses'
Ed25519 with a time (type 0x04). SPEC.md, section 7.3.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedenclave.protocol.digests import sha256
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.signing import PUBLIC_KEY_SIZE, SIGNATURE_SIZE, PublicKey, public_key

MAX_NOTE = 1 << 16
MAX_SIGNATURES = 100
"""C2SP wants at least 16 accepted; Go's implementation takes 100."""

MAX_TIME = 2**63 - 1
KEY_ID_SIZE = 4

_DASH = "\u2014 "
_TIME = struct.Struct(">Q")


class SignatureType(IntEnum):
    """What a signature line's key signs, and how: C2SP's byte for it."""

    ED25519 = 0x01
    COSIGNATURE = 0x04


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteKey:
    """A public key that is known: by its name, its bytes and what it signs."""

    name: str
    key: PublicKey
    type: SignatureType = SignatureType.ED25519

    def __post_init__(self) -> None:
        """Refuse a name that no signature line can carry, and what is no key."""
        _check_name(self.name)
        if len(self.key) != PUBLIC_KEY_SIZE:
            raise MalformedMessage(f"key has {len(self.key)} bytes, want {PUBLIC_KEY_SIZE}")

    @property
    def id(self) -> bytes:
        """The four bytes that a signature line begins with."""
        return sha256(f"{self.name}\n".encode() + bytes([self.type]) + self.key)[:KEY_ID_SIZE]

    def to_text(self) -> str:
        """Return C2SP's verifier key: `<name>+<key id in hex>+<base64 of type and key>`."""
        return f"{self.name}+{self.id.hex()}+{to_base64(bytes([self.type]) + self.key)}"

    @classmethod
    def from_text(cls, text: str) -> NoteKey:
        """Parse a verifier key.

        Raises:
            MalformedMessage: it is none, of another type, or its id is not the key's.
        """
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = from_base64(encoded, "verifier key")
        if not raw or raw[0] not in tuple(SignatureType):
            raise MalformedMessage(
                f"verifier key is of type {raw[:1].hex() or 'none'}, want 01 or 04"
            )
        key = cls(name=name, key=PublicKey(raw[1:]), type=SignatureType(raw[0]))
        if key.id.hex() != key_id:
            raise MalformedMessage(f"verifier key says id {key_id[:16]!r}, want {key.id.hex()}")
        return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature line. Nothing in it is checked yet."""

    name: str
    key_id: bytes
    signature: bytes

    def to_line(self) -> str:
        """Return the line, newline included."""
        return f"{_DASH}{self.name} {to_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedNote:
    """A text, its last newline included, and its signatures, of which none is checked yet."""

    unverified_text: str
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        """Return the note's file."""
        return f"{self.unverified_text}\n{''.join(s.to_line() for s in self.signatures)}".encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> SignedNote:
        """Parse a note.

        Raises:
            MalformedMessage: it is none, or has too many bytes or signatures.
        """
        if len(data) > MAX_NOTE:
            raise MalformedMessage(f"note has {len(data)} bytes, want at most {MAX_NOTE}")
        try:
            note = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise MalformedMessage("note is not utf-8") from error
        if any(character < " " and character != "\n" for character in note):
            raise MalformedMessage("note has a control character in it")
        # The last blank line: the text may have blank lines, too.
        text, blank, lines = note.rpartition("\n\n")
        if not blank or not lines.endswith("\n"):
            raise MalformedMessage("note is not a text, a blank line and lines of signatures")
        signatures = tuple(_parse_line(line) for line in lines[:-1].split("\n"))
        if len(signatures) > MAX_SIGNATURES:
            raise MalformedMessage(
                f"note has {len(signatures)} signatures, want at most {MAX_SIGNATURES}"
            )
        return cls(unverified_text=text + "\n", signatures=signatures)

    def verified_by(self, key: NoteKey) -> list[int]:
        """Return the times of the key's signatures, of which each holds; 0 where it has none.

        An empty list says that the key has not signed.

        Raises:
            MalformedMessage: a signature with the key's name and id does not hold.
        """
        own = [s for s in self.signatures if (s.name, s.key_id) == (key.name, key.id)]
        return [_verified_time(self.unverified_text, s.signature, key) for s in own]


def sign_note(text: str, name: str, private_key: Ed25519PrivateKey) -> Signature:
    """Return the signature of type 0x01 over a note's text, its last newline included."""
    key = NoteKey(name=name, key=public_key(private_key))
    return Signature(name=name, key_id=key.id, signature=private_key.sign(text.encode()))


def cosign_note(text: str, name: str, private_key: Ed25519PrivateKey, time: int) -> Signature:
    """Return a witness's signature of type 0x04 over a checkpoint's text.

    Whoever signs says: at `time` (Unix seconds) this was the largest tree of that log that I had
    seen, and consistent with all before. Whether it is, the caller has checked.

    Raises:
        ValueError: the time is below 0 or above 2^63 - 1 (a caller's bug).
    """
    if not 0 <= time <= MAX_TIME:
        raise ValueError(f"time is {time}, want 0 to {MAX_TIME}")
    key = NoteKey(name=name, key=public_key(private_key), type=SignatureType.COSIGNATURE)
    signature = private_key.sign(_cosigned(text, time))
    return Signature(name=name, key_id=key.id, signature=_TIME.pack(time) + signature)


def _cosigned(text: str, time: int) -> bytes:
    """Return what a witness signs: its own first line keeps it apart from every note's text."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _verified_time(text: str, signature: bytes, key: NoteKey) -> int:
    if key.type is SignatureType.COSIGNATURE:
        if len(signature) != _TIME.size + SIGNATURE_SIZE:
            raise MalformedMessage(f"cosignature of {key.name} has {len(signature)} bytes, want 72")
        (time,) = _TIME.unpack(signature[: _TIME.size])
        if time > MAX_TIME:
            raise MalformedMessage(f"cosignature of {key.name} is of a time above 2^63 - 1")
        _check_signature(signature[_TIME.size :], _cosigned(text, time), key)
        return int(time)
    _check_signature(signature, text.encode(), key)
    return 0


def _check_signature(signature: bytes, message: bytes, key: NoteKey) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise MalformedMessage(f"signature of {key.name} does not hold") from error


def _parse_line(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise MalformedMessage(
            f"signature line is {line[:80]!r}, want a dash, a name and base64, with spaces between"
        )
    _check_name(name)
    raw = from_base64(encoded, "signature")
    if len(raw) <= KEY_ID_SIZE:
        raise MalformedMessage(f"signature has {len(raw)} bytes, want its key's 4 and more")
    return Signature(name=name, key_id=raw[:KEY_ID_SIZE], signature=raw[KEY_ID_SIZE:])


def _check_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() or c < " " for c in name):
        raise MalformedMessage(f"key name is {name[:80]!r}, want one without spaces and plus signs")


def to_base64(data: bytes) -> str:
    """Return standard base64, as notes and checkpoints have it."""
    return base64.b64encode(data).decode()


def from_base64(text: str, what: str) -> bytes:
    """Return what standard base64 encodes; `what` it is, an error says.

    Raises:
        MalformedMessage: it is none, or another spelling of the same bytes.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedMessage(f"{what} is not base64") from error
    if to_base64(raw) != text:
        raise MalformedMessage(f"{what} is not base64 as it is written")
    return raw
