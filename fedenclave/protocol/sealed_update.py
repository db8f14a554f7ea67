"""The sealed update as bytes: where everything lies. Neither seals nor opens.

    "FEU1" ‖ length (4 bytes) ‖ envelope ‖ chunk 0 ‖ chunk 1 ‖ ...

The envelope holds the client's header, the wrapped content key and the client's signature over
both. Chunk 0 is the private header (`num_examples` and
the metrics that the manifest asks for), the others are the schema's chunks; each is
AES-256-GCM under the content key, its nonce made of its number and a last flag (STREAM).

SPEC.md, section 8.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fedenclave.protocol.codec import encode
from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import PublicKey, signature_holds
from fedenclave.protocol.statements import UpdateHeader
from fedenclave.protocol.tensors import Schema

MAGIC = b"FEU1"
TAG_SIZE = 16
CONTENT_KEY_SIZE = 32
MAX_EXAMPLES = 2**63
"""More than any data set has, and within the private header's 64 bits."""

MAX_ENVELOPE = 64 * 1024
_LENGTH = struct.Struct(">I")
HEAD_SIZE = len(MAGIC) + _LENGTH.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope(Record):
    """Header, wrapped content key and signature, as they travel. Nothing in it is checked."""

    MAX_SIZE: ClassVar[int] = MAX_ENVELOPE

    header: bytes
    wrapped_key: bytes
    signature: bytes

    @property
    def digest(self) -> Digest:
        """The digest by which receipts and releases name this update."""
        return domain_digest("sealed-update", self.to_bytes())

    def signed_payload(self) -> bytes:
        """Return what the client signs: the header and the wrapped key, each with its length."""
        return encode([self.header, self.wrapped_key])

    def verified_header(self, key: PublicKey) -> UpdateHeader:
        """Return the header after the client's signature has been checked.

        Raises:
            MalformedMessage: the signature does not hold, or the header does not decode.
        """
        if not signature_holds(UpdateHeader.TYPE, self.signed_payload(), self.signature, key):
            raise MalformedMessage("signature of the update does not hold")
        return UpdateHeader.from_bytes(self.header)

    def unverified_header(self) -> UpdateHeader:
        """Return the header as it claims to be, to find whose key to check it with.

        Raises:
            MalformedMessage: it does not decode.
        """
        return UpdateHeader.from_bytes(self.header)


def frame(envelope: Envelope) -> bytes:
    """Return what comes before the chunks."""
    encoded = envelope.to_bytes()
    return MAGIC + _LENGTH.pack(len(encoded)) + encoded


def envelope_size(head: bytes) -> int:
    """Return the envelope's length from the first HEAD_SIZE bytes.

    Raises:
        MalformedMessage: they do not begin a sealed update.
    """
    if len(head) != HEAD_SIZE or head[: len(MAGIC)] != MAGIC:
        raise MalformedMessage("not a sealed update: it does not begin with FEU1")
    (size,) = _LENGTH.unpack(head[len(MAGIC) :])
    if not 0 < size <= MAX_ENVELOPE:
        raise MalformedMessage(f"envelope has {size} bytes, want 1 to {MAX_ENVELOPE}")
    return int(size)


def read_envelope(sealed: bytes | memoryview) -> Envelope:
    """Return the envelope of a whole sealed update.

    Raises:
        MalformedMessage: it is not one.
    """
    size = envelope_size(bytes(sealed[:HEAD_SIZE]))
    return Envelope.from_bytes(bytes(sealed[HEAD_SIZE : HEAD_SIZE + size]))


def private_header(metrics: int) -> struct.Struct:
    """Return the layout of `num_examples` and `metrics` float64.

    Of fixed length, so that the ciphertext does not show any magnitude.
    """
    return struct.Struct(f">Q{metrics}d")


def sealed_size(schema: Schema, metrics: int = 0) -> int:
    """Return the bytes of all sealed chunks together, without what comes before them.

    Args:
        schema: of the payload.
        metrics: how many metrics the manifest asks for (`Rules.reported`).
    """
    chunks = len(schema.chunks) + 1
    return private_header(metrics).size + schema.payload_size + TAG_SIZE * chunks


def chunk_offsets(schema: Schema, metrics: int = 0) -> Sequence[int]:
    """Return where each sealed chunk begins, counted from the first; the private header is 0."""
    offsets = [0]
    position = private_header(metrics).size + TAG_SIZE
    for chunk in schema.chunks:
        offsets.append(position)
        position += chunk.size + TAG_SIZE
    return offsets


def chunk_nonce(number: int, *, last: bool) -> bytes:
    """Return the 12-byte nonce of a chunk: seven zero bytes, its number, the last flag.

    The zero prefix is safe because a content key seals one update and nothing else.
    Construction: Hoang, Reyhanitabar, Rogaway, Vizár 2015 (STREAM).
    """
    return bytes(7) + number.to_bytes(4, "big") + bytes([last])
