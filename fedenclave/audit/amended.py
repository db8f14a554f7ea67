"""Which manifests a reader trusts who trusts the newest: those that it has taken the place of.

Each names the one before by its digest. So the files themselves need not be trusted.

SPEC.md, section 11.7.
"""

from __future__ import annotations

from collections.abc import Iterable

from fedenclave.protocol.manifest import Manifest


def manifests_before(trusted: Manifest, files: Iterable[Manifest]) -> list[Manifest]:
    """Return the manifests before `trusted`, the oldest first, as far as `files` holds them."""
    by_digest = {manifest.digest: manifest for manifest in files}
    found: list[Manifest] = []
    before = trusted.continues
    while before is not None and before in by_digest:
        found.insert(0, by_digest.pop(before))
        before = found[0].continues
    return found
