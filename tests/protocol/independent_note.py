"""Signed notes once more, from the C2SP pages alone and with nothing of ours: a second opinion."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def key_id(name: str, kind: int, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:4]


def signatures(note: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return the text and each line's name and bytes."""
    at = note.rindex(b"\n\n")
    text, lines = note[: at + 1], note[at + 2 :].decode().splitlines()
    return text, [(line.split(" ")[1], base64.b64decode(line.split(" ")[2])) for line in lines]


def verify(note: bytes, name: str, kind: int, key: bytes) -> tuple[str, int, bytes, int]:
    """Return origin, size, root and time, or raise: the signature of one known key is checked."""
    text, lines = signatures(note)
    for who, raw in lines:
        if who != name or raw[:4] != key_id(name, kind, key):
            continue
        time = 0
        signed, signature = text, raw[4:]
        if kind == 4:
            time = int.from_bytes(raw[4:12], "big")
            signed = b"cosignature/v1\ntime " + str(time).encode() + b"\n" + text
            signature = raw[12:]
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
        origin, size, root = text.decode().split("\n")[:3]
        return origin, int(size), base64.b64decode(root), time
    raise KeyError(name)
