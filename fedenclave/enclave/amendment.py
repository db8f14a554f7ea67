"""Go on under another manifest: other members, other clients, other rules, the same history.

Rules:
  * Enough of the members before must have approved it, and enough of those after.
  * It names the manifest that it takes the place of: one that was replaced does not come back.
  * Federation, tensors and first model stay. The log goes on, and says so.
  * A client's name is one member's for ever: the guard remembers releases by names.

SPEC.md, section 11.7.
"""

from __future__ import annotations

from collections.abc import Sequence

from fedenclave.enclave.agreed import Agreed
from fedenclave.enclave.federation import Federation
from fedenclave.enclave.sealing.sealer import Sealer
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.manifest import MAX_CLIENTS, Manifest, changing_members

MAX_EVER = 4 * MAX_CLIENTS
"""Clients that a federation can have had: all are in every snapshot of its state."""


def amended(
    federation: Federation,
    agreed: Agreed,
    approvals: Sequence[bytes],
    sealer: Sealer | None,
    time: int,
) -> tuple[Federation, bytes]:
    """Return the federation under the manifest of `agreed`, and the signed amendment.

    Args:
        federation: between two rounds; it must not be used any more.
        agreed: the manifest after, approved by enough of its own members.
        approvals: of it, by the members before.
        sealer: for the state from now on.
        time: the host's clock.

    Raises:
        RequestRefused: it does not take the place of this federation's manifest, or too few of the
            members before approve it; or the rule is none of this image's.
    """
    check_change(federation.manifest, agreed.manifest)
    known = federation.owner_of
    moved = [c.name for c in agreed.manifest.clients if known.get(c.name, c.member) != c.member]
    if moved or len(known.keys() | agreed.manifest.roster.keys()) > MAX_EVER:
        raise RequestRefused(Refusal.MANIFEST)
    before = federation.manifest
    letting = changing_members(before, agreed.manifest, approvals)
    if len(letting) < before.threshold:
        raise RequestRefused(Refusal.NOT_APPROVED)
    after = federation.continued(agreed, sealer)
    let_by = tuple(sorted(letting))
    return after, after.announce_amendment(before.digest, agreed.approved_by, let_by, time)


def check_change(before: Manifest, after: Manifest) -> None:
    """Refuse a manifest that cannot follow `before`.

    Raises:
        RequestRefused: it names another, or changes what must stay.
    """
    stays = [
        (manifest.name, manifest.development, manifest.schema, manifest.initial_model)
        for manifest in (before, after)
    ]
    if after.continues != before.digest or stays[0] != stays[1]:
        raise RequestRefused(Refusal.MANIFEST)
