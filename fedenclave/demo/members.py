"""The members of a demonstration's federation: their folders, their approvals, their receipts.

Each member has the folder that a real one has, with keys that it makes itself. Only the ways
between the folders are short.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedenclave.attestation.endorsements import read_endorsements
from fedenclave.audit.folder import JudgedFile, judge_files
from fedenclave.client.files import write_whole
from fedenclave.client.folder import ClientFolder
from fedenclave.client.identity import Identity
from fedenclave.host.enclave_process import measure_enclave
from fedenclave.membership.enrolment import Enrolment, roster_of
from fedenclave.membership.first_model import read_first_model
from fedenclave.protocol.digests import Digest, from_text
from fedenclave.protocol.manifest import Manifest, Rules
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.statements import Suite


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Who they are, and where: `folder`/`place`/NAME is a member's own folder."""

    folder: Path
    place: str
    names: tuple[str, ...]

    def folder_of(self, name: str) -> ClientFolder:
        """Return a member's own folder."""
        return ClientFolder(self.folder / self.place / name)

    def enrol(self) -> list[Enrolment]:
        """Make every member's keys in its own folder."""
        enrolments = []
        for name in self.names:
            identity = Identity(client=f"{name}-1", member=name)
            client = ClientFolder.create(self.folder / self.place / name, identity)
            client_key, member_key = client.public_keys()
            enrolments.append(
                Enrolment(
                    client=f"{name}-1", member=name, client_key=client_key, member_key=member_key
                )
            )
        return enrolments

    def agree(
        self,
        name: str,
        enrolments: Sequence[Enrolment],
        rules: Rules,
        first_model: Path,
        *,
        attestation: str = "",
    ) -> Manifest:
        """Write the manifest, have every member approve it, and hand round the approvals.

        Args:
            name: the federation's.
            enrolments: the members'.
            rules: how updates are admitted and averaged.
            first_model: the .npz file with the first parameters.
            attestation: text of the [attestation] tables; empty for development mode.
        """
        members, clients = roster_of(enrolments)
        first = read_first_model(first_model)
        source = write_manifest(
            ManifestDraft(
                name=name,
                threshold=len(members),
                development=False,
                members=members,
                clients=clients,
                freshness_seconds=600,
                insecure_measurements=[] if attestation else [_own_measurement()],
                suite=Suite.HYBRID,
                schema=first.schema.digest,
                initial_model=first.digest(),
                rules=rules,
                attestation=attestation,
            )
        )
        manifest_file = self.folder / "federation.toml"
        write_whole(manifest_file, source)
        write_whole(self.folder / "first-model.fem", first.to_bytes())
        self._approve(manifest_file)
        return Manifest.from_bytes(source)

    def receipts(self) -> dict[str, list[JudgedFile]]:
        """Verify every member's receipts as an auditor would: from the files alone."""
        found = {}
        for name in self.names:
            own = self.folder_of(name)
            manifest = own.manifest()
            endorsements = read_endorsements(own.path, manifest)
            found[name] = judge_files(own.receipts(), manifest, endorsements)
        return found

    def _approve(self, manifest_file: Path) -> None:
        approvals = [self.folder_of(name).approve(manifest_file) for name in self.names]
        shared = self.folder / "approvals"
        shared.mkdir()
        for path in approvals:
            data = path.read_bytes()
            write_whole(shared / path.name, data)
            for name in self.names:
                self.folder_of(name).add_approval(data)


def _own_measurement() -> Digest:
    """Return what the members' own copy of the enclave's code measures."""
    return from_text(str(json.loads(measure_enclave())["measurement"]))
