"""Seal an update to a round's key: the client's side.

Whoever calls this has appraised the enclave and checked the announcement first: the key to seal
to is only to be had from `fedenclave.client.session`.

SPEC.md, sections 8 and 13.8.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.hpke import cipher_suite, load_public_key, update_info
from fedenclave.protocol.sealed_update import (
    CONTENT_KEY_SIZE,
    TAG_SIZE,
    Envelope,
    private_header,
)
from fedenclave.protocol.signing import Signer, signing_input
from fedenclave.protocol.statements import Suite, UpdateHeader
from fedenclave.protocol.tensors import Schema


def seal_update(
    *,
    update: bytes | bytearray | memoryview,
    num_examples: int,
    schema: Schema,
    header: UpdateHeader,
    suite: Suite,
    round_key: bytes,
    signing_key: Signer,
    metrics: Sequence[float] = (),
) -> bytearray:
    """Return the sealed update.

    Args:
        update: the flat payload to seal, `schema.payload_size` bytes.
        num_examples: how many examples it was trained on; sealed inside.
        schema: the payload's layout.
        header: what the update is for; `header.sealed_size` must be the schema's.
        suite: the announcement's HPKE suite.
        round_key: the announcement's raw public key.
        signing_key: the client's Ed25519 key.
        metrics: those that the manifest asks for, in the order of `Rules.reported`; sealed inside.

    Raises:
        ValueError: the payload, the count or the header do not fit the schema.
        MalformedMessage: `round_key` is not a key of `suite`.
    """
    size = layout.sealed_size(schema, len(metrics))
    if len(update) != schema.payload_size or header.sealed_size != size:
        raise ValueError("update or header does not fit the schema")
    private = private_header(len(metrics)).pack(num_examples, *metrics)
    encoded_header = header.to_bytes()
    content_key = os.urandom(CONTENT_KEY_SIZE)
    wrapped_key = cipher_suite(suite).encrypt(
        content_key, load_public_key(suite, round_key), info=update_info(encoded_header)
    )
    envelope = Envelope(header=encoded_header, wrapped_key=wrapped_key, signature=b"")
    signature = signing_key.sign(signing_input(UpdateHeader.TYPE, envelope.signed_payload()))
    head = layout.frame(
        Envelope(header=encoded_header, wrapped_key=wrapped_key, signature=signature)
    )
    sealed = bytearray(len(head) + header.sealed_size)
    sealed[: len(head)] = head
    _seal_chunks(memoryview(sealed)[len(head) :], content_key, private, update, schema)
    return sealed


def _seal_chunks(
    into: memoryview,
    content_key: bytes,
    private: bytes,
    update: bytes | bytearray | memoryview,
    schema: Schema,
) -> None:
    cipher, plain = AESGCM(content_key), memoryview(update)
    position = len(private) + TAG_SIZE
    cipher.encrypt_into(layout.chunk_nonce(0, last=False), private, None, into[:position])
    last = len(schema.chunks)
    for number, chunk in enumerate(schema.chunks, start=1):
        end = position + chunk.size + TAG_SIZE
        cipher.encrypt_into(
            layout.chunk_nonce(number, last=number == last),
            plain[chunk.offset : chunk.offset + chunk.size],
            None,
            into[position:end],
        )
        position = end
