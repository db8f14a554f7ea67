"""T15: what is sealed must open again, however long a federation runs and whoever floods it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.enclave import journal as journal_module
from fedenclave.enclave import service
from fedenclave.enclave.journal import Journal, read_segment
from fedenclave.enclave.sealing.insecure import InsecureSealer
from fedenclave.enclave.transitions import ReleasedCohort
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.frames import AbortRequest, Empty, OpenRequest, Request, ResumeRequest
from fedenclave.protocol.manifest import MAX_CLIENTS
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.shards import manifest_of
from tests.enclave.test_journal import SNAPSHOT
from tests.enclave.test_resume import collected, refusal
from tests.enclave.test_round_end import held_open
from tests.enclave.test_service import APPROVALS, MANIFEST, MODEL, SCHEMA, Peer, opened, start


def test_state_of_the_largest_roster_opens_again_after_600_rounds() -> None:
    """The guard remembers every cohort, also on models that no round will be on again."""
    names = [f"hospital-{n:04d}" for n in range(MAX_CLIENTS)]
    history = b"".join(
        ReleasedCohort.of(Digest(n.to_bytes(32, "big")), names, names).joined() for n in range(600)
    )
    sealer, manifest = InsecureSealer(), manifest_of(DEFAULT_RULES)
    journal = Journal(sealer, manifest)
    journal.begin(replace(SNAPSHOT, history=history))
    journal.notes.statements.append(b"an announcement")
    assert read_segment(journal.take(), sealer, manifest).snapshot.history == history


def test_enclave_takes_no_more_updates_than_its_state_can_be_read_again_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rejections cost a sender nothing; millions of them make a segment longer than any."""
    monkeypatch.setattr(journal_module, "MAX_SEGMENT", 64 << 10)
    monkeypatch.setattr(service, "MAX_SEGMENT", 64 << 10)
    peer = Peer()
    start(peer, tmp_path)
    cohort = OpenRequest(cohort=("a", "b"), training_config=NO_TRAINING_CONFIG, time=2)
    segment = peer.ask(Request(operation="open", body=cohort.to_bytes()).to_bytes()).transition
    with opened(tmp_path / "flood", b"no update at all") as flood:
        frame = Request(operation="admit", body=Empty().to_bytes()).to_bytes()
        refusals, before = [], held_open()
        for _ in range(300):
            reply = peer.ask(frame, (flood,))
            segment += reply.transition
            refusals.append(reply.refusal)
        assert held_open() == before  # of what is not taken nothing is kept open
    # Some were judged, and then none any more; the round itself can end.
    taken = refusals.index(Refusal.STATE)
    assert set(refusals[:taken]) == {""}
    assert set(refusals[taken:]) == {Refusal.STATE}
    peer.close()
    again = Peer()
    resume = ResumeRequest(
        manifest=MANIFEST,
        approvals=APPROVALS,
        schema=SCHEMA.to_bytes(),
        payload_offset=0,
        log_size=10_000,
    )
    frame = Request(operation="resume", body=resume.to_bytes()).to_bytes()
    with (
        opened(tmp_path / "model", bytes(MODEL.payload)) as model,
        opened(tmp_path / "segment", segment) as sealed,
    ):
        assert again.ask(frame, (model, sealed)).refusal == ""
    abort = Request(operation="abort", body=AbortRequest(time=3).to_bytes()).to_bytes()
    assert again.ask(abort).refusal == ""
    assert again.ask(Request(operation="open", body=cohort.to_bytes()).to_bytes()).refusal == ""
    with opened(tmp_path / "flood", b"no update at all") as flood:
        frame = Request(operation="admit", body=Empty().to_bytes()).to_bytes()
        assert again.ask(frame, (flood,)).refusal == ""
    again.close()


def test_nothing_is_said_between_two_rounds_that_the_state_has_no_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of evaluations there may be millions, too. A round's opening begins another segment."""
    enclave = collected()
    enclave.close()
    enclave.write()
    federation, log = enclave.federation, enclave.federation.log
    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "MAX_SEGMENT", 0)
        assert refusal(lambda: federation.evaluated(Digest(bytes(32)), 1)) is Refusal.STATE
        assert refusal(lambda: federation.shut_down(1)) is Refusal.STATE
        assert federation.log == log
    assert federation.evaluated(Digest(bytes(32)), 1)
    assert federation.shut_down(1)
