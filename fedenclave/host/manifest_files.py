"""The manifests that this federation has been under, one folder each: file and approvals.

Which one is in force is in the head of the newest segment of the enclave's sealed state. Auditors
need the older ones, too: receipts and log entries name the manifest of their time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.manifest import Manifest, approving_members, changing_members
from fedenclave.protocol.segment import SegmentHead, entries

_MANIFEST = "federation.toml"
_DIGITS = 16

Agreement = tuple[bytes, tuple[bytes, ...]]
"""A manifest, and the members' approvals of it."""


class ManifestFiles:
    """The manifests in a folder."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, made when something is kept."""
        self._folder = folder

    def _of(self, digest: Digest) -> Path:
        return self._folder / digest.hex()[:_DIGITS]

    def keep(self, manifest: bytes, approvals: Sequence[bytes]) -> None:
        """Keep a manifest with its approvals, where they are not there yet.

        Raises:
            OSError: they cannot be written.
        """
        folder = self._of(domain_digest("manifest", manifest))
        folder.mkdir(parents=True, exist_ok=True)
        for number, approval in enumerate(approvals):
            (folder / f"{number:04d}.approval").write_bytes(approval)
        (folder / _MANIFEST).write_bytes(manifest)

    def in_force(self, segment: Path | None, wanted: Agreement) -> Agreement:
        """Return what the state is under: `wanted`, or the manifest that it takes the place of.

        What is neither is for the enclave to refuse.

        Raises:
            ConfigurationError: `wanted` cannot take its place.
            OSError: a file cannot be read.
        """
        digest = _sealed_under(segment) if segment is not None else None
        before = self._kept(digest) if digest is not None else None
        if before is None or before[0] == wanted[0]:
            return wanted
        if Manifest.from_bytes(wanted[0]).continues != digest:
            return wanted
        _check_follows(Manifest.from_bytes(before[0]), *wanted)
        return before

    def _kept(self, digest: Digest) -> Agreement | None:
        folder = self._of(digest)
        path = folder / _MANIFEST
        if not path.exists() or domain_digest("manifest", path.read_bytes()) != digest:
            return None
        approvals = sorted(folder.glob("*.approval"))
        return path.read_bytes(), tuple(each.read_bytes() for each in approvals)


def _sealed_under(segment: Path) -> Digest | None:
    with segment.open("rb") as file:
        beginning = file.read(SegmentHead.MAX_SIZE + 64)
    try:
        head = next(iter(entries(beginning)))
        return SegmentHead.from_bytes(head.data).manifest
    except (MalformedMessage, StopIteration):
        return None  # the enclave says what is wrong with it


def _check_follows(before: Manifest, source: bytes, approvals: Sequence[bytes]) -> None:
    """Say what is missing before a round is aborted for it; the enclave checks it, too."""
    after = Manifest.from_bytes(source)
    for manifest, agreeing, whose in (
        (before, changing_members(before, after, approvals), "before"),
        (after, approving_members(after, approvals), "after"),
    ):
        if len(agreeing) < manifest.threshold:
            raise ConfigurationError(
                f"the new manifest is approved by {len(agreeing)} of the members {whose} the "
                f"change, want {manifest.threshold}",
                hint="collect their approvals of exactly this file; until then the old one stays",
            )
