"""T12: what a SuperLink sends runs only as the owner's own copy, and else not one line of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedenclave.client.events import EventFile
from fedenclave.client.refusals import Cause
from fedenclave.node.admitted import CLIENT_APP, FOR_HOST, admit, unpack
from fedenclave.node.app_process import Answer, answer
from fedenclave.node.approvals import AppApprovals, AppNotApproved
from fedenclave.node.configuration import write_configuration
from tests.node import apps

HOSTILE = {
    "without the mod": apps.files(client_app=apps.WITHOUT_MOD),
    "shadowing": apps.files(more={"fedenclave/__init__.py": apps.SHADOW}),
    "another dependency": apps.files(dependencies='"requests"'),
    "another version": apps.files(version="1.0.1"),
    "one byte more": apps.files(client_app=apps.CLIENT_APP + "\n"),
}


@pytest.fixture
def approvals(tmp_path: Path) -> AppApprovals:
    made = AppApprovals(tmp_path)
    write_configuration(tmp_path, address="superlink.example:9092", port=9094)
    made.approve(apps.bundle(), by="anna", now=1)
    return made


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "trace"
    folder.mkdir()
    monkeypatch.setenv("FEDENCLAVE_TRACE", str(folder))
    # What an app imports must not be there for the next test.
    before, path = set(sys.modules), list(sys.path)
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    yield folder
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "small":
            del sys.modules[name]


def ask(sent: bytes, approvals: AppApprovals, task_type: str = CLIENT_APP) -> Answer:
    message = Message(RecordDict({"ask": ConfigRecord({})}), dst_node_id=1, message_type="train")
    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    return answer(message, context, sent, task_type, approvals)


def refusals(approvals: AppApprovals) -> list[object]:
    """Return the causes of what was refused, as the owner's folder keeps them."""
    return [event.facts["cause"] for event in EventFile(approvals.folder.parent).read().recent]


def test_the_approved_app_runs(approvals: AppApprovals, trace: Path) -> None:
    given = ask(apps.bundle().data, approvals)
    assert given.done
    # Its mod refuses: the message carries no offer.
    assert "no offer from an enclave" in given.message.error.reason
    assert [each.name for each in trace.iterdir()] == ["honest"]


@pytest.mark.parametrize("what", HOSTILE)
def test_another_app_does_not_run(
    what: str, approvals: AppApprovals, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ask(apps.fab(HOSTILE[what]), approvals)
    assert not given.done
    assert given.message.error.reason == FOR_HOST
    assert not list(trace.iterdir())
    assert "is not approved by this node's owner" in capsys.readouterr().err
    assert refusals(approvals) == [Cause.APP]


def test_an_old_version_that_was_revoked_does_not_run(approvals: AppApprovals, trace: Path) -> None:
    approvals.revoke("clinic/small", by="ben", now=2)
    approvals.approve(apps.bundle(version="2"), by="ben", now=3)
    assert not ask(apps.bundle().data, approvals).done
    assert not list(trace.iterdir())


@pytest.mark.parametrize("kind", ["flwr-agentapp", "flwr-serverapp", "flwr-model", "", "x" * 999])
def test_an_approved_app_runs_as_a_client_app_and_as_nothing_else(
    kind: str, approvals: AppApprovals, trace: Path
) -> None:
    assert not ask(apps.bundle().data, approvals, kind).done
    assert not list(trace.iterdir())


def test_an_app_that_lies_where_flower_would_look_for_the_approved_one_does_not_run(
    approvals: AppApprovals, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As left by a bundle whose hash has the same first 8 digits.
    app = apps.bundle()
    home = tmp_path / "flwr"
    monkeypatch.setenv("FLWR_HOME", str(home))
    installed = home / "apps" / f"clinic.small.1.0.0.{app.fab_hash[:8]}"
    apps.folder_of(installed, HOSTILE["without the mod"])
    assert ask(app.data, approvals).done
    assert [each.name for each in trace.iterdir()] == ["honest"]


def test_an_app_that_fails_says_why_in_its_own_log_only(
    approvals: AppApprovals, trace: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = apps.bundle(client_app="raise ValueError('patient 7')\n" + apps.CLIENT_APP)
    approvals.approve(failing, by="anna", now=1)
    given = ask(failing.data, approvals)
    assert "patient" not in given.message.error.reason
    assert not given.done
    assert "patient 7" in capfd.readouterr().err
    assert refusals(approvals) == [Cause.APP_FAILED]
    assert b"patient" not in EventFile(approvals.folder.parent).path.read_bytes()


def test_bytes_that_are_no_app_are_refused_unread(approvals: AppApprovals) -> None:
    for sent in (b"", b"PK\x03\x04", b"\0" * 1000):
        with pytest.raises(AppNotApproved):
            admit(sent, CLIENT_APP, approvals)


def test_what_is_unpacked_is_what_was_approved(tmp_path: Path) -> None:
    app = apps.bundle()
    unpack(app, tmp_path / "app")
    found = {
        str(path.relative_to(tmp_path / "app")): path.read_bytes()
        for path in (tmp_path / "app").rglob("*")
        if path.is_file()
    }
    assert found == dict(app.files)
