"""The app that the operator ships instead: it would run, and no owner could approve it (T12)."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[demo]'")

from fedenclave.demo.apps import app_folder
from fedenclave.demo.changed_app import APP, PUT_IN, REFUSED, TRACE, ChangedApp, change_app
from fedenclave.node.bundle import read_app
from fedenclave.node.inspection import inspect


def test_the_changed_app_is_another_one_without_its_mod_and_leaves_a_trace(tmp_path: Path) -> None:
    honest, changed = read_app(app_folder(APP)), read_app(change_app(tmp_path / "changed"))
    assert honest.app_id == changed.app_id
    assert honest.version == changed.version
    assert honest.fab_hash != changed.fab_hash
    differing = {n for n in honest.files if honest.files[n] != changed.files[n]}
    assert differing == {"hospital/client_app.py", "hospital/server_app.py"}
    text = changed.files["hospital/client_app.py"].decode()
    assert PUT_IN in text
    assert TRACE in text.partition("import logging")[0]
    compile(text, "client_app.py", "exec")
    compile(changed.files["hospital/server_app.py"], "server_app.py", "exec")
    assert not inspect(honest, None).objections
    assert any("first mod" in each for each in inspect(changed, None).objections)


def test_a_node_that_ran_it_or_answered_or_said_nothing_is_no_success() -> None:
    said = dict.fromkeys("abcd", "app 00 is not approved by this node's owner")
    for refusals, answered, has_run, failed in (
        (said, 0, False, True),
        ({"a": said["a"]}, 0, False, False),
        (said, 1, False, False),
        (said, 0, True, False),
    ):
        came = ChangedApp(taken_out="", refusals=refusals, answered=answered, has_run=has_run)
        assert came.failed(4) is failed


def test_a_refusal_is_found_in_a_nodes_own_log() -> None:
    refusal = f"app {'0' * 64} is not approved by this node's owner"
    found = REFUSED.match(f"2026-11-28T18:08:05Z launcher: error: {refusal}")
    assert found is not None
    assert found.group(1) == refusal
    assert not REFUSED.match("2026-11-28T18:08:05Z supernode: INFO : app 00 is fine")
