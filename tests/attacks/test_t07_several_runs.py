"""T7: an operator with several runs of one state, and an anchor, is told one history only.

It keeps every segment, starts what it likes from any of them, and asks the runs in any order:
what is told between rounds is settled as the ends of rounds are.
"""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import numpy as np
import pytest

from fedenclave.audit.fork import NoFork, denounce
from fedenclave.audit.log_entry import Committing, open_entry
from fedenclave.enclave import service as service_module
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.frames import (
    AbortRequest,
    Closed,
    CloseRequest,
    Empty,
    EvaluatedRequest,
    FetchRequest,
    Note,
    OpenRequest,
    Reply,
    Request,
    Resumed,
    ResumeRequest,
    ShutdownRequest,
    SignedStatement,
)
from fedenclave.protocol.records import Record
from fedenclave.protocol.signed_note import SignedNote
from fedenclave.protocol.signing import PublicKey, Signed
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.enclave.test_journal import AnchoredSealer
from tests.enclave.test_round_end import sealed_for
from tests.enclave.test_service import APPROVALS, MANIFEST, MODEL, SCHEMA, Peer, opened, start
from tests.honest.enclave_in_thread import OrdinaryMemory

STEPS = 150
WEIGHTS = {
    **dict.fromkeys(("open", "admit", "close", "fetch", "tell"), 4),
    **{"evaluated": 6, "resume": 5, "abort": 1, "note": 1, "shutdown": 1},
}


class Run:
    """A service that is running, and the segment that its host has of it."""

    def __init__(self, sealer: AnchoredSealer) -> None:
        self.peer, self.segment, self.announcement = Peer(), b"", b""
        assert self.peer.status()[0] == "new"
        self.peer.service._sealer = self.peer.service._machine_sealer = sealer


class Operator:
    """Keeps all that it is told, and every state."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, np.random.default_rng(seed)
        self.sealer = AnchoredSealer()
        self.runs, self.segments = [Run(self.sealer)], list[bytes]()
        self.told: set[bytes] = set()
        self.notes: set[tuple[str, ...]] = set()
        start(self.runs[0].peer, folder)

    def ask(self, run: Run, operation: str, body: Record, *descriptors: int) -> Reply:
        frame = Request(operation=operation, body=body.to_bytes()).to_bytes()
        reply = run.peer.ask(frame, descriptors)
        if reply.transition:
            whole = reply.transition.startswith(b"FES1")
            run.segment = reply.transition if whole else run.segment + reply.transition
            self.segments.append(run.segment)
        assert reply.refusal != "internal"
        return reply

    def take(self, run: Run, *statements: bytes) -> None:
        self.told |= {*statements}
        for signed in statements:
            if Signed.from_bytes(signed).type == "announcement":
                run.announcement = signed

    def step(self) -> None:
        run = self.runs[self.random.integers(len(self.runs))]
        weights = np.array(list(WEIGHTS.values()))
        operation = str(self.random.choice(list(WEIGHTS), p=weights / weights.sum()))
        if operation == "resume":
            self.resume()
        elif operation == "admit":
            self.admit(run)
        elif operation in ("close", "fetch"):
            self.end(run, operation)
        else:
            self.say(run, operation)

    def say(self, run: Run, operation: str) -> None:
        bodies: dict[str, Record] = {
            "open": OpenRequest(cohort=("a", "b"), training_config=NO_TRAINING_CONFIG, time=1),
            "abort": AbortRequest(time=1),
            "evaluated": EvaluatedRequest(digest=Digest(self.random.bytes(32)), time=1),
            "shutdown": ShutdownRequest(time=1),
        }
        reply = self.ask(run, operation, bodies.get(operation, Empty()))
        if reply.refusal or reply.held:
            return
        if operation == "note":
            note = SignedNote.from_bytes(Note.from_bytes(reply.body).note)
            self.notes.add(tuple(note.unverified_text.splitlines()[1:3]))
        else:
            self.take(run, SignedStatement.from_bytes(reply.body).statement)

    def admit(self, run: Run) -> None:
        for name in "ab" if run.announcement else "":
            with opened(self.folder / name, sealed_for(run.announcement, name)) as update:
                self.ask(run, "admit", Empty(), update)

    def end(self, run: Run, operation: str) -> None:
        with opened(self.folder / operation, bytes(MODEL.payload)) as file:
            if operation == "close":
                self.ask(run, "close", CloseRequest(base_offset=0, time=2), file)
                return
            reply = self.ask(run, "fetch", FetchRequest(model_offset=0), file)
        if not reply.refusal:
            self.take(run, Closed.from_bytes(reply.body).release)

    def resume(self) -> None:
        if not self.segments:
            return
        run = Run(self.sealer)
        newest = self.segments[-3:]
        run.segment = newest[self.random.integers(len(newest))]
        request = ResumeRequest(
            manifest=MANIFEST,
            approvals=tuple(APPROVALS),
            schema=SCHEMA.to_bytes(),
            payload_offset=0,
            log_size=0,
        )
        with (
            opened(self.folder / "base", bytes(MODEL.payload)) as base,
            opened(self.folder / "state", run.segment) as state,
        ):
            reply = self.ask(run, "resume", request, base, state)
        if reply.refusal:
            run.peer.close()
            return
        self.take(run, *Resumed.from_bytes(reply.body).statements)
        for name in "ab":
            path = self.folder / name
            with opened(path, path.read_bytes() if path.exists() else b"") as update:
                self.ask(run, "attach", Empty(), update)
        for old in self.runs[:-2]:
            old.peer.close()
        self.runs = [*self.runs[-2:], run]


@pytest.mark.parametrize("seed", range(12))
def test_of_several_runs_of_one_state_no_two_tell_what_proves_a_fork(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = service_module.read_measured_code()
    monkeypatch.setattr(service_module, "read_measured_code", lambda: measured)
    monkeypatch.setattr(service_module, "SecretMemory", OrdinaryMemory)
    operator = Operator(tmp_path, seed)
    federation = operator.runs[0].peer.service._federation
    assert federation is not None
    key = PublicKey(federation.signing_key)
    for _ in range(STEPS):
        operator.step()
    told = [said for said in operator.told if isinstance(open_entry(said).unverified, Committing)]
    assert told
    for first, second in itertools.combinations(told, 2):
        with contextlib.suppress(NoFork):
            pytest.fail(f"{open_entry(first)} {open_entry(second)} {denounce(first, second, key)}")
    # And of each size one root.
    assert len({size for size, _ in operator.notes}) == len(operator.notes)
    for run in operator.runs:
        run.peer.close()
