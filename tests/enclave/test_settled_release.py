"""T7: where the hardware has an anchor, nothing of a release leaves before it is settled there.

Were it told earlier, the operator could hear it, wind the state back, and close the round
again without one client: two releases of one round, and their difference.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.frames import (
    AbortRequest,
    AdmissionResult,
    Closed,
    CloseRequest,
    Empty,
    EvaluatedRequest,
    FetchRequest,
    OpenRequest,
    ReportRequest,
    Request,
    Resumed,
    ResumeRequest,
    ShutdownRequest,
    SignedStatement,
    TotalRequest,
)
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Evaluation, Release
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.enclave.test_journal import AnchoredSealer
from tests.enclave.test_round_end import sealed_for
from tests.enclave.test_service import APPROVALS, MANIFEST, MODEL, SCHEMA, Peer, opened, start


class Machine:
    """A service on hardware with a counter, and what its host has written."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.sealer, self.segment = folder, AnchoredSealer(), b""
        self.boot()
        start(self.peer, folder)
        # `start` asks without keeping: the next round's segment is all that is needed.

    def boot(self) -> None:
        self.peer = Peer()
        assert self.peer.status()[0] == "new"  # the service is there
        self.peer.service._sealer = self.peer.service._machine_sealer = self.sealer

    def ask(self, operation: str, body: Record, *descriptors: int) -> bytes:
        request = Request(operation=operation, body=body.to_bytes())
        reply = self.peer.ask(request.to_bytes(), descriptors)
        assert reply.refusal == "", reply.refusal
        self.write(reply.transition)
        return self.ask("tell", Empty()) if reply.held else reply.body

    def write(self, transition: bytes) -> None:
        self.segment = transition if transition.startswith(b"FES1") else self.segment + transition

    def open(self) -> bytes:
        request = OpenRequest(cohort=("a", "b"), training_config=NO_TRAINING_CONFIG, time=1)
        return SignedStatement.from_bytes(self.ask("open", request)).statement

    def admit(self, announcement: bytes) -> None:
        for name in "ab":
            with opened(self.folder / name, sealed_for(announcement, name)) as update:
                body = self.ask("admit", Empty(), update)
            assert AdmissionResult.from_bytes(body).admitted

    def close_round(self) -> bytes:
        with opened(self.folder / "base", bytes(MODEL.payload)) as base:
            return self.ask("close", CloseRequest(base_offset=0, time=2), base)

    def fetch(self) -> Closed:
        with opened(self.folder / "next") as model:
            return Closed.from_bytes(self.ask("fetch", FetchRequest(model_offset=0), model))

    def resume(self) -> Resumed:
        self.boot()
        request = ResumeRequest(
            manifest=MANIFEST,
            approvals=tuple(APPROVALS),
            schema=SCHEMA.to_bytes(),
            payload_offset=0,
            log_size=0,
        )
        with (
            opened(self.folder / "base", bytes(MODEL.payload)) as base,
            opened(self.folder / "state", self.segment) as state,
        ):
            return Resumed.from_bytes(self.ask("resume", request, base, state))


def test_a_close_tells_nothing_and_the_release_is_settled_before_it_is_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.admit(machine.open())
    assert machine.sealer.extended == 1  # the opening, which has been told
    assert machine.close_round() == Empty().to_bytes()
    assert machine.sealer.extended == 1
    assert machine.fetch().release
    assert machine.sealer.extended == 2
    machine.fetch()
    assert machine.sealer.extended == 2


def test_a_restart_settles_what_it_tells_again(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.admit(machine.open())
    machine.close_round()
    assert machine.sealer.extended == 1
    resumed = machine.resume()
    assert Closed.from_bytes(resumed.closed).release in resumed.statements
    assert machine.sealer.extended == 2


def test_a_round_that_was_closed_is_not_closed_again_without_one_client(tmp_path: Path) -> None:
    """Both ends are sealed, and the operator has both segments: only one is ever told."""
    machine = Machine(tmp_path)
    machine.admit(machine.open())
    before = machine.segment
    machine.close_round()
    first, machine.segment = machine.segment, before
    machine.resume()
    for name in "ab":
        with opened(tmp_path / name, (tmp_path / name).read_bytes()) as update:
            machine.ask("attach", Empty(), update)
    machine.close_round()
    assert machine.fetch().release
    machine.segment = first
    with pytest.raises(AssertionError, match="state-rolled-back"):
        machine.resume()


def test_an_abort_is_settled_before_the_next_round(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.open()
    machine.ask("abort", AbortRequest(time=2))
    assert machine.sealer.extended == 2  # the opening, and the end that has been told
    machine.open()
    assert machine.sealer.extended == 3


@pytest.mark.parametrize("known", [True, False])
def test_an_abort_that_the_hardware_has_not_settled_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    machine = Machine(tmp_path)
    machine.open()
    request = Request(operation="abort", body=AbortRequest(time=2).to_bytes()).to_bytes()
    reply = machine.peer.ask(request)
    assert (reply.refusal, reply.body, reply.held) == ("", b"", True)
    machine.write(reply.transition)
    tell = Request(operation="tell", body=Empty().to_bytes()).to_bytes()
    if known:
        monkeypatch.setattr(machine.sealer, "extend", lambda mark: b"another's")
    else:
        machine.sealer.value = b"w" * 32
    assert machine.peer.ask(tell).refusal == "state-rolled-back"
    monkeypatch.undo()
    if known:
        assert SignedStatement.from_bytes(machine.peer.ask(tell).body).statement


def test_there_is_nothing_to_tell_before_anything_was_held_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    tell = Request(operation="tell", body=Empty().to_bytes()).to_bytes()
    assert machine.peer.ask(tell).refusal == "wrong-state"


@pytest.mark.parametrize("operation", ["report", "total"])
def test_what_other_enclaves_are_told_is_settled_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """Told before, a root could be wound back and sum up another cohort with the same reports."""
    machine = Machine(tmp_path)
    machine.admit(machine.open())
    federation = machine.peer.service._federation
    assert federation is not None

    def said(*_: object) -> object:
        federation._journal.notes.statements.append(b"told")
        federation._note_shared()
        return b"told" if operation == "report" else (b"told",)

    monkeypatch.setattr(federation, operation, said)
    requests = {
        "report": ReportRequest(root=b"", announcement=b"", peers=()),
        "total": TotalRequest(shards=(), peers=()),
    }
    request = Request(operation=operation, body=requests[operation].to_bytes())
    reply = machine.peer.ask(request.to_bytes())
    assert (reply.refusal, reply.body, reply.held) == ("", b"", True)
    machine.write(reply.transition)
    extended = machine.sealer.extended
    assert b"told" in machine.ask("tell", Empty())
    assert machine.sealer.extended == extended + 1


def test_a_shutdown_is_settled_before_it_is_told_and_nothing_follows_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    request = ShutdownRequest(time=3)
    machine.admit(machine.open())
    ask = Request(operation="shutdown", body=request.to_bytes()).to_bytes()
    assert machine.peer.ask(ask).refusal == "wrong-state"
    machine.close_round()
    # Behind a release that nobody has been told, a restart could not cut it off.
    before = machine.peer.status()
    assert machine.peer.ask(ask).refusal == "wrong-state"
    assert machine.peer.status() == before
    machine.fetch()
    extended = machine.sealer.extended
    reply = machine.peer.ask(ask)
    assert (reply.refusal, reply.body, reply.held) == ("", b"", True)
    machine.write(reply.transition)
    assert machine.sealer.extended == extended
    said = SignedStatement.from_bytes(machine.ask("tell", Empty())).statement
    assert machine.sealer.extended == extended + 1
    assert Signed.from_bytes(said).type == "shutdown"
    assert machine.peer.status()[0] == "ended"
    again = OpenRequest(cohort=("a", "b"), training_config=NO_TRAINING_CONFIG, time=1)
    for operation, body in (("open", again), ("shutdown", request), ("note", Empty())):
        asked = Request(operation=operation, body=body.to_bytes())
        assert machine.peer.ask(asked.to_bytes()).refusal == "wrong-state"


def test_a_restart_goes_on_behind_a_shutdown(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.open()
    machine.ask("abort", AbortRequest(time=2))
    said = SignedStatement.from_bytes(machine.ask("shutdown", ShutdownRequest(time=3))).statement
    resumed = machine.resume()
    assert resumed.statements[-1] == said
    assert machine.peer.status()[0] == "idle"
    assert machine.open()


def test_an_evaluation_is_settled_before_it_is_told_and_names_the_newest_model(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path)
    request = EvaluatedRequest(digest=Digest(b"e" * 32), time=3)
    ask = Request(operation="evaluated", body=request.to_bytes()).to_bytes()
    before = machine.peer.status()
    assert machine.peer.ask(ask).refusal == "wrong-state"  # there was no round
    machine.admit(machine.open())
    assert machine.peer.ask(ask).refusal == "wrong-state"
    machine.close_round()
    assert machine.peer.ask(ask).refusal == "wrong-state"
    closed = machine.fetch()
    extended = machine.sealer.extended
    reply = machine.peer.ask(ask)
    assert (reply.refusal, reply.body, reply.held) == ("", b"", True)
    machine.write(reply.transition)
    assert machine.sealer.extended == extended
    said = SignedStatement.from_bytes(machine.ask("tell", Empty())).statement
    assert machine.sealer.extended == extended + 1
    evaluation = Evaluation.from_bytes(Signed.from_bytes(said).payload)
    release = Release.from_bytes(Signed.from_bytes(closed.release).payload)
    assert (evaluation.round, evaluation.model) == (1, release.model)
    assert evaluation.digest == request.digest
    assert before[0] == machine.peer.status()[0] == "idle"
    # As often as one likes, and the next round goes on behind it.
    machine.ask("evaluated", request)
    assert machine.open()
