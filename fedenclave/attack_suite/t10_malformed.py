"""T10: thousands of malformed messages of every kind: one error each, and everything as before.

Which bytes are damaged is drawn from a generator with a fixed seed, so that what is found once is
found again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from fedenclave.attack_suite.attack import NotStopped, Witness, attack
from fedenclave.attack_suite.enclave_socket import exchange, send_and_receive
from fedenclave.attack_suite.world import World, now, payload_of
from fedenclave.audit.receipt import ReceiptInvalid
from fedenclave.client.state import MemoryStore
from fedenclave.protocol.errors import EnclaveRefused, MalformedMessage, Reason, Refusal
from fedenclave.protocol.exchange import Delivery, RoundOffer
from fedenclave.protocol.frames import (
    LENGTH,
    MAX_FRAME,
    AdoptRequest,
    AskRequest,
    CloseRequest,
    Empty,
    EvidenceRequest,
    ExportRequest,
    FetchRequest,
    MergeRequest,
    OpenRequest,
    Operation,
    RepeatRequest,
    ReportRequest,
    Request,
    ResumeRequest,
    StartRequest,
    TotalRequest,
    UnlockRequest,
)
from fedenclave.protocol.records import Record
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG

REQUESTS = 3000
UPDATES = 600
OFFERS = 600
DELIVERIES = 400

_SEED = 10


def _requests(world: World) -> list[bytes]:
    """Return a request of every kind that an open round must survive, each well formed.

    An abort is not among them: it is the host's right, and ends the round.
    """
    bodies: dict[Operation, Record] = {
        Operation.ASK: AskRequest(manifest=world.manifest.source, challenges=()),
        Operation.UNLOCK: UnlockRequest(answers=(b"answer",)),
        Operation.START: StartRequest(
            manifest=world.manifest.source,
            approvals=tuple(world.approvals),
            schema=b"",
            payload_offset=0,
            time=now(),
        ),
        Operation.RESUME: ResumeRequest(
            manifest=world.manifest.source,
            approvals=tuple(world.approvals),
            schema=b"",
            payload_offset=0,
            log_size=0,
        ),
        Operation.EVIDENCE: EvidenceRequest(nonce=bytes(32)),
        Operation.OPEN: OpenRequest(
            cohort=("a", "b"), training_config=NO_TRAINING_CONFIG, time=now()
        ),
        Operation.ADMIT: Empty(),
        Operation.ATTACH: Empty(),
        Operation.CLOSE: CloseRequest(base_offset=0, time=now()),
        Operation.FETCH: FetchRequest(model_offset=0),
        Operation.REPEAT: RepeatRequest(base_offset=0),
        Operation.REPORT: ReportRequest(peers=(b"peer",), root=bytes(32), announcement=b"a"),
        Operation.TOTAL: TotalRequest(peers=(b"peer",), shards=()),
        Operation.EXPORT: ExportRequest(total=b"total"),
        Operation.MERGE: MergeRequest(partial_sums=(b"sum",), base_offset=0, time=now()),
        Operation.ADOPT: AdoptRequest(release=b"release", model_offset=0, time=now()),
        Operation.STATUS: Empty(),
    }
    return [Request(operation=o, body=b.to_bytes()).to_bytes() for o, b in bodies.items()]


class Mutator:
    """Damages bytes: bits flipped, parts cut out, doubled, filled with noise."""

    def __init__(self) -> None:
        """Begin at the seed."""
        self.rng = np.random.default_rng(_SEED)

    def choose(self, choices: list[bytes]) -> bytes:
        """Return one of `choices`."""
        return choices[int(self.rng.integers(len(choices)))]

    def damage(self, data: bytes) -> bytes:
        """Return `data`, damaged in one to three places."""
        for _ in range(int(self.rng.integers(1, 4))):
            data = self._once(data)
        return data

    def _once(self, data: bytes) -> bytes:
        start, size = int(self.rng.integers(len(data) + 1)), int(self.rng.integers(1, 9))
        head, part, tail = data[:start], data[start : start + size], data[start + size :]
        match int(self.rng.integers(5)):
            case 0 if part:
                return head + bytes([part[0] ^ 1 << int(self.rng.integers(8))]) + part[1:] + tail
            case 1:
                return head + tail
            case 2:
                return head + part + part + tail
            case 3:
                return head + self.rng.bytes(size) + tail
            case _:
                return head


@contextmanager
def _empty_files() -> Iterator[list[int]]:
    """Descriptors of files that hold nothing."""
    numbers = [os.memfd_create("nothing") for _ in range(3)]
    try:
        yield numbers
    finally:
        for number in numbers:
            os.close(number)


@attack("T10-malformed-requests", f"send the enclave {REQUESTS} damaged requests")
def malformed_requests(world: World, witness: Witness) -> None:
    """In an open round with one update, with none to three descriptors beside each."""
    world.open()
    world.contribute("a")
    mutator, valid, before = Mutator(), _requests(world), world.snapshot()
    answers: Counter[str] = Counter()
    with _empty_files() as files:
        for _ in range(REQUESTS):
            data = mutator.damage(mutator.choose(valid))
            if data in valid:
                continue
            beside = files[: int(mutator.rng.integers(4))]
            reply = exchange(world.aggregator, data, beside)
            answers[reply.refusal or "answered"] += 1
    if answers[Refusal.INTERNAL]:
        raise NotStopped(f"a request met a defect: {_counted(answers)}")
    unchanged = world.snapshot() == before
    witness.found(
        f"send {answers.total()} damaged requests",
        f"{_counted(answers)}; the state is as before: {unchanged}",
        stopped=unchanged,
    )
    witness.goes_on(world)


@attack("T10-malformed-updates", f"submit {UPDATES} damaged updates")
def malformed_updates(world: World, witness: Witness) -> None:
    """Most of the damage is in the envelope, where there is something to be parsed."""
    world.open()
    world.contribute("a")
    sealed, mutator = world.forge("c", payload_of(1)), Mutator()
    cut = len(sealed) - world.header("c").sealed_size
    before = world.snapshot().without_log()
    answers: Counter[str] = Counter()
    for number in range(UPDATES):
        envelope, chunks = sealed[:cut], sealed[cut:]
        # Now and then the chunks alone, or both; what is damaged back to what it was is no damage.
        if number % 4:
            envelope = mutator.damage(envelope)
        if number % 2 == 0:
            chunks = mutator.damage(chunks)
        data = envelope + chunks
        if data == sealed:
            continue
        result = world.pass_on(data)
        if result.admitted or result.reason not in tuple(Reason):
            raise NotStopped(f"damaged update number {number} was admitted")
        answers[result.reason] += 1
    unchanged = world.snapshot().without_log() == before
    witness.found(
        f"submit {answers.total()} damaged updates",
        f"{_counted(answers)}; admitted are as many as before: {unchanged}",
        stopped=unchanged,
    )
    witness.goes_on(world)


@attack("T10-malformed-offers", f"offer a client {OFFERS} damaged rounds")
def malformed_offers(world: World, witness: Witness) -> None:
    """What does not decode or does not hold is refused; what is not believed may be damaged."""
    session, offer = world.sessions["a"], world.open()["a"]
    encoded, model, mutator = offer.to_bytes(), world.aggregator.model(), Mutator()
    before, harmless = session.state, 0
    # Another one that remembers the same, and is offered the true round.
    twin = world.session_again("a", MemoryStore(world.stores["a"].state))
    twin.accept(offer, model, now(), training_config=NO_TRAINING_CONFIG)
    answers: Counter[str] = Counter()
    for _ in range(OFFERS):
        data = mutator.damage(encoded)
        try:
            damaged = RoundOffer.from_bytes(data)
            session.accept(damaged, model, now(), training_config=NO_TRAINING_CONFIG)
        except (MalformedMessage, EnclaveRefused) as error:
            answers[type(error).__name__] += 1
            continue
        harmless += 1
        if (damaged.evidence, damaged.announcement) != (offer.evidence, offer.announcement):
            raise NotStopped("a client accepted a damaged offer")
    witness.found(
        f"offer a {OFFERS} damaged rounds",
        f"{_counted(answers)}; {harmless} differed in nothing that the client goes by",
        # To accept the true round is allowed: then the client knows what it would know by that.
        stopped=session.state in (before, twin.state),
    )
    witness.goes_on(world)


@attack("T10-malformed-deliveries", f"deliver {DELIVERIES} damaged receipts")
def malformed_deliveries(world: World, witness: Witness) -> None:
    """A client awaits the receipt of its update, and gets nothing but damaged ones."""
    world.open()
    world.contribute("abc")
    _, deliveries = world.close_round()
    true, mutator, before = deliveries["a"], Mutator(), world.snapshot()
    refused: Counter[str] = Counter()
    sent = 0
    for number in range(DELIVERIES):
        data = _damaged(true, mutator, _STATEMENTS[number % len(_STATEMENTS)])
        if data == true.to_bytes():
            continue
        sent += 1
        try:
            world.sessions["a"].take_delivery(Delivery.from_bytes(data))
        except (MalformedMessage, EnclaveRefused, ReceiptInvalid) as error:
            refused[type(error).__name__] += 1
    unchanged = world.snapshot() == before
    witness.found(
        f"deliver {sent} damaged receipts",
        f"{_counted(refused)}; nothing was kept: {unchanged}",
        stopped=refused.total() == sent and unchanged,
    )
    verdict = world.sessions["a"].take_delivery(true).verdict
    witness.control(
        "deliver the true one", f"the receipt says {verdict.value}", well=verdict == "included"
    )


_STATEMENTS = ("", "answer", "release", "cohort")


def _damaged(true: Delivery, mutator: Mutator, statement: str) -> bytes:
    """Return `true` damaged anywhere; or, so that it still decodes, in one of its statements."""
    if not statement:
        return mutator.damage(true.to_bytes())
    damaged: dict[str, Any] = {statement: mutator.damage(getattr(true, statement))}
    return replace(true, **damaged).to_bytes()


@attack("T10-endless-frame", "announce a frame larger than any")
def endless_frame(world: World, witness: Witness) -> None:
    """What follows cannot be told from a new frame, so the connection ends: not one byte more."""
    world.open()
    world.contribute("ab")
    try:
        reply = send_and_receive(world.aggregator, LENGTH.pack(MAX_FRAME + 1), b"")
    except TimeoutError as error:
        raise NotStopped(f"the enclave waits for a frame of {MAX_FRAME + 1} bytes") from error
    witness.found(
        f"send a frame of {MAX_FRAME + 1} bytes",
        f"the enclave answers: {reply.refusal}",
        stopped=reply.refusal == Refusal.MALFORMED,
    )
    ended = world.snapshot().enclave is None
    witness.found(
        "ask for the round's release all the same",
        "the enclave has ended" if ended else "the enclave answers",
        stopped=ended,
    )


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counter.most_common())


ATTACKS = (
    malformed_requests,
    malformed_updates,
    malformed_offers,
    malformed_deliveries,
    endless_frame,
)
