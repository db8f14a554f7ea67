"""A federation whose members change their manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attack_suite.world import FIRST, SCHEMA
from fedenclave.client.session import ClientSession
from fedenclave.client.state import MemoryStore
from fedenclave.protocol.digests import Digest, from_text
from fedenclave.protocol.manifest import Client, Manifest, Member
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.signing import public_key, sign
from fedenclave.protocol.statements import VERSION, Approval, Suite
from tests.attacks.world import World, measurement


class ChangingWorld(World):
    """Its host keeps the older manifests, and its clients theirs."""

    def __init__(self, folder: Path, owners: Mapping[str, str] | None = None, **rules: Any) -> None:
        self.former: list[tuple[Manifest, tuple[bytes, ...]]] = []
        super().__init__(folder, owners, **rules)

    def draft(self, owners: Mapping[str, str], **changes: Any) -> Manifest:
        """Return a manifest that takes the place of this one, with other clients or rules."""
        for name in owners:
            self.keys.setdefault(name, Ed25519PrivateKey.generate())
        for member in owners.values():
            self.members.setdefault(member, Ed25519PrivateKey.generate())
        given = {
            "name": self.manifest.name,
            "threshold": len({*owners.values()}),
            "development": True,
            "continues": self.manifest.digest,
            "schema": SCHEMA.digest,
            "initial_model": FIRST.digest(),
            "rules": replace(self.manifest.rules, **changes.pop("rules", {})),
        }
        members = sorted({*owners.values()})
        draft = ManifestDraft(
            members=[Member(name=n, key=public_key(self.members[n])) for n in members],
            clients=[
                Client(name=n, member=m, key=public_key(self.keys[n])) for n, m in owners.items()
            ],
            freshness_seconds=3600,
            insecure_measurements=[from_text(measurement())],
            suite=Suite.X25519,
            **{**given, **changes},
        )
        return Manifest.from_bytes(write_manifest(draft))

    def approval(self, manifest: Manifest, member: str) -> bytes:
        """Return a member's approval of a manifest."""
        statement = Approval(
            version=VERSION, federation=manifest.name, manifest=manifest.digest, member=member
        )
        return sign(statement, self.members[member])

    def amend(self, manifest: Manifest, approving: Sequence[str] | None = None) -> None:
        """Start the aggregator anew under another manifest, and give its clients theirs.

        Raises:
            FedEnclaveError: the enclave, or the host, does not take it up.
        """
        names = sorted(self.members) if approving is None else approving
        approvals = [self.approval(manifest, name) for name in names]
        before = self.manifest, self.approvals
        self.manifest, self.approvals = manifest, approvals
        try:
            self.start()
        except BaseException:
            self.manifest, self.approvals = before
            raise
        self.former.append((before[0], tuple(before[1])))
        for name in manifest.roster:
            self.stores.setdefault(name, MemoryStore())
        self.sessions = {name: self.session(name) for name in manifest.roster}

    def session(self, name: str) -> ClientSession:
        """See `World`."""
        return ClientSession(
            manifest=self.manifest,
            approvals=self.approvals,
            name=name,
            key=self.keys[name],
            store=self.stores[name],
            former=self.former,
        )


ZERO = Digest(bytes(32))
