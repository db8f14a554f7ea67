"""The header of an update: which round it is for, and what its client says of its data.

SPEC.md, section 13.8.
"""

from __future__ import annotations

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.sealed_update import sealed_size
from fedenclave.protocol.signing import Signed, statement_digest
from fedenclave.protocol.statements import VERSION, Announcement, Checkpoint, UpdateHeader
from fedenclave.protocol.tensors import Schema


def header_of_update(
    client: str,
    manifest: Manifest,
    schema: Schema,
    announced: bytes,
    held: Checkpoint,
    data: Digest,
) -> UpdateHeader:
    """Return the header of a client's update for a round.

    Args:
        client: its name.
        manifest: the approved one.
        schema: the base model's.
        announced: the signed announcement, which the caller has checked.
        held: the checkpoint to present.
        data: digest of the data trained on, or `NO_DATA`.
    """
    announcement = Announcement.from_bytes(Signed.from_bytes(announced).payload)
    return UpdateHeader(
        version=VERSION,
        federation=manifest.name,
        manifest=manifest.digest,
        round=announcement.round,
        announcement=statement_digest(announced),
        base_model=announcement.base_model,
        client=client,
        data=data,
        schema=schema.digest,
        sealed_size=sealed_size(schema, len(manifest.rules.reported)),
        checkpoint=held,
    )
