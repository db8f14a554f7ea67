"""A federation with a real enclave process, honest clients, and a host and members that cheat.

The host here is whoever runs the test: it sees every message, passes what it likes, and writes
into its own files. A cheating member knows its own keys, and seals without asking its session.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attack_suite.forging import announced, forge, header_for
from fedenclave.attack_suite.world import FIRST, SCHEMA, WIDE, now, trained_by
from fedenclave.audit.receipt import VerifiedReceipt
from fedenclave.client.session import AcceptedRound, ClientSession
from fedenclave.client.state import MemoryStore
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.enclave_process import measure_enclave
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.digests import from_text
from fedenclave.protocol.exchange import RoundOffer
from fedenclave.protocol.frames import AdmissionResult, StatusReply
from fedenclave.protocol.manifest import Client, Manifest, Member
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import Signed, public_key, sign
from fedenclave.protocol.statements import (
    VERSION,
    Announcement,
    Approval,
    Release,
    Suite,
    UpdateHeader,
)
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import DEFAULT_RULES

THREE = {"a": "alpha", "b": "beta", "c": "gamma"}
_MEASUREMENT: list[str] = []


def measurement() -> str:
    """Return what the installed enclave measures; asked once."""
    if not _MEASUREMENT:
        _MEASUREMENT.append(json.loads(measure_enclave())["measurement"])
    return _MEASUREMENT[0]


class World:
    """One federation: `owners` says which organisation owns which client."""

    def __init__(
        self,
        folder: Path,
        owners: Mapping[str, str] | None = None,
        *,
        code: Path | None = None,
        suite: Suite = Suite.X25519,
        **rules: Any,
    ) -> None:
        owners = owners or THREE
        self.folder = folder
        self.members = {name: Ed25519PrivateKey.generate() for name in sorted({*owners.values()})}
        self.keys = {name: Ed25519PrivateKey.generate() for name in owners}
        source = write_manifest(
            ManifestDraft(
                name="attacked",
                threshold=len(self.members),
                development=True,
                members=[Member(name=n, key=public_key(k)) for n, k in self.members.items()],
                clients=[
                    Client(name=n, member=owners[n], key=public_key(k))
                    for n, k in self.keys.items()
                ],
                freshness_seconds=3600,
                insecure_measurements=[from_text(measurement())],
                suite=suite,
                schema=SCHEMA.digest,
                initial_model=FIRST.digest(),
                rules=replace(DEFAULT_RULES, **rules),
            )
        )
        self.manifest = Manifest.from_bytes(source)
        self.approvals = [self.approve(member) for member in self.members]
        self.stores = {name: MemoryStore() for name in owners}
        self.sessions = {name: self.session(name) for name in owners}
        self.start(code)

    def approve(self, member: str) -> bytes:
        """Return a member's approval of the manifest."""
        statement = Approval(
            version=VERSION,
            federation=self.manifest.name,
            manifest=self.manifest.digest,
            member=member,
        )
        return sign(statement, self.members[member])

    def session(self, name: str) -> ClientSession:
        """Return a client's session, as after a restart of the client."""
        return ClientSession(
            manifest=self.manifest,
            approvals=self.approvals,
            name=name,
            key=self.keys[name],
            store=self.stores[name],
        )

    def start(self, code: Path | None = None) -> None:
        """Start an enclave process, and a ServerApp that knows of no round."""
        self.aggregator = self._aggregator(code)
        self.coordinator = RoundCoordinator(self.aggregator, send_manifest=True)

    def _aggregator(self, code: Path | None = None) -> Aggregator:
        return Aggregator(
            self.folder,
            manifest=self.manifest.source,
            approvals=self.approvals,
            model=FIRST,
            tee="insecure",
            code=code,
        )

    def resume(self) -> None:
        """Start an enclave process for the ServerApp that lives on."""
        self.aggregator = self._aggregator()
        self.coordinator._aggregator = self.aggregator

    def close(self) -> None:
        """End the enclave."""
        self.aggregator.close()

    def restart(self, *, state: bool = True) -> None:
        """End the enclave and start it again, with its sealed state or without."""
        self.close()
        if not state:
            shutil.rmtree(self.folder / "state")
        self.start()

    # -- the host

    def status(self) -> StatusReply:
        """Return the enclave's state, without the number that grows by itself."""
        return replace(self.aggregator.status(), resident_bytes=0)

    def open(self, cohort: Sequence[str] | None = None) -> dict[str, RoundOffer]:
        """Open a round and return the offers."""
        names = list(self.sessions) if cohort is None else list(cohort)
        self.offers = self.coordinator.open(
            {n: self.sessions[n].hello(now()) for n in names}, NO_TRAINING_CONFIG
        )
        return self.offers

    @property
    def announcement_signed(self) -> bytes:
        """The open round's announcement."""
        return next(iter(self.offers.values())).announcement

    @property
    def announcement(self) -> Announcement:
        """What it says."""
        return announced(self.announcement_signed)

    def stored(self, sealed: bytes) -> Path:
        """Return the host's file of an admitted update."""
        files = self.folder.joinpath("ciphertext").glob("*.feu")
        return next(path for path in files if path.read_bytes() == sealed)

    def submit(self, name: str, sealed: bytes) -> AdmissionResult:
        """Pass a sealed update on."""
        return self.coordinator.submit(name, sealed)

    def model(self) -> Model:
        """Return the current base model."""
        return Model.from_bytes(self.aggregator.model())

    # -- honest clients

    def accept(self, name: str) -> AcceptedRound:
        """Check the newest offer as the client does."""
        return self.sessions[name].accept(
            self.offers[name], self.aggregator.model(), now(), training_config=NO_TRAINING_CONFIG
        )

    def sealed(self, name: str, step: float, num_examples: int = 1, **metrics: float) -> bytes:
        """Train one client honestly: every element grows by `step`."""
        accepted = self.accept(name)
        trained = trained_by(accepted.base, step)
        return self.sessions[name].seal(accepted, trained, num_examples, metrics)

    def contribute(self, steps: Mapping[str, float]) -> None:
        """Let clients take part honestly; each must be admitted."""
        for name, step in steps.items():
            assert self.submit(name, self.sealed(name, step)).admitted

    def release(self, honest: Sequence[str]) -> tuple[Release, dict[str, VerifiedReceipt]]:
        """Close the round; return the release and the honest clients' verified receipts."""
        result, deliveries = self.coordinator.close()
        receipts = {n: self.sessions[n].take_delivery(deliveries[n]) for n in honest}
        return Release.from_bytes(Signed.from_bytes(result.closed.release).payload), receipts

    # -- a member that cheats

    def header(self, name: str, **changes: Any) -> UpdateHeader:
        """Return the header of `name`'s update for the open round, with changes."""
        return header_for(name, self.manifest, SCHEMA, self.announcement_signed, **changes)

    def forge(
        self,
        name: str,
        payload: bytes,
        *,
        num_examples: int = 1,
        metrics: Sequence[float] = (),
        content_key: bytes | None = None,
        signer: Ed25519PrivateKey | None = None,
        **changes: Any,
    ) -> bytes:
        """Seal any payload under any header, signed by any key, with none of a client's checks."""
        return forge(
            self.header(name, **changes),
            self.announcement,
            payload,
            SCHEMA,
            signer or self.keys[name],
            num_examples=num_examples,
            metrics=metrics,
            content_key=content_key,
        )


def value_of(model: Model) -> float:
    """Return the value that every element of `model` has."""
    wide = np.frombuffer(bytes(model.payload[: 4 * WIDE]), np.float32)
    assert (wide == wide[0]).all()
    return float(wide[0])
