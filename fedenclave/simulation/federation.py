"""Build a development federation in one process and run rounds in it.

In short:

    with SimulatedFederation.create(arrays, clients=10) as federation:
        for _ in range(rounds):
            outcome = federation.run_round(train)
        arrays = federation.arrays()
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from fedenclave.audit.receipt import VerifiedReceipt
from fedenclave.client.session import ClientSession
from fedenclave.client.state import MemoryStore
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.enclave_process import measure_enclave
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.digests import from_text
from fedenclave.protocol.errors import EnclaveRefused
from fedenclave.protocol.evidence import INSECURE
from fedenclave.protocol.manifest import Client, Manifest, Member, Rules
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import PublicKey, public_key, sign
from fedenclave.protocol.statements import VERSION, Approval, Suite
from fedenclave.protocol.tensors import pack, schema_of, unpack
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG

Arrays = dict[str, NDArray[np.generic]]
TrainFn = Callable[[str, Arrays], tuple[Arrays, int] | tuple[Arrays, int, Mapping[str, float]]]
"""Train one client from the given arrays: returns new arrays, num_examples and, where the rules ask
for any, metrics."""

DEFAULT_RULES = Rules(
    weighting="examples",
    weighted_by="num-examples",
    weight_cap=1_000_000,
    max_abs=1000.0,
    max_norm=1e6,
    over_norm="reject",
    min_cohort=2,
)


@dataclass(kw_only=True)
class Outcome:
    """One simulated round: verified receipts and refusals by client name, released metrics."""

    receipts: dict[str, VerifiedReceipt] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def development_manifest(
    model: Model,
    clients: Mapping[str, PublicKey],
    *,
    name: str = "development",
    rules: Rules = DEFAULT_RULES,
    suite: Suite = Suite.HYBRID,
    measurement: str | None = None,
) -> tuple[Manifest, list[bytes]]:
    """Return a manifest in which every client is an organisation of its own, and its approvals.

    The members' keys are made here and forgotten: nobody approves anything, and the manifest says
    `development = true`.

    Args:
        model: the first model.
        clients: raw public keys by client name.
        name: the federation's name.
        rules: how updates are admitted and averaged.
        suite: the HPKE suite.
        measurement: the measurement to pin; None for that of the installed code.
    """
    members = {client: Ed25519PrivateKey.generate() for client in clients}
    pin = measurement or str(json.loads(measure_enclave())["measurement"])
    source = write_manifest(
        ManifestDraft(
            name=name,
            threshold=len(members),
            development=True,
            members=[Member(name=n, key=public_key(k)) for n, k in members.items()],
            clients=[Client(name=n, member=n, key=k) for n, k in clients.items()],
            freshness_seconds=3600,
            insecure_measurements=[from_text(pin)],
            suite=suite,
            schema=model.schema.digest,
            initial_model=model.digest(),
            rules=rules,
        )
    )
    manifest = Manifest.from_bytes(source)
    approvals = [
        sign(
            Approval(version=VERSION, federation=name, manifest=manifest.digest, member=member),
            key,
        )
        for member, key in members.items()
    ]
    return manifest, approvals


class SimulatedFederation:
    """Clients, host and a real enclave process."""

    def __init__(
        self,
        aggregator: Aggregator,
        sessions: Mapping[str, ClientSession],
        stores: Mapping[str, MemoryStore],
        model: Model,
        folder: tempfile.TemporaryDirectory[str] | None,
    ) -> None:
        """Use what `create` has made."""
        self.aggregator, self.sessions, self.stores = aggregator, sessions, stores
        self.coordinator = RoundCoordinator(aggregator, send_manifest=True)
        self._model = model
        self._folder = folder

    @classmethod
    def create(
        cls,
        arrays: Arrays,
        *,
        clients: int | Sequence[str],
        rules: Rules = DEFAULT_RULES,
        suite: Suite = Suite.HYBRID,
        folder: Path | None = None,
        code: Path | None = None,
        measurement: str | None = None,
    ) -> Self:
        """Make keys, manifest and approvals, and start the enclave.

        Args:
            arrays: the first model's parameters by name, float32 or float16.
            clients: their names, or how many.
            rules: how updates are admitted and averaged.
            suite: the HPKE suite.
            folder: for models and ciphertext; None for a temporary one.
            code: see `Aggregator`.
            measurement: what the members accept, if not the installed code.
        """
        names = [f"client-{i}" for i in range(clients)] if isinstance(clients, int) else clients
        schema = schema_of(arrays)
        model = Model(schema=schema, payload=bytes(pack(schema, arrays)))
        keys = {name: Ed25519PrivateKey.generate() for name in names}
        manifest, approvals = development_manifest(
            model,
            {n: public_key(k) for n, k in keys.items()},
            rules=rules,
            suite=suite,
            measurement=measurement,
        )
        temporary = None
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="fedenclave-")
            folder = Path(temporary.name)
        aggregator = Aggregator(
            folder,
            manifest=manifest.source,
            approvals=approvals,
            model=model,
            tee=INSECURE,
            code=code,
        )
        stores = {name: MemoryStore() for name in names}
        sessions = {
            name: ClientSession(
                manifest=manifest, approvals=approvals, name=name, key=key, store=stores[name]
            )
            for name, key in keys.items()
        }
        return cls(aggregator, sessions, stores, model, temporary)

    def arrays(self) -> Arrays:
        """Return the current model's parameters."""
        return unpack(self._model.schema, self._model.payload)

    @property
    def model(self) -> Model:
        """The current model."""
        return self._model

    def run_round(self, train: TrainFn, cohort: Sequence[str] | None = None) -> Outcome:
        """Run one round with every step that a real one has.

        Raises:
            RequestRefused: the enclave opens or releases no such round.
        """
        names = list(self.sessions) if cohort is None else list(cohort)
        outcome = Outcome()
        hellos = {name: self.sessions[name].hello(_now()) for name in names}
        # Training is a function of the caller's: nothing is told over the wire.
        offers = self.coordinator.open(hellos, NO_TRAINING_CONFIG)
        file = self._model.to_bytes()
        for name, offer in offers.items():
            session = self.sessions[name]
            try:
                accepted = session.accept(offer, file, _now(), training_config=NO_TRAINING_CONFIG)
                trained, examples, *metrics = train(
                    name, dict(unpack(self._model.schema, accepted.base.payload))
                )
                payload = pack(self._model.schema, trained)
                sealed = session.seal(accepted, payload, examples, *metrics)
            except EnclaveRefused as refused:
                outcome.refusals[name] = refused.message
                continue
            self.coordinator.submit(name, sealed)
        result, deliveries = self.coordinator.close()
        for name, delivery in deliveries.items():
            outcome.receipts[name] = self.sessions[name].take_delivery(delivery)
        self._model = Model.from_bytes(result.model)
        outcome.metrics = result.metrics()
        return outcome

    def close(self) -> None:
        """End the enclave and delete what was temporary."""
        self.aggregator.close()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def _now() -> int:
    return int(time.time())
