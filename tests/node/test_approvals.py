"""Only what the record of an owner says may run is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedenclave.node.approvals import AppApprovals, AppNotApproved
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from tests.node.apps import bundle

NOW = 1_800_000_000


def test_an_approved_app_comes_back_as_the_owner_saw_it(tmp_path: Path) -> None:
    app, approvals = bundle(), AppApprovals(tmp_path)
    approvals.approve(app, by="anna", now=NOW)
    record, copy = approvals.require(app.fab_hash)
    assert copy == app
    assert (record.approved_by, record.approved_at, record.holds) == ("anna", NOW, True)


def test_whoever_decides_is_named_in_any_script(tmp_path: Path) -> None:
    app, approvals = bundle(), AppApprovals(tmp_path)
    for name in ("Zoë", "陳", "\U0001f9d1\u200d⚕️"[0], 'a "quoted" \\ name'):
        approvals.approve(app, by=name, now=NOW)
        assert approvals.require(app.fab_hash)[0].approved_by == name


def test_another_version_or_another_dependency_is_another_app(tmp_path: Path) -> None:
    approvals = AppApprovals(tmp_path)
    approvals.approve(bundle(), by="anna", now=NOW)
    for other in (bundle(version="1.0.1"), bundle(dependencies='"requests"')):
        with pytest.raises(AppNotApproved, match="is not approved"):
            approvals.require(other.fab_hash)


def test_a_revoked_app_does_not_run_and_is_not_approved_by_accident(tmp_path: Path) -> None:
    app, approvals = bundle(), AppApprovals(tmp_path)
    approvals.approve(app, by="anna", now=NOW)
    approvals.approve(bundle(version="2"), by="anna", now=NOW)
    approvals.revoke(app.fab_hash[:8], by="ben", now=NOW + 1)
    with pytest.raises(AppNotApproved, match="was revoked"):
        approvals.require(app.fab_hash)
    with pytest.raises(ConfigurationError, match="revoked by ben"):
        approvals.approve(app, by="anna", now=NOW + 2)
    approvals.approve(app, by="anna", now=NOW + 2, again=True)
    approvals.require(app.fab_hash)
    assert len(approvals.revoke("clinic/small", by="ben", now=NOW + 3)) == 2


@pytest.mark.parametrize("sent", ["", "../../x", "A" * 64, "0" * 63, "0" * 64])
def test_a_hash_that_is_none_is_refused(tmp_path: Path, sent: str) -> None:
    with pytest.raises(AppNotApproved):
        AppApprovals(tmp_path).require(sent)


def test_a_changed_copy_or_record_runs_nothing(tmp_path: Path) -> None:
    app, other, approvals = bundle(), bundle(version="2"), AppApprovals(tmp_path)
    approvals.approve(app, by="anna", now=NOW)
    copy, record = (approvals.folder / f"{app.fab_hash}.{kind}" for kind in ("fab", "toml"))
    copy.write_bytes(other.data)
    with pytest.raises(ConfigurationError, match="was changed"):
        approvals.require(app.fab_hash)
    approvals.approve(app, by="anna", now=NOW)
    text = record.read_bytes()
    for broken in (b"", text[:-5], text + b"x = 1\n", text.replace(b"= 0", b"= -1")):
        record.write_bytes(broken)
        with pytest.raises(FedEnclaveError):
            approvals.require(app.fab_hash)
    # One app's approval under another's name.
    (approvals.folder / f"{other.fab_hash}.toml").write_bytes(text)
    with pytest.raises(ConfigurationError, match="is for app"):
        approvals.require(other.fab_hash)


def test_a_name_that_would_break_a_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name of who decides"):
        AppApprovals(tmp_path).approve(bundle(), by="an\nna", now=NOW)
    assert not AppApprovals(tmp_path).records()
