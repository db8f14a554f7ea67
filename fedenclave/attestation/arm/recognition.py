"""Tell an Arm token by the labels of its claims, without judging it."""

from __future__ import annotations

from fedenclave.attestation.cbor import decode, decode_tagged
from fedenclave.attestation.cose import MAC0_TAG, SIGN1_TAG
from fedenclave.protocol.errors import MalformedMessage

MAX_TOKEN = 32 * 1024


def token_labels(data: bytes) -> frozenset[int]:
    """Return the labels of the claims in a COSE_Sign1 or COSE_Mac0; empty if it is neither."""
    try:
        _, value = decode_tagged(data, "token", max_size=MAX_TOKEN, tags=(SIGN1_TAG, MAC0_TAG))
        if type(value) is not list or len(value) != 4 or type(value[2]) is not bytes:
            return frozenset()
        claims = decode(value[2], "claims", max_size=MAX_TOKEN)
    except MalformedMessage:
        return frozenset()
    labels = claims if type(claims) is dict else ()
    return frozenset(label for label in labels if type(label) is int)
