"""Clocks are set while a round is under way: the host's, a client's, or the ServerApp's.

The enclave asks no clock for anything that it decides: the host's goes into what it signs. A client
asks its own for two things alone: how old its nonce is, and whether evidence is valid now.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from fedenclave.attack_suite.world import FIRST
from fedenclave.attestation import formats
from fedenclave.audit.folder import contradictions
from fedenclave.audit.log import verify_log
from fedenclave.audit.receipt import VerifiedReceipt
from fedenclave.client.state import MemoryStore
from fedenclave.protocol import merkle
from fedenclave.protocol.errors import EnclaveRefused
from fedenclave.protocol.exchange import RoundOffer
from fedenclave.protocol.signing import PublicKey, Signed
from fedenclave.protocol.statements import Announcement, Release
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.world import World, now, trained_by, value_of
from tests.attestation.fake_amd import NOW as SNP_NOW
from tests.attestation.snp_federation import FORMAT
from tests.attestation.test_trust_withdrawn_between_rounds import (
    MANIFEST,
    SnpEnclave,
    endorsements,
    listed,
    session,
    take_part,
)

DAY, YEAR = 86_400, 365 * 86_400
JUMPS = [DAY + 1, -DAY - 1, 3 * YEAR, -3 * YEAR]
ALL = {"a": 1.0, "b": 2.0, "c": 3.0}
FRESH = 3600
STALE = r"not for a nonce of this client's of the last 3600 s"


class Clock:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return now() + self.ahead


@pytest.fixture
def host_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the host's, from now on."""
    clock = Clock()
    monkeypatch.setattr("fedenclave.host.aggregator.time", SimpleNamespace(time=clock))
    return clock


class Round:
    """One round, message by message, in which client `a` has a clock of its own."""

    def __init__(self, world: World, clock: Clock) -> None:
        self.world, self.clock = world, clock
        self.offers: dict[str, RoundOffer] = {}
        self.receipt: VerifiedReceipt | None = None

    def say_hello(self) -> None:
        world = self.world
        hellos = {name: world.sessions[name].hello(now()) for name in "bc"}
        self.hellos = {**hellos, "a": world.sessions["a"].hello(self.clock())}

    def open(self) -> None:
        self.world.offers = self.world.coordinator.open(self.hellos, NO_TRAINING_CONFIG)

    def accept(self) -> None:
        self.accepted = self.world.sessions["a"].accept(
            self.world.offers["a"],
            self.world.aggregator.model(),
            self.clock(),
            training_config=NO_TRAINING_CONFIG,
        )

    def seal(self) -> None:
        trained = trained_by(self.accepted.base, ALL["a"])
        self.sealed = self.world.sessions["a"].seal(self.accepted, trained, 1)

    def submit(self) -> None:
        assert self.world.submit("a", self.sealed).admitted
        self.world.contribute({"b": ALL["b"], "c": ALL["c"]})

    def close(self) -> None:
        self.deliveries = self.world.coordinator.close()[1]

    def deliver(self) -> None:
        for name in "bc":
            self.world.sessions[name].take_delivery(self.deliveries[name])
        self.receipt = self.world.sessions["a"].take_delivery(self.deliveries["a"])

    def steps(self) -> list[Callable[[], None]]:
        return [
            self.say_hello,
            self.open,
            self.accept,
            self.seal,
            self.submit,
            self.close,
            self.deliver,
        ]


def play(world: World, clock: Clock, *, jump: int = 0, before: str = "") -> Round:
    """Play a round; set the clock before one of its steps."""
    played = Round(world, clock)
    for step in played.steps():
        if step.__name__ == before:
            clock.ahead += jump
        step()
    return played


def test_a_host_whose_clock_jumps_at_every_message_refuses_nobody(
    world: World, host_clock: Clock
) -> None:
    # The last is 1970, where a machine without a battery begins.
    jumps = itertools.cycle([*JUMPS, 0, -now()])
    steady = Clock()
    for number in range(1, 6):
        played = Round(world, steady)
        for step in played.steps():
            host_clock.ahead = next(jumps)
            step()
        assert played.receipt is not None
        assert value_of(world.model()) == 0.5 + 2 * number
        host_clock.ahead = next(jumps)
        world.restart()
    key = PublicKey(world.aggregator.info()[2].signing_key)
    with (world.folder / "statements.fel").open("rb") as log:
        assert len(verify_log(log, key, world.manifest).rounds) == 5


def test_a_host_whose_clock_is_wrong_is_found_out_by_the_receipts(
    world: World, host_clock: Clock
) -> None:
    host_clock.ahead = DAY + 60
    receipt = play(world, Clock()).receipt
    assert receipt is not None
    (odd,) = contradictions([receipt], now=now())
    assert "round 1 of a judges evidence at" in odd
    assert "and the enclave was told" in odd


@pytest.mark.parametrize("before", ["say_hello", "seal", "submit", "close", "deliver"])
def test_a_client_whose_clock_jumps_elsewhere_than_before_it_judges_notices_nothing(
    world: World, before: str
) -> None:
    clock = Clock()
    for number, jump in enumerate(JUMPS, start=1):
        played = play(world, clock, jump=jump, before=before)
        assert played.receipt is not None
        assert played.receipt.clients == ("a", "b", "c")
        assert value_of(world.model()) == 0.5 + 2 * number
        # What was said by the clock that is wrong now is of no use, and in nobody's way.
        world.sessions["a"] = world.session("a")
        clock.ahead = 0


@pytest.mark.parametrize("before", ["open", "accept"])
def test_a_client_whose_clock_jumps_before_it_judges_sits_one_round_out(
    world: World, before: str
) -> None:
    for jump in (*JUMPS, FRESH + 60, -60):
        clock = Clock()
        assert play(world, clock).receipt is not None
        session, receipts = world.sessions["a"], dict(world.stores["a"].receipts)
        pending = session.state.pending
        with pytest.raises(EnclaveRefused, match=STALE) as refused:
            play(world, clock, jump=jump, before=before)
        assert "the clock was set; the next round asks anew" in refused.value.hint
        # The others' round goes on, and nothing that the client had is gone.
        world.contribute({"b": 2, "c": 3})
        assert world.release("bc")[0].clients == 2
        assert (session.state.pending, world.stores["a"].receipts) == (pending, receipts)
        # Whether the clock stays where it is or is put right: the next nonce is of its own time.
        assert play(world, clock).receipt is not None
        clock.ahead = 0
        assert play(world, clock).receipt is not None
        assert len(world.stores["a"].receipts) == len(receipts) + 2


def test_a_nonce_said_by_a_clock_that_was_ahead_is_of_no_use_once_it_is_right(
    world: World,
) -> None:
    clock = Clock()
    clock.ahead = DAY
    played = Round(world, clock)
    played.say_hello()
    played.open()
    clock.ahead = 0
    with pytest.raises(EnclaveRefused, match=STALE):
        played.accept()
    world.coordinator.abort()
    assert play(world, clock).receipt is not None


def test_a_receipt_of_a_client_whose_clock_was_ahead_verifies_and_is_called_odd(
    world: World,
) -> None:
    clock = Clock()
    clock.ahead = 2 * DAY
    receipt = play(world, clock).receipt
    assert receipt is not None
    assert receipt.judged_at >= now() + 2 * DAY - 60
    (odd,) = contradictions([receipt], now=now())
    assert odd.endswith("which has not come yet")


def test_the_times_that_an_enclave_signs_are_the_hosts_word(
    world: World, host_clock: Clock
) -> None:
    world.open()
    world.contribute(ALL)
    host_clock.ahead = -YEAR
    release, _ = world.release("abc")
    announced = Announcement.from_bytes(Signed.from_bytes(world.announcement_signed).payload)
    assert isinstance(release, Release)
    assert release.time < announced.time - DAY


@pytest.mark.parametrize(
    ("ahead", "why"),
    [
        (-2 * YEAR, "vcek chain validity is .*, want valid at 2024-11-25T"),
        (-2 * DAY, "vcek.crl is fetched 2026-11-24T.* before 2026-11-23T"),
        (40 * DAY, "vcek chain validity is .*, want valid at 2027-01-04T"),
    ],
)
def test_hardware_is_not_believed_by_a_clock_that_is_wrong_and_is_again_once_it_is_right(
    monkeypatch: pytest.MonkeyPatch, ahead: int, why: str
) -> None:
    for table in (formats.FORMATS, formats.ALL_FORMATS):
        monkeypatch.setitem(table, "sev-snp", FORMAT)  # type: ignore[arg-type]
    enclave, store = SnpEnclave(MANIFEST), MemoryStore()
    client = session(store, endorsements(listed(1, "")))
    nonce = client.hello(SNP_NOW + ahead).nonce
    announced = enclave.announcement(round=1)
    offer = enclave.offer(
        nonce, announcement=announced, evidence=enclave.evidence(merkle.root([nonce]))
    )
    before = store.state
    with pytest.raises(EnclaveRefused, match=why):
        client.accept(offer, FIRST.to_bytes(), SNP_NOW + ahead, training_config=NO_TRAINING_CONFIG)
    assert store.state == before
    assert take_part(enclave, client, 1)
