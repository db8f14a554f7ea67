"""Of an honest host and enclave nothing is said, whatever comes between rounds and gets killed.

Rounds and aborts, evaluations, shutdowns and changes of the manifest in any order, updates and
answers that are lost, an aggregator that dies at any moment: the log is valid, no two statements in
it prove a fork, no receipts contradict each other or the log, and every client follows.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from fedenclave.attestation.endorsements import NO_ENDORSEMENTS
from fedenclave.audit.folder import contradictions
from fedenclave.audit.fork import NoFork, denounce
from fedenclave.audit.log import Signatures, verify_log
from fedenclave.audit.log_entry import Committing, open_entry
from fedenclave.audit.receipt import verify_one_of_many
from fedenclave.audit.receipts_in_log import missing_from_log
from fedenclave.audit.shared_parts import SharedParts
from fedenclave.enclave.sealing.hardware_key import HardwareKeySealer
from fedenclave.enclave.sealing.insecure import InsecureSealer
from fedenclave.enclave.sealing.sealer import Sealer
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.errors import RequestRefused
from fedenclave.protocol.exchange import Delivery, Receipt
from fedenclave.protocol.log_file import MAGIC
from fedenclave.protocol.signing import PublicKey
from tests.amendment.world import ChangingWorld
from tests.attacks.world import now
from tests.enclave.test_journal import AnchoredSealer
from tests.honest.enclave_in_thread import run_enclaves_in_threads
from tests.honest.host import HOW, HostFaults
from tests.restart.faults import Killed

OWNERS = {"a": "alpha", "b": "beta", "c": "gamma", "d": "delta"}
SEALERS: dict[str, Callable[[], Sealer]] = {
    "insecure": InsecureSealer,
    "anchored": AnchoredSealer,
    "chip": lambda: HardwareKeySealer("sev-snp", lambda: b"k" * 32),
}
STEPS = 25
KILLS, POINTS = 0.4, 14


class History:
    """An honest federation and its bad luck."""

    def __init__(self, folder: Path, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.random, self.patch = np.random.default_rng(seed), patch
        self.world = ChangingWorld(folder, OWNERS)
        self.awaited: list[dict[str, Delivery]] = []
        self.told: set[bytes] = set()

    def ask(self, what: Callable[[], object]) -> None:
        """Ask the aggregator, which may die of it; then it is started again."""
        if self.random.random() >= KILLS:
            what()
            return
        try:
            with self.patch.context() as patch:
                strike, how = int(self.random.integers(POINTS)), HOW[self.random.integers(3)]
                HostFaults(patch, strike, how)
                what()
            return
        except Killed:
            aggregator = self.world.aggregator
        for close in (aggregator._enclave, aggregator._journal, aggregator._statements):
            close.close()
        aggregator._store._claim.close()
        self.start()
        raise Killed

    def start(self) -> None:
        self.world.start()
        self.awaited += self.world.coordinator.deliveries_before()

    def play(self) -> None:
        steps = (self.round, self.round, self.evaluate, self.shut_down, self.amend, self.hand_over)
        for _ in range(STEPS):
            self.told |= set(self.world.aggregator._statements.statements())
            with contextlib.suppress(Killed):
                steps[self.random.integers(len(steps))]()

    def round(self) -> None:
        world, luck = self.world, self.random
        names = [name for name in OWNERS if luck.random() < 0.8]
        if len(names) < 2:
            return
        self.ask(lambda: world.open(names))
        for name in names:
            fate = luck.random()
            if fate < 0.1:
                continue  # it does not train
            sealed = bytearray(world.sealed(name, float(luck.integers(1, 4))))
            if fate < 0.3:
                continue  # lost on its way
            if fate < 0.4:
                sealed[-1] ^= 1  # damaged
            submit = world.aggregator.submit if fate > 0.9 else None  # its answer is lost
            self.ask(lambda: submit([sealed]) if submit else world.submit(name, bytes(sealed)))  # noqa: B023
        if luck.random() < 0.7:
            with contextlib.suppress(RequestRefused):
                self.ask(lambda: self.awaited.append(world.coordinator.close()[1]))
        if world.status().state == "collecting":
            self.ask(lambda: self.awaited.append(world.coordinator.abort()))

    def evaluate(self) -> None:
        if self.world.status().round:
            self.ask(lambda: self.world.aggregator.evaluated(sha256(b"found")))

    def shut_down(self) -> None:
        self.ask(self.world.close)
        self.start()

    def amend(self) -> None:
        self.ask(self.world.close)
        self.world.amend(self.world.draft(OWNERS))
        self.awaited += self.world.coordinator.deliveries_before()

    def hand_over(self) -> None:
        """Bring every client its receipts, and the log with its newest note."""
        world = self.world
        for name, session in world.sessions.items():
            for deliveries in self.awaited:
                if name in deliveries and session.awaits(deliveries[name].round):
                    session.take_delivery(deliveries[name])
            if session.state.enclave_key:
                note, part = world.coordinator.checkpoint(), world.coordinator.log_part_for(name)
                session.take_log(part)
                session.take_checkpoint(note, part)
        self.awaited.clear()


def said_against(log: Sequence[bytes], key: PublicKey) -> list[str]:
    """Return why two statements of a log prove a fork."""
    committing = [s for s in log if isinstance(open_entry(s).unverified, Committing)]
    found = []
    for first, second in itertools.combinations(committing, 2):
        with contextlib.suppress(NoFork):
            found.append(repr(denounce(first, second, key)))
    return found


def check(history: History) -> None:
    """Judge all that was said, and handed over."""
    world = history.world
    assert not [name for name, session in world.sessions.items() if session.state.pending]
    log = world.aggregator._statements.statements()
    assert history.told <= set(log)
    key = PublicKey(world.aggregator.info()[2].signing_key)
    former = [manifest for manifest, _ in world.former]
    data = MAGIC + world.aggregator.log_part(0, 2**30)
    verify_log(io.BytesIO(data), key, world.manifest, former=former, signatures=Signatures.ALL)
    assert said_against(log, key) == []
    shared = SharedParts(world.manifest, NO_ENDORSEMENTS, former)
    held = {
        f"{name}/{file}": receipt
        for name, store in world.stores.items()
        for file, receipt in store.receipts.items()
    }
    assert held
    verified = [verify_one_of_many(receipt, shared) for receipt in held.values()]
    assert contradictions(verified, now=now()) == []
    receipts = {name: Receipt.from_bytes(receipt) for name, receipt in held.items()}
    assert missing_from_log(io.BytesIO(data), receipts) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sealer", SEALERS)
def test_an_honest_history_is_accused_of_nothing(
    tmp_path: Path, sealer: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_enclaves_in_threads(monkeypatch, SEALERS[sealer]())
    history = History(tmp_path / "host", seed, monkeypatch)
    try:
        history.play()
        history.hand_over()
        check(history)
    finally:
        history.world.close()
