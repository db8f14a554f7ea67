"""What a federation begins with: what its members have agreed on, and what the process lends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedenclave.enclave.attesters.attester import Attester
from fedenclave.enclave.secret_memory import KeySlots, SecretMemory
from fedenclave.enclave.workers import Workers
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.manifest import Manifest, approving_members
from fedenclave.protocol.tensors import Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """What the members have agreed on, checked by `agreed`."""

    manifest: Manifest
    schema: Schema
    approved_by: tuple[str, ...]
    """Members whose approvals hold, by name: all of whom one was handed over."""


def agreed(manifest: Manifest, approvals: Sequence[bytes], schema: Schema) -> Agreed:
    """Return manifest and schema, where enough members approve the one and it names the other.

    Raises:
        RequestRefused: they do not, or it names another.
    """
    approving = approving_members(manifest, approvals)
    if len(approving) < manifest.threshold:
        raise RequestRefused(Refusal.NOT_APPROVED)
    if schema.digest != manifest.schema:
        raise RequestRefused(
            Refusal.WRONG_MODEL, hint="the model's schema is not the one the manifest names"
        )
    return Agreed(manifest=manifest, schema=schema, approved_by=tuple(sorted(approving)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lent:
    """What the process lends to its one federation."""

    attester: Attester
    workers: Workers
    slots: KeySlots
    memory: SecretMemory
