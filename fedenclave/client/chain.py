"""Follow the chain of releases from the agreed first model (T8).

SPEC.md, section 13.5.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fedenclave.client.state import ClientState
from fedenclave.protocol.digests import Digest, equal, to_text
from fedenclave.protocol.errors import EnclaveRefused
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import PublicKey, verify
from fedenclave.protocol.statements import Release


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest released model that the chain leads to, and its round."""

    round: int
    model: Digest


def follow_chain(
    state: ClientState,
    releases: Sequence[bytes],
    key: PublicKey,
    manifest: Manifest,
    approved: Collection[Digest] = (),
) -> Head:
    """Return the chain's head after `releases`; each must build on the one before.

    Args:
        state: what the client holds: its head may be the agreed first model.
        releases: signed releases in order; those up to the head's round are skipped.
        key: the appraised enclave's key.
        manifest: the approved manifest.
        approved: others that a release may be under, which this client's owner has approved.

    Raises:
        MalformedMessage: a release does not decode or its signature does not hold.
        EnclaveRefused: a link is missing, of another manifest, or out of order.
    """
    head = Head(round=state.head_round, model=state.head_model)
    for signed in releases:
        release = verify(Release, signed, key)
        rules = (manifest.digest, *state.former, *approved)
        if release.manifest not in rules or release.federation != manifest.name:
            raise EnclaveRefused("a release in the chain is of another manifest")
        if release.round <= head.round:
            continue
        if not equal(release.base_model, head.model):
            raise EnclaveRefused(
                f"release of round {release.round} builds on {to_text(release.base_model)}, "
                f"want {to_text(head.model)}",
                hint="a link of the chain is missing or another history is offered",
            )
        head = Head(round=release.round, model=release.model)
    return head
