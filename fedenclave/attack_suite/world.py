"""The federation that is attacked: three banks, one enclave, and a host that does what it likes.

Whoever plays an attack is the host: it sees every message, passes on what it likes, writes into its
own files, and starts enclaves. It is also the member that owns client `c`, whose keys it knows.

What the honest clients do is `fedenclave.client`'s own code; the enclave is its own process.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from fedenclave.attack_suite.forging import announced, forge, header_for
from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.audit.receipt import Verdict, VerifiedReceipt
from fedenclave.client.session import AcceptedRound, ClientSession
from fedenclave.client.state import MemoryStore
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.enclave_process import EnclaveDied
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.evidence import INSECURE
from fedenclave.protocol.exchange import Delivery, RoundOffer
from fedenclave.protocol.frames import AdmissionResult, StatusReply
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Announcement, Release, Suite, UpdateHeader
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import DEFAULT_RULES, EACH_ITS_OWN, SimulatedFederation

WIDE, NARROW = 70_000, 10
"""The model: two chunks of float32 and one of float16."""

THREE = ("a", "b", "c")


def tensors(value: float) -> dict[str, np.ndarray[Any, Any]]:
    """Return the model's tensors, every element `value`."""
    return {"w": np.full(WIDE, value, np.float32), "h": np.full(NARROW, value, np.float16)}


SCHEMA = schema_of(tensors(0))
FIRST = Model(schema=SCHEMA, payload=bytes(pack(SCHEMA, tensors(0.5))))


def payload_of(value: float) -> bytes:
    """Return a flat payload, every element `value`."""
    return bytes(pack(SCHEMA, tensors(value)))


def trained_by(base: Model, step: float) -> bytes:
    """Return the flat payload of a model whose every element is `step` more than `base`'s."""
    wide = np.frombuffer(bytes(base.payload[: 4 * WIDE]), np.float32)
    half = np.frombuffer(bytes(base.payload[4 * WIDE :]), np.float16)
    return (wide + np.float32(step)).tobytes() + (half + np.float16(step)).tobytes()


def value_of(model: Model) -> float:
    """Return the first parameter: in most attacks all are alike."""
    return float(np.frombuffer(bytes(model.payload[:4]), np.float32)[0])


def now() -> int:
    """Return the time, in Unix seconds."""
    return int(time.time())


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all worlds of one run have in common.

    Attributes:
        measurement: what the members accept, `sha256:...`.
        code: another copy of the package for the enclave to run; None for the installed one.
    """

    measurement: str
    code: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a refusal must leave as it is: the enclave (None if it has ended), and each client."""

    enclave: StatusReply | None
    clients: tuple[tuple[str, bytes | None, int], ...]

    def without_log(self) -> Snapshot:
        """Return it without the log's size: a rejection is signed, and so in the log."""
        if self.enclave is None:
            return self
        return replace(self, enclave=replace(self.enclave, log_size=0))


class World:
    """One attacked federation."""

    def __init__(self, setting: Setting, folder: Path, federation: SimulatedFederation) -> None:
        """Use what `start` has made."""
        self.setting, self.folder = setting, folder
        self.folders = [folder]
        self.aggregator, self.coordinator = federation.aggregator, federation.coordinator
        self.sessions, self.stores = dict(federation.sessions), dict(federation.stores)
        self.keys = dict(federation.keys)
        self.manifest = next(iter(self.sessions.values())).manifest
        _, self.approvals, _ = self.aggregator.info()
        self.offers: Mapping[str, RoundOffer] = {}
        self._ends = ExitStack()
        self._ends.callback(federation.close)

    @classmethod
    def start(
        cls,
        setting: Setting,
        folder: Path,
        *,
        clients: Sequence[str] = THREE,
        owners: Mapping[str, str] = EACH_ITS_OWN,
        suite: Suite = Suite.HYBRID,
        rules: Mapping[str, Any] | None = None,
    ) -> Self:
        """Start a federation in `folder`.

        Args:
            setting: of the run.
            folder: the host's; made if missing.
            clients: their names.
            owners: the organisation of every client that is none of its own.
            suite: of the manifest.
            rules: what differs from the simulation's.
        """
        federation = SimulatedFederation.create(
            tensors(0.5),
            clients=clients,
            owners=owners,
            suite=suite,
            rules=replace(DEFAULT_RULES, **(rules or {})),
            folder=folder,
            code=setting.code,
            measurement=setting.measurement,
        )
        return cls(setting, folder, federation)

    def close(self) -> None:
        """End every enclave of this world."""
        self._ends.close()

    # -- the operator

    def folder_for(self, what: str) -> Path:
        """Return a new folder of the host's."""
        folder = self.folder.with_name(f"{self.folder.name}-{len(self.folders)}-{what}")
        folder.mkdir()
        self.folders.append(folder)
        return folder

    def another_world(self) -> World:
        """Start another federation, of other members with the same names."""
        other = World.start(self.setting, self.folder_for("federation"))
        self._ends.callback(other.close)
        return other

    def another_enclave(self, **changes: Any) -> Aggregator:
        """Start one more enclave on this manifest, as a restart does; `changes` to what it gets.

        Raises:
            RequestRefused: the enclave does not take that up.
        """
        return self.aggregator_on(self.folder_for("enclave"), **changes)

    def aggregator_on(self, folder: Path, **changes: Any) -> Aggregator:
        """Start an enclave on what lies in `folder`; `changes` to what it gets.

        Raises:
            RequestRefused: the enclave does not take that up.
        """
        given: dict[str, Any] = {
            "manifest": self.manifest.source,
            "approvals": self.approvals,
            "model": FIRST,
            "tee": INSECURE,
            "code": self.setting.code,
            "flushed": False,
        }
        aggregator = Aggregator(folder, **{**given, **changes})
        self._ends.callback(aggregator.close)
        return aggregator

    def use(self, aggregator: Aggregator) -> None:
        """Put another enclave in the place of this one, and a coordinator that knows no round."""
        self.aggregator = aggregator
        self.coordinator = RoundCoordinator(aggregator, send_manifest=True)

    def restart(self) -> None:
        """Go on with another enclave, without the state of this one: it begins at the start."""
        self.use(self.another_enclave())

    def liar(self) -> LyingEnclave:
        """Return an enclave that attests as it should and then says what it is told to."""
        return LyingEnclave(self.manifest)

    def status(self) -> StatusReply:
        """Return the enclave's state, without the number that grows by itself."""
        return replace(self.aggregator.status(), resident_bytes=0)

    def snapshot(self) -> Snapshot:
        """Return what a refusal must leave as it is."""
        try:
            status = self.status()
        except EnclaveDied:
            status = None
        clients = ((n, s.state, len(s.receipts)) for n, s in self.stores.items())
        return Snapshot(enclave=status, clients=tuple(clients))

    def open(self, cohort: Sequence[str] | None = None) -> Mapping[str, RoundOffer]:
        """Open a round and return the offers."""
        names = list(self.sessions) if cohort is None else list(cohort)
        hellos = {name: self.sessions[name].hello(now()) for name in names}
        self.offers = self.coordinator.open(hellos, NO_TRAINING_CONFIG)
        return self.offers

    @property
    def announcement_signed(self) -> bytes:
        """The open round's announcement."""
        return next(iter(self.offers.values())).announcement

    @property
    def announcement(self) -> Announcement:
        """What it says."""
        return announced(self.announcement_signed)

    def submit(self, name: str, sealed: bytes) -> AdmissionResult:
        """Pass a sealed update on."""
        return self.coordinator.submit(name, sealed)

    def pass_on(self, sealed: bytes) -> AdmissionResult:
        """Pass a sealed update on for nobody: no receipt is kept of the answer."""
        return self.aggregator.submit([sealed])

    def stored(self, sealed: bytes) -> Path:
        """Return the host's file of an admitted update."""
        files = self.folder.joinpath("ciphertext").glob("*.feu")
        return next(path for path in files if path.read_bytes() == sealed)

    def model(self) -> Model:
        """Return the current base model."""
        return Model.from_bytes(self.aggregator.model())

    def close_round(self) -> tuple[Release, Mapping[str, Delivery]]:
        """Have the round released."""
        result, deliveries = self.coordinator.close()
        return Release.from_bytes(Signed.from_bytes(result.closed.release).payload), deliveries

    # -- honest clients

    def session_again(self, name: str, store: MemoryStore | None = None) -> ClientSession:
        """Return a client's session as after a restart of the client, or with another store."""
        return ClientSession(
            manifest=self.manifest,
            approvals=self.approvals,
            name=name,
            key=self.keys[name],
            store=store or self.stores[name],
        )

    def accept(
        self, name: str, offer: RoundOffer | None = None, file: bytes | None = None
    ) -> AcceptedRound:
        """Have a client check an offer and a model: the newest, or those that the host sends.

        Raises:
            EnclaveRefused: it refuses.
        """
        return self.sessions[name].accept(
            self.offers[name] if offer is None else offer,
            self.aggregator.model() if file is None else file,
            now(),
            training_config=NO_TRAINING_CONFIG,
        )

    def sealed(
        self, name: str, step: float = 1.0, num_examples: int = 1, **metrics: float
    ) -> bytes:
        """Train one client honestly: every element grows by `step`."""
        accepted = self.accept(name)
        trained = trained_by(accepted.base, step)
        return self.sessions[name].seal(accepted, trained, num_examples, metrics)

    def admit(self, name: str, sealed: bytes) -> None:
        """Pass on a sealed update that must be admitted.

        Raises:
            RuntimeError: it was not: the attack cannot be played as it is meant.
        """
        result = self.submit(name, sealed)
        if not result.admitted:
            raise RuntimeError(f"update of {name} was rejected: {result.reason}")

    def contribute(self, names: Sequence[str], step: float = 1.0) -> dict[str, bytes]:
        """Let clients take part honestly, and return what they have sealed.

        Raises:
            RuntimeError: one was not admitted.
        """
        sealed = {name: self.sealed(name, step) for name in names}
        for name, update in sealed.items():
            self.admit(name, update)
        return sealed

    def take(
        self, names: Sequence[str], deliveries: Mapping[str, Delivery]
    ) -> dict[str, VerifiedReceipt]:
        """Have honest clients verify and keep their receipts."""
        return {name: self.sessions[name].take_delivery(deliveries[name]) for name in names}

    def round_of(
        self, names: Sequence[str], step: float = 1.0
    ) -> tuple[Release, Mapping[str, VerifiedReceipt]]:
        """Run one honest round of `names` alone, and return release and receipts."""
        self.open(names)
        self.contribute(names, step)
        release, deliveries = self.close_round()
        return release, self.take(names, deliveries)

    def honest_round(self) -> list[str]:
        """Run one honest round of everybody, and return whose receipt says `included`."""
        if self.status().state != "idle":
            self.coordinator.abort()
        _, receipts = self.round_of(list(self.sessions))
        return [name for name, receipt in receipts.items() if receipt.verdict is Verdict.INCLUDED]

    # -- the member that is the attacker's

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
        signer: str = "",
        **changes: Any,
    ) -> bytes:
        """Seal anything under any header of the open round, signed by the client `signer`."""
        return forge(
            self.header(name, **changes),
            self.announcement,
            payload,
            SCHEMA,
            self.keys[signer or name],
            num_examples=num_examples,
            metrics=metrics,
            content_key=content_key,
        )
