"""A cohort over several enclaves, without processes: real federations, rounds and sealed bytes.

The host is whoever runs the test: it carries every message, and may carry another one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.agreed import Lent, agreed
from fedenclave.enclave.federation import Federation
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.sealing.sealer import Sealer
from fedenclave.enclave.secret_memory import KeySlots, SecretMemory
from fedenclave.enclave.workers import Workers
from fedenclave.protocol.digests import Digest, from_text
from fedenclave.protocol.frames import Closed, ShardPapers
from fedenclave.protocol.manifest import Client, Manifest, Member, Rules
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.sealed_update import sealed_size
from fedenclave.protocol.sealing import seal_update
from fedenclave.protocol.signing import Signed, public_key, sign, statement_digest
from fedenclave.protocol.statements import (
    NO_DATA,
    VERSION,
    Announcement,
    Approval,
    CohortReport,
    Peers,
    Release,
    Suite,
    UpdateHeader,
)
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.cohort import memory_file

ORGANISATIONS = ("alpha", "beta", "gamma")
OWNERS = {f"c{n:02d}": ORGANISATIONS[n % 3] for n in range(24)}
"""Client 0 is alpha's, 1 beta's, 2 gamma's, 3 alpha's again: any six in a row are two of each."""

SCHEMA = schema_of(
    {
        "wide": np.zeros(70_000, np.float32),
        "half": np.zeros(31, np.float16),
        "double": np.zeros(7, np.float64),
        "count": np.zeros(5, np.int64),
    }
)
FIRST = Model(
    schema=SCHEMA,
    payload=bytes(
        pack(
            SCHEMA,
            {
                "wide": np.linspace(-1, 1, 70_000, dtype=np.float32),
                "half": np.full(31, 0.5, np.float16),
                "double": np.linspace(0, 1, 7),
                "count": np.arange(5),
            },
        )
    ),
)
TRAINING = Digest(bytes(32))
MEMBER_KEYS = {name: Ed25519PrivateKey.generate() for name in ORGANISATIONS}
CLIENT_KEYS = {name: Ed25519PrivateKey.generate() for name in OWNERS}


@cache
def manifest_of(rules: Rules) -> Manifest:
    source = write_manifest(
        ManifestDraft(
            name="shared",
            threshold=2,
            development=True,
            members=[Member(name=n, key=public_key(k)) for n, k in MEMBER_KEYS.items()],
            clients=[
                Client(name=n, member=OWNERS[n], key=public_key(k)) for n, k in CLIENT_KEYS.items()
            ],
            freshness_seconds=60,
            insecure_measurements=[from_text("sha256:" + "00" * 32)],
            suite=Suite.HYBRID,
            schema=SCHEMA.digest,
            initial_model=FIRST.digest(),
            rules=rules,
        )
    )
    return Manifest.from_bytes(source)


@cache
def _threads() -> Workers:
    return Workers(SecretMemory())


@cache
def _slots(number: int) -> KeySlots:
    """Secret memory is never given back: the same for all enclaves of one number."""
    return KeySlots(SecretMemory(), 64)


def update_of(client: str, seed: int = 0) -> bytes:
    """Return what a client has learned."""
    rng = np.random.default_rng([seed, int(client[1:])])
    arrays = {
        "wide": rng.standard_normal(70_000).astype(np.float32),
        "half": rng.standard_normal(31).astype(np.float16),
        "double": rng.standard_normal(7),
        "count": rng.integers(0, 9, 5),
    }
    return bytes(pack(SCHEMA, arrays))


class Enclave:
    """One enclave, and what its host keeps for it."""

    def __init__(
        self, number: int = 0, rules: Rules = DEFAULT_RULES, sealer: Sealer | None = None
    ) -> None:
        self.manifest = manifest_of(rules)
        approvals = [
            sign(Approval(member=name, **self.named()), key) for name, key in MEMBER_KEYS.items()
        ]
        self.files: dict[str, HostFile] = {}
        self.base = memory_file(FIRST.payload)
        self.agreed = agreed(self.manifest, approvals, SCHEMA)
        self.lent = Lent(
            attester=None,  # type: ignore[arg-type]  # nobody asks for evidence here
            workers=_threads(),
            slots=_slots(number),
            memory=SecretMemory(),
        )
        self.federation = Federation.start(
            agreed=self.agreed,
            lent=self.lent,
            first_model=self.base,
            measurement=Digest(bytes(32)),
            time=1,
            sealer=sealer,
        )
        self.states = [memory_file() for _ in range(self.federation.state_files)]

    @property
    def key(self) -> bytes:
        return self.federation.signing_key

    def named(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "federation": self.manifest.name,
            "manifest": self.manifest.digest,
        }

    def open(self, cohort: Sequence[str], training: Digest = TRAINING) -> bytes:
        self.announcement = self.federation.open_round(cohort, training, 1)
        return self.announcement

    def admit(self, weights: Mapping[str, int], seed: int = 0) -> None:
        """Seal, and have admitted, an update of each client."""
        announcement = Announcement.from_bytes(Signed.from_bytes(self.announcement).payload)
        reported = self.manifest.rules.reported
        for client, weight in weights.items():
            header = UpdateHeader(
                round=announcement.round,
                announcement=statement_digest(self.announcement),
                base_model=announcement.base_model,
                client=client,
                data=NO_DATA,
                schema=SCHEMA.digest,
                sealed_size=sealed_size(SCHEMA, len(reported)),
                checkpoint=announcement.checkpoint,
                **self.named(),
            )
            sealed = seal_update(
                update=update_of(client, seed),
                num_examples=weight,
                schema=SCHEMA,
                header=header,
                suite=announcement.suite,
                round_key=announcement.public_key,
                signing_key=CLIENT_KEYS[client],
                metrics=[weight / 7 for _ in reported],
            )
            self.files[client] = memory_file(bytes(sealed))
            assert self.federation.admit(self.files[client]).admitted

    def collect(self, cohort: Sequence[str], weights: Mapping[str, int], seed: int = 0) -> None:
        self.open(cohort)
        self.admit(weights, seed)

    def report(self, root: Enclave, peers: Sequence[bytes]) -> ShardPapers:
        report = self.federation.report(root.key, root.announcement, peers)
        return ShardPapers(announcement=self.announcement, report=report)

    def export(self, total: bytes) -> tuple[bytes, HostFile]:
        file = memory_file()
        return self.federation.export(total, file), file

    def close(self) -> Closed:
        return self._released(self.federation.close_round(self.base, self.states, 1))

    def merge(self, sums: Sequence[tuple[bytes, HostFile]]) -> Closed:
        return self._released(self.federation.merge(sums, self.base, self.states, 1))

    def _released(self, closed: Closed) -> Closed:
        self.base = memory_file()
        self.federation.write_model(self.base)
        self.states = self.states[::-1]
        return closed

    def adopt(self, closed: Closed, model: HostFile) -> bytes:
        adoption = self.federation.adopt(closed.release, model, 1)
        self.base = model
        return adoption

    def model(self) -> bytes:
        return self.base.read(SCHEMA.payload_size, 0)

    def state(self) -> tuple[object, ...]:
        """Return everything that a refusal must not change."""
        held = self.federation
        role = held._sharing._role if held._sharing else None
        return (
            held.log,
            held.round_number,
            held.admitted,
            held._base_digest,
            None if role is None else (role, vars(role).copy()),
            {base: list(cohorts) for base, cohorts in held._history._released.items()},
        )


@dataclass
class Shared:
    """Several enclaves of one federation that share a round. The first is the root."""

    enclaves: list[Enclave]
    peers: list[bytes] = field(default_factory=list)

    @classmethod
    def of(cls, count: int, rules: Rules = DEFAULT_RULES) -> Shared:
        enclaves = [Enclave(number, rules) for number in range(count)]
        return cls(enclaves, signed_peers(enclaves) if count > 1 else [])

    @property
    def root(self) -> Enclave:
        return self.enclaves[0]

    def reports(self) -> list[ShardPapers]:
        return [enclave.report(self.root, self.peers) for enclave in self.enclaves[1:]]

    def totals(self, papers: Sequence[ShardPapers]) -> tuple[bytes, ...]:
        return self.root.federation.total(papers, self.peers)

    def sums(self) -> list[tuple[bytes, HostFile]]:
        """Return every shard's partial sum, after report and total."""
        totals = self.totals(self.reports())
        pairs = zip(self.enclaves[1:], totals, strict=True)
        return [enclave.export(total) for enclave, total in pairs]

    def release(self) -> Closed:
        closed = self.root.merge(self.sums()[::-1])
        for enclave in self.enclaves[1:]:
            enclave.adopt(closed, memory_file(self.root.model()))
        return closed


def signed_peers(
    enclaves: Sequence[Enclave], members: Sequence[str] = ("alpha", "gamma"), **changes: Any
) -> list[bytes]:
    """Return what members sign about enclaves that they have appraised."""
    statement = Peers(
        member="", enclaves=tuple(sorted(e.key for e in enclaves)), **enclaves[0].named()
    )
    return [sign(replace(statement, member=name, **changes), MEMBER_KEYS[name]) for name in members]


def released(closed: Closed) -> tuple[Release, CohortReport]:
    signed = Signed.from_bytes(closed.release)
    return Release.from_bytes(signed.payload), CohortReport.from_bytes(closed.cohort)


def damaged(file: HostFile, at: int) -> None:
    """Flip a bit of a host's file."""
    byte = file.read(1, at)[0] ^ 1
    os.pwrite(file._descriptor, bytes([byte]), at)
