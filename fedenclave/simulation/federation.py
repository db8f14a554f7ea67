"""Build a development federation in one process and run rounds in it.

In short:

    with SimulatedFederation.create(arrays, clients=10) as federation:
        for _ in range(rounds):
            outcome = federation.run_round(train)
        arrays = federation.arrays()

`run_round(train, cheats={"client-0": cheat})` has a client cheat (cheating.py).
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
from fedenclave.protocol.digests import Digest, from_text
from fedenclave.protocol.errors import EnclaveRefused, Reason
from fedenclave.protocol.evidence import INSECURE
from fedenclave.protocol.exchange import Delivery
from fedenclave.protocol.manifest import Client, Manifest, Member, Rules
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import PublicKey, public_key, sign
from fedenclave.protocol.statements import NO_DATA, VERSION, Approval, Suite
from fedenclave.protocol.tensors import pack, schema_of, unpack
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.cheating import seal_unchecked

Arrays = dict[str, NDArray[np.generic]]
TrainFn = Callable[[str, Arrays], tuple[Arrays, int] | tuple[Arrays, int, Mapping[str, float]]]
"""Train one client from the given arrays: returns new arrays, num_examples and, where the rules ask
for any, metrics."""

CheatFn = TrainFn
"""Make one client's update itself, of any content, not the trained arrays; the rest is the same."""

NO_CHEATS: Mapping[str, CheatFn] = {}

SAYS_NOTHING: Mapping[str, Digest] = {}
"""No client says which data it trains on."""

EACH_ITS_OWN: Mapping[str, str] = {}
"""Every client is an organisation of its own."""

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
    """One simulated round, by client name.

    Attributes:
        receipts: verified; none for clients that cheat.
        refusals: why a client sealed nothing.
        rejections: why the enclave rejected what a client sealed.
        metrics: released, by metric.
    """

    receipts: dict[str, VerifiedReceipt] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)
    rejections: dict[str, Reason] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


def development_manifest(
    model: Model,
    clients: Mapping[str, PublicKey],
    *,
    name: str = "development",
    rules: Rules = DEFAULT_RULES,
    suite: Suite = Suite.HYBRID,
    measurement: str | None = None,
    owners: Mapping[str, str] = EACH_ITS_OWN,
) -> tuple[Manifest, list[bytes]]:
    """Return a manifest and its approvals.

    The members' keys are made here and forgotten: nobody approves anything, and the manifest says
    `development = true`.

    Args:
        model: the first model.
        clients: raw public keys by client name.
        name: the federation's name.
        rules: how updates are admitted and averaged.
        suite: the HPKE suite.
        measurement: the measurement to pin; None for that of the installed code.
        owners: the organisation of every client that is none of its own.
    """
    owner_of = {client: owners.get(client, client) for client in clients}
    members = {owner: Ed25519PrivateKey.generate() for owner in sorted({*owner_of.values()})}
    pin = measurement or str(json.loads(measure_enclave())["measurement"])
    source = write_manifest(
        ManifestDraft(
            name=name,
            threshold=len(members),
            development=True,
            members=[Member(name=n, key=public_key(k)) for n, k in members.items()],
            clients=[Client(name=n, member=owner_of[n], key=k) for n, k in clients.items()],
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
        keys: Mapping[str, Ed25519PrivateKey],
        model: Model,
        folder: tempfile.TemporaryDirectory[str] | None,
    ) -> None:
        """Use what `create` has made."""
        self.aggregator, self.sessions, self.stores = aggregator, sessions, stores
        self.coordinator = RoundCoordinator(aggregator, send_manifest=True)
        self.keys = keys
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
        flushed: bool = False,
        owners: Mapping[str, str] = EACH_ITS_OWN,
    ) -> Self:
        """Make keys, manifest and approvals, and start the enclave.

        Args:
            arrays: the first model's parameters by name, float32 or float16.
            clients: their names, or how many.
            rules: how updates are admitted and averaged.
            suite: the HPKE suite.
            folder: for models and ciphertext; None for a temporary one.
            code: see `Aggregator`.
            measurement: what the members accept, if not the installed code; asking for the latter
                takes half a second.
            flushed: see `Aggregator`.
            owners: the organisation of every client that is none of its own.
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
            owners=owners,
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
            flushed=flushed,
        )
        stores = {name: MemoryStore() for name in names}
        sessions = {
            name: ClientSession(
                manifest=manifest, approvals=approvals, name=name, key=key, store=stores[name]
            )
            for name, key in keys.items()
        }
        return cls(aggregator, sessions, stores, keys, model, temporary)

    def arrays(self) -> Arrays:
        """Return the current model's parameters."""
        return unpack(self._model.schema, self._model.payload)

    @property
    def model(self) -> Model:
        """The current model."""
        return self._model

    def run_round(
        self,
        train: TrainFn,
        cohort: Sequence[str] | None = None,
        *,
        cheats: Mapping[str, CheatFn] = NO_CHEATS,
        data: Mapping[str, Digest] = SAYS_NOTHING,
    ) -> Outcome:
        """Run one round with every step that a real one has.

        Args:
            train: what an honest client does.
            cohort: who is asked; None for everybody.
            cheats: what each client does that cheats.
            data: the digest of what each client trains on, where it says so.

        Raises:
            RequestRefused: the enclave opens or releases no such round.
        """
        outcome = self.collect(train, cohort, cheats=cheats, data=data)
        self.release(outcome)
        return outcome

    def collect(
        self,
        train: TrainFn,
        cohort: Sequence[str] | None = None,
        *,
        cheats: Mapping[str, CheatFn] = NO_CHEATS,
        data: Mapping[str, Digest] = SAYS_NOTHING,
    ) -> Outcome:
        """Open a round and submit everybody's update; `release` or `abort` must follow.

        Raises:
            RequestRefused: the enclave opens no such round.
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
                base = dict(unpack(self._model.schema, accepted.base.payload))
                arrays, examples, *metrics = cheats.get(name, train)(name, base)
                payload = pack(self._model.schema, arrays)
                if name in cheats:
                    key = self.keys[name]
                    sealed = seal_unchecked(session, key, accepted, payload, examples, *metrics)
                else:
                    said = data.get(name, NO_DATA)
                    sealed = session.seal(accepted, payload, examples, *metrics, data=said)
            except EnclaveRefused as refused:
                outcome.refusals[name] = refused.message
                continue
            answer = self.coordinator.submit(name, sealed)
            if not answer.admitted:
                outcome.rejections[name] = Reason(answer.reason)
        return outcome

    def release(self, outcome: Outcome) -> None:
        """Have the open round aggregated, and add receipts and metrics to `outcome`.

        Raises:
            RequestRefused: the enclave releases no such round; it is still open.
        """
        result, deliveries = self.coordinator.close()
        self._take(deliveries, outcome)
        self._model = Model.from_bytes(result.model)
        outcome.metrics = result.metrics()

    def abort(self, outcome: Outcome) -> None:
        """End the open round without a release, and add its receipts to `outcome`."""
        self._take(self.coordinator.abort(), outcome)

    def _take(self, deliveries: Mapping[str, Delivery], outcome: Outcome) -> None:
        for name, delivery in deliveries.items():
            # A session knows nothing of what was sealed without it.
            if self.sessions[name].awaits(delivery.round):
                outcome.receipts[name] = self.sessions[name].take_delivery(delivery)

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
