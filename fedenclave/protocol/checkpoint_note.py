"""A checkpoint of the log as a signed note, so that witnesses of other logs can cosign it.

The text is three lines: the log's origin, the number of entries, the root in base64. The origin is
also the name of the enclave's key. No text of a note is what a statement's signature is over: that
begins with `fedenclave/sig/` and has a zero byte in it, which no note may have.

Source: C2SP tlog-checkpoint and tlog-cosignature. SPEC.md, section 7.3.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.protocol.digests import DIGEST_SIZE, Digest, sha256
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.signed_note import (
    NoteKey,
    SignatureType,
    SignedNote,
    cosign_note,
    from_base64,
    sign_note,
    to_base64,
)
from fedenclave.protocol.statements import Checkpoint

_SIZE = re.compile(r"0|[1-9][0-9]{0,19}")
_KEY_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedCheckpoint:
    """What a verified note says, and who has seen it: a witness's name and its newest time.

    `extensions` are further lines of the text, which the log's key signed and nobody vouches for.
    """

    origin: str
    checkpoint: Checkpoint
    extensions: tuple[str, ...]
    witnesses: dict[str, int]


def log_origin(federation: str, enclave: bytes) -> str:
    """Return the name of an enclave's log: its federation, and 16 digits of its key's SHA-256."""
    return f"fedenclave/{federation}/{sha256(enclave).hex()[:_KEY_DIGITS]}"


def witness_key(text: str) -> NoteKey:
    """Parse a witness's verifier key.

    Raises:
        MalformedMessage: it is none, or of a key that signs something else than cosignatures.
    """
    key = NoteKey.from_text(text)
    if key.type is not SignatureType.COSIGNATURE:
        raise MalformedMessage(
            f"verifier key of {key.name} is of type {key.type:02x}, want 04",
            hint="a witness's key for its own notes or its own log is another key to C2SP",
        )
    return key


def checkpoint_text(checkpoint: Checkpoint, origin: str) -> str:
    """Return the three lines that are signed."""
    return f"{origin}\n{checkpoint.size}\n{to_base64(checkpoint.root)}\n"


def sign_checkpoint(checkpoint: Checkpoint, origin: str, private_key: Ed25519PrivateKey) -> bytes:
    """Return the signed note of a checkpoint. That the log has this root, the caller knows.

    Raises:
        MalformedMessage: the origin is no name of a key.
    """
    text = checkpoint_text(checkpoint, origin)
    signature = sign_note(text, origin, private_key)
    return SignedNote(unverified_text=text, signatures=(signature,)).to_bytes()


def cosign_checkpoint(
    note: bytes, log_key: NoteKey, name: str, private_key: Ed25519PrivateKey, time: int
) -> bytes:
    """Return the note with a witness's cosignature added; the log's signature is checked first.

    That the checkpoint continues the last one of this log, the witness must have checked
    (`merkle.consistent`).

    Raises:
        MalformedMessage: the note is no checkpoint that the log has signed.
    """
    verify_checkpoint(note, log_key)
    parsed = SignedNote.from_bytes(note)
    signature = cosign_note(parsed.unverified_text, name, private_key, time)
    return replace(parsed, signatures=(*parsed.signatures, signature)).to_bytes()


def verify_checkpoint(
    note: bytes, log_key: NoteKey, witnesses: Sequence[NoteKey] = ()
) -> NotedCheckpoint:
    """Return what a note says after the signatures of all known keys in it have been checked.

    How many witnesses are enough, and how old their times may be, is for the caller to judge.

    Args:
        note: the signed note.
        log_key: the log's key, whose name is the log's origin.
        witnesses: keys of type COSIGNATURE that the caller trusts.

    Raises:
        MalformedMessage: it is no checkpoint, is another log's, the log has not signed it, or a
            known key's signature does not hold.
        ValueError: a witness's key is of another type, or two have one name (a caller's bug).
    """
    if any(witness.type is not SignatureType.COSIGNATURE for witness in witnesses):
        raise ValueError("witness key is of another type, want COSIGNATURE")
    if len({witness.name for witness in witnesses}) != len(witnesses):
        raise ValueError("two witnesses have one name")
    parsed = SignedNote.from_bytes(note)
    if not parsed.verified_by(log_key):
        raise MalformedMessage(
            f"note has no signature of {log_key.name}",
            hint="it is of another log, or of another enclave of this federation",
        )
    seen = {witness.name: parsed.verified_by(witness) for witness in witnesses}
    origin, checkpoint, extensions = _parse_text(parsed.unverified_text)
    if origin != log_key.name:
        raise MalformedMessage(f"checkpoint is of {origin[:80]!r}, want {log_key.name!r}")
    return NotedCheckpoint(
        origin=origin,
        checkpoint=checkpoint,
        extensions=extensions,
        witnesses={name: max(times) for name, times in seen.items() if times},
    )


def _parse_text(text: str) -> tuple[str, Checkpoint, tuple[str, ...]]:
    lines = text[:-1].split("\n")
    if len(lines) < 3 or not all(lines):
        raise MalformedMessage(f"checkpoint has {len(lines)} lines, want 3 or more, none empty")
    origin, size, root, *extensions = lines
    if _SIZE.fullmatch(size) is None or int(size) >= 2**64:
        raise MalformedMessage(f"checkpoint's size is {size[:40]!r}, want a decimal number")
    digest = from_base64(root, "checkpoint's root")
    if len(digest) != DIGEST_SIZE:
        raise MalformedMessage(f"checkpoint's root has {len(digest)} bytes, want {DIGEST_SIZE}")
    return origin, Checkpoint(size=int(size), root=Digest(digest)), tuple(extensions)
