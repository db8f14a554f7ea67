"""A service that seals its state: what waits for the counter, and what a resume takes and gives."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.enclave.federation import Federation
from fedenclave.enclave.states import TRANSITIONS, State
from fedenclave.protocol import segment
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.frames import (
    AdmissionResult,
    CloseRequest,
    Empty,
    FetchRequest,
    OpenRequest,
    Operation,
    Reply,
    Request,
    Resumed,
    ResumeRequest,
    SignedStatement,
    TotalRequest,
)
from fedenclave.protocol.records import Record
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.enclave.test_journal import AnchoredSealer
from tests.enclave.test_round_end import sealed_for
from tests.enclave.test_service import APPROVALS, MANIFEST, MODEL, SCHEMA, Peer, opened, start

OPEN = OpenRequest(cohort=("a", "b"), training_config=NO_TRAINING_CONFIG, time=1)
WITHOUT_WAITING = {Operation.EVIDENCE, Operation.STATUS, Operation.ADMIT, Operation.ATTACH}


class Anchored(Peer):
    """A host that writes down what its service seals, on hardware with an anchor."""

    def __init__(self, sealer: AnchoredSealer) -> None:
        super().__init__()
        self.segment = b""
        self.status()  # the service is there
        self.service._sealer = sealer

    def ask(self, frame: bytes, descriptors: tuple[int, ...] = ()) -> Reply:
        reply = super().ask(frame, descriptors)
        if segment.begins_segment(reply.transition):
            self.segment = reply.transition
        else:
            self.segment += reply.transition
        return reply

    def do(self, operation: str, body: Record, descriptors: tuple[int, ...] = ()) -> Reply:
        return self.ask(Request(operation=operation, body=body.to_bytes()).to_bytes(), descriptors)

    def resume(self, data: bytes, folder: Path, *, log_size: int = 0) -> Reply:
        request = ResumeRequest(
            manifest=MANIFEST,
            approvals=APPROVALS,
            schema=SCHEMA.to_bytes(),
            payload_offset=0,
            log_size=log_size,
        )
        with (
            opened(folder / "model", bytes(MODEL.payload)) as model,
            opened(folder / "segment", data) as sealed,
        ):
            return self.do("resume", request, (model, sealed))


@pytest.fixture
def sealer() -> AnchoredSealer:
    return AnchoredSealer()


@pytest.fixture
def peer(sealer: AnchoredSealer, tmp_path: Path) -> Iterator[Anchored]:
    peer = Anchored(sealer)
    start(peer, tmp_path)
    yield peer
    peer.close()


@pytest.fixture
def restarted(sealer: AnchoredSealer) -> Iterator[Anchored]:
    peer = Anchored(sealer)
    yield peer
    peer.close()


def admit(peer: Anchored, announcement: bytes, folder: Path, *names: str) -> None:
    for name in names:
        with opened(folder / name, sealed_for(announcement, name)) as update:
            reply = peer.do("admit", Empty(), (update,))
        assert AdmissionResult.from_bytes(reply.body).admitted


def open_round(peer: Anchored) -> bytes:
    assert peer.do("open", OPEN).held
    return SignedStatement.from_bytes(peer.do("tell", Empty()).body).statement


def unsettled(federation: Federation) -> None:
    """Leave a transition that is bound, and not settled, unless there is one."""
    if not federation._journal._mark:
        federation._journal.notes.statements.append(b"an end")
        federation._journal.bind()
        federation._journal.take()


def held_open() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


# -- the anchor


PAIRS = [
    (state, operation)
    for (state, operation) in TRANSITIONS
    if state not in (State.NEW, State.ROOT) and operation is not Operation.MERGE
]


@pytest.mark.parametrize(("state", "operation"), PAIRS)
def test_everything_but_updates_and_questions_waits_until_the_last_end_is_settled(
    peer: Anchored, sealer: AnchoredSealer, state: State, operation: Operation
) -> None:
    federation = peer.service._federation
    assert federation is not None
    unsettled(federation)
    peer.service._state = state
    count, _ = peer.service._handler(operation)
    with open(os.devnull, "rb") as null:  # noqa: PTH123
        frame = Request(operation=operation, body=b"\xff").to_bytes()
        assert peer.ask(frame, (null.fileno(),) * count).refusal == Refusal.MALFORMED
        settled = sealer.extended
        # What is refused for its descriptors has not even come so far.
        unsettled(federation)
        assert peer.ask(frame, (null.fileno(),) * (count + 1)).refusal == Refusal.MALFORMED
    assert settled == (0 if operation in WITHOUT_WAITING else 1)
    assert sealer.extended == settled


def test_a_root_settles_its_opening_before_it_gives_a_total_or_merges(
    peer: Anchored, sealer: AnchoredSealer, tmp_path: Path
) -> None:
    announcement = open_round(peer)
    admit(peer, announcement, tmp_path, "a", "b")
    federation = peer.service._federation
    assert federation is not None
    assert sealer.extended == 1
    assert peer.do("total", TotalRequest(peers=(), shards=())).held
    assert peer.do("tell", Empty()).refusal == ""
    assert sealer.extended == 1  # of no shard: nobody has heard of anything
    unsettled(federation)
    with opened(tmp_path / "base", bytes(MODEL.payload)) as base:
        frame = Request(operation="merge", body=b"\xff").to_bytes()
        assert peer.ask(frame, (base,)).refusal == Refusal.MALFORMED
    assert sealer.extended == 2


def test_nothing_of_a_model_leaves_before_its_release_is_settled(
    peer: Anchored, sealer: AnchoredSealer, tmp_path: Path
) -> None:
    admit(peer, open_round(peer), tmp_path, "a", "b")
    with opened(tmp_path / "base", bytes(MODEL.payload)) as base:
        assert peer.do("close", CloseRequest(base_offset=0, time=2), (base,)).refusal == ""
    assert sealer.extended == 1  # the opening's
    sealer.extend(bytes(32))  # by somebody else, who means this release to be forgotten
    fetch = FetchRequest(model_offset=0)
    with opened(tmp_path / "new") as new:
        assert peer.do("fetch", fetch, (new,)).refusal == Refusal.ROLLED_BACK
        assert os.fstat(new).st_size == 0


# -- resume


def test_a_segment_longer_than_any_is_refused_unread(restarted: Anchored, tmp_path: Path) -> None:
    before = restarted.status()
    with (
        opened(tmp_path / "model", bytes(MODEL.payload)) as model,
        opened(tmp_path / "segment", segment.MAGIC) as sealed,
    ):
        os.ftruncate(sealed, (4 << 30) + 1)
        request = ResumeRequest(
            manifest=MANIFEST,
            approvals=APPROVALS,
            schema=SCHEMA.to_bytes(),
            payload_offset=0,
            log_size=0,
        )
        reply = restarted.do("resume", request, (model, sealed))
    assert reply.refusal == Refusal.STATE
    assert restarted.status() == before


@pytest.mark.parametrize("has", range(6))
def test_a_host_is_given_the_statements_that_it_lacks_and_told_where_they_begin(
    peer: Anchored, restarted: Anchored, tmp_path: Path, has: int
) -> None:
    announcement = open_round(peer)
    admit(peer, announcement, tmp_path, "a", "b")
    resumed = Resumed.from_bytes(restarted.resume(peer.segment, tmp_path, log_size=has).body)
    # The start is in an earlier segment: the host must have it.
    assert resumed.first_leaf == min(max(has, 1), 4)
    assert len(resumed.statements) == 4 - resumed.first_leaf
    if has <= 1:
        assert resumed.statements[0] == announcement
    assert resumed.log.size == 4
    assert len(resumed.awaits) == 2
    assert restarted.status() == ("collecting", 1, 2, 4)


def test_a_refused_attach_closes_what_came_with_it_and_an_accepted_one_keeps_it(
    peer: Anchored, restarted: Anchored, tmp_path: Path
) -> None:
    admit(peer, open_round(peer), tmp_path, "a", "b")
    assert restarted.resume(peer.segment, tmp_path).refusal == ""
    before = held_open()
    frame = Request(operation="attach", body=b"\xff").to_bytes()
    with opened(tmp_path / "a", (tmp_path / "a").read_bytes()) as right:
        assert restarted.ask(frame, (right,)).refusal == Refusal.MALFORMED
        assert held_open() == before + 1  # the test's own
        with opened(tmp_path / "other", b"FEU1" + bytes(60)) as other:
            assert restarted.do("attach", Empty(), (other,)).refusal == Refusal.STORAGE
        assert restarted.do("attach", Empty(), (right,)).refusal == ""
        assert held_open() == before + 2
        assert restarted.do("attach", Empty(), (right,)).refusal == Refusal.STORAGE
        assert held_open() == before + 2
    assert held_open() == before + 1


def test_a_service_resumed_behind_its_release_settles_it_before_anything_is_told(
    peer: Anchored, restarted: Anchored, sealer: AnchoredSealer, tmp_path: Path
) -> None:
    admit(peer, open_round(peer), tmp_path, "a", "b")
    with opened(tmp_path / "base", bytes(MODEL.payload)) as base:
        assert peer.do("close", CloseRequest(base_offset=0, time=2), (base,)).refusal == ""
    assert sealer.extended == 1
    reply = restarted.resume(peer.segment, tmp_path, log_size=1)
    assert Resumed.from_bytes(reply.body).closed
    assert sealer.extended == 2
    # The updates were nothing, so the host has the model of the release.
    assert restarted.status()[0] == "idle"
    with opened(tmp_path / "new") as new:
        restarted.do("fetch", FetchRequest(model_offset=0), (new,))
    assert sealer.extended == 2
