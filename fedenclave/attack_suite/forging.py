"""What a member can seal that keeps to none of a client's rules: it knows its own keys.

`simulation.cheating` has a client lie about its update; here every field of the header, the keys
and the chunks are the attacker's choice.

SPEC.md, section 8.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.protocol.hpke import cipher_suite, load_public_key, update_info
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.sealed_update import (
    CONTENT_KEY_SIZE,
    Envelope,
    chunk_nonce,
    frame,
    private_header,
    sealed_size,
)
from fedenclave.protocol.signing import Signed, signing_input, statement_digest
from fedenclave.protocol.statements import NO_DATA, VERSION, Announcement, UpdateHeader
from fedenclave.protocol.tensors import Schema


def announced(signed: bytes) -> Announcement:
    """Return a signed announcement's content, which the attacker has no need to verify."""
    return Announcement.from_bytes(Signed.from_bytes(signed).payload)


def header_for(
    name: str, manifest: Manifest, schema: Schema, announcement_signed: bytes, /, **changes: Any
) -> UpdateHeader:
    """Return the header of client `name`'s update for a round, with `changes`."""
    announcement = announced(announcement_signed)
    header = UpdateHeader(
        version=VERSION,
        federation=manifest.name,
        manifest=manifest.digest,
        round=announcement.round,
        announcement=statement_digest(announcement_signed),
        base_model=announcement.base_model,
        client=name,
        data=NO_DATA,
        schema=schema.digest,
        sealed_size=sealed_size(schema, len(manifest.rules.reported)),
        checkpoint=announcement.checkpoint,
    )
    return replace(header, **changes)


def forge(
    header: UpdateHeader,
    announcement: Announcement,
    payload: bytes,
    schema: Schema,
    signer: Ed25519PrivateKey,
    *,
    num_examples: int = 1,
    metrics: Sequence[float] = (),
    content_key: bytes | None = None,
) -> bytes:
    """Return any payload sealed under any header, signed by any key.

    Args:
        header: as it shall be read.
        announcement: of the round whose key it is sealed to.
        payload: cut into chunks as the schema says, whatever its length.
        schema: of the model.
        signer: signs header and wrapped key.
        num_examples: 0 to 2^64 - 1.
        metrics: sealed beside it, as many as one likes.
        content_key: what is wrapped, also of a length that no cipher takes; None for a new one.
    """
    key = content_key if content_key is not None else os.urandom(CONTENT_KEY_SIZE)
    encoded = header.to_bytes()
    public = load_public_key(announcement.suite, announcement.public_key)
    wrapped = cipher_suite(announcement.suite).encrypt(key, public, info=update_info(encoded))
    unsigned = Envelope(header=encoded, wrapped_key=wrapped, signature=b"")
    return signed_frame(unsigned, signer) + b"".join(
        seal_chunks(key, payload, schema, num_examples, metrics)
    )


def signed_frame(envelope: Envelope, signer: Ed25519PrivateKey) -> bytes:
    """Return what comes before the chunks, signed by `signer`."""
    signature = signer.sign(signing_input(UpdateHeader.TYPE, envelope.signed_payload()))
    return frame(replace(envelope, signature=signature))


def seal_chunks(
    key: bytes, payload: bytes, schema: Schema, num_examples: int, metrics: Sequence[float] = ()
) -> Iterator[bytes]:
    """Yield the sealed chunks; under a key of zeros where `key` is of no length that AES has."""
    cipher = AESGCM(key if len(key) == CONTENT_KEY_SIZE else bytes(CONTENT_KEY_SIZE))
    private = private_header(len(metrics)).pack(num_examples, *metrics)
    yield cipher.encrypt(chunk_nonce(0, last=False), private, None)
    for number, chunk in enumerate(schema.chunks, start=1):
        plain = payload[chunk.offset : chunk.offset + chunk.size]
        nonce = chunk_nonce(number, last=number == len(schema.chunks))
        yield cipher.encrypt(nonce, plain, None)
