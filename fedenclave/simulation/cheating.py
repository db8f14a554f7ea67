"""A client that cheats: it knows its own key, and seals without any of a client's checks.

For experiments on what an enclave's rules hold off. What such a client can do, any member of a real
federation can do too: its client's process is its own.

SPEC.md, section 8; THREAT_MODEL.md, T9.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.client.reported import NO_METRICS
from fedenclave.client.session import AcceptedRound, ClientSession
from fedenclave.protocol.sealing import seal_update


def seal_unchecked(
    session: ClientSession,
    key: Ed25519PrivateKey,
    accepted: AcceptedRound,
    update: bytes | bytearray,
    num_examples: int,
    metrics: Mapping[str, float] = NO_METRICS,
) -> bytes:
    """Return `update` sealed as it is: NaN, enormous, or with examples that nobody has.

    The session remembers nothing of it, so it awaits no receipt.

    Args:
        session: the cheating client's.
        key: with which that client signs.
        accepted: the round to cheat in.
        update: the flat payload to be added to the base model; not the model after training.
        num_examples: 0 to 2^64 - 1.
        metrics: every one that the manifest asks for, of any value.

    Raises:
        ValueError: the update does not fit the base model's schema.
    """
    announcement, schema = accepted.announcement, accepted.base.schema
    reported = [metrics[name] for name in session.manifest.rules.reported]
    return bytes(
        seal_update(
            update=update,
            num_examples=num_examples,
            schema=schema,
            header=session.header_for(accepted),
            suite=announcement.suite,
            round_key=announcement.public_key,
            signing_key=key,
            metrics=reported,
        )
    )
