"""What the mod writes down for the node's owner: reasons from a closed list, and no data."""

from __future__ import annotations

from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedenclave.attestation.result import Check, EvidenceRefused, Trust
from fedenclave.client.events import Asked, EventFile, Kind
from fedenclave.client.refusals import Cause, HistoryRefused
from fedenclave.client.reported import UpdateUnusable
from fedenclave.flower.app_result import ResultRefused
from fedenclave.flower.recorded import Record
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from tests.flower.conftest import add_node_number, make_app


def context(folder: Path | None) -> Context:
    config = {} if folder is None else {"fedenclave-dir": str(folder)}
    return Context(run_id=1, node_id=1, node_config=config, state=RecordDict(), run_config={})


@pytest.fixture(autouse=True)
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


def test_what_is_refused_is_written_with_its_cause_and_what_was_asked(tmp_path: Path) -> None:
    app = make_app(add_node_number)
    plain = Message(RecordDict({"ask": ConfigRecord({})}), dst_node_id=1, message_type="train")
    ask = ConfigRecord({"kind": "hello"})
    hello = Message(RecordDict({"fedenclave": ask}), dst_node_id=1, message_type="train")
    for message in (plain, hello):
        assert app(message, context(tmp_path)).has_error()
    events = EventFile(tmp_path).read().recent
    assert [(event.facts["cause"], event.facts["asked"]) for event in events] == [
        (Cause.OFFER, Asked.UNKNOWN),
        (Cause.CONFIGURATION, Asked.HELLO),  # the folder holds no client
    ]


@pytest.mark.parametrize(
    ("refusal", "cause"),
    [
        (EvidenceRefused("x"), Cause.EVIDENCE),
        (HistoryRefused("x"), Cause.HISTORY),
        (MalformedMessage("x"), Cause.MALFORMED),
        (ConfigurationError("x"), Cause.CONFIGURATION),
    ],
)
def test_each_refusal_has_its_cause(tmp_path: Path, refusal: Exception, cause: Cause) -> None:
    Record(context(tmp_path)).refused(refusal)  # type: ignore[arg-type]
    assert EventFile(tmp_path).read().count(Kind.REFUSED, cause) == 1


def test_of_an_apps_own_result_no_number_and_no_word_is_written(tmp_path: Path) -> None:
    record = Record(context(tmp_path))
    record.refused(ResultRefused("the client app reports 4711 as num-examples"))
    record.refused(UpdateUnusable("metric 4711 is missing"))
    record.defect(RuntimeError("patient 4711"))
    record.app_failed()
    assert b"4711" not in EventFile(tmp_path).path.read_bytes()
    read = EventFile(tmp_path).read()
    assert read.count(Kind.REFUSED, Cause.OWN_RESULT) == 2
    assert read.count(Kind.REFUSED, Cause.DEFECT) == 1
    assert read.count(Kind.REFUSED, Cause.APP_FAILED) == 1


def test_evidence_that_is_refused_says_why_here_and_not_to_the_host(tmp_path: Path) -> None:
    check = Check(name="age", found="9", wanted="1", holds=False, trust=Trust.HARDWARE)
    refused = EvidenceRefused("age is 9, want 1", checks=[check])
    Record(context(tmp_path)).refused(refused)
    (event,) = EventFile(tmp_path).read().recent
    assert event.facts["text"] == "age is 9, want 1"
    assert "9" not in refused.for_host


def test_a_node_without_a_folder_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Record(context(None)).app_failed()
    Record(context(tmp_path / "gone")).app_failed()
    assert not list(tmp_path.iterdir())
