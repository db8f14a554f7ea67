"""Only what the record of an owner says may run is run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from fedenclave.node.approvals import AppApprovals, AppNotApproved
from fedenclave.node.replacement import replacement
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from tests.node.apps import CLIENT_APP, bundle
from tests.node.full_disk import full_after

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


def test_a_new_version_takes_the_place_of_every_earlier_one_of_its_app(tmp_path: Path) -> None:
    approvals = AppApprovals(tmp_path)
    first, second, new = (bundle(version=version) for version in ("1.0.0", "1.0.1", "1.1.0"))
    other = bundle(version="1.0.0", name="other")
    for number, app in enumerate((first, second, other)):
        approvals.approve(app, by="anna", now=NOW + number)
    seen = replacement(new, approvals)
    assert [each.version for each in seen.replaced] == ["1.0.0", "1.0.1"]
    assert set(seen.changed) == {"pyproject.toml"}
    assert not seen.added
    assert not seen.removed
    assert seen.unchanged == 3
    record, revoked = approvals.replace(new, by="berta", now=NOW + 9)
    assert record.holds
    assert [each.fab_hash for each in revoked] == [first.fab_hash, second.fab_hash]
    held = [each.fab_hash for each in approvals.records() if each.holds]
    assert held == [other.fab_hash, new.fab_hash]
    with pytest.raises(AppNotApproved, match="was revoked"):
        approvals.require(second.fab_hash)


def test_what_differs_is_said_by_file(tmp_path: Path) -> None:
    approvals = AppApprovals(tmp_path)
    old = bundle(more={"small/gone.py": "A = 1\n"})
    new = bundle(client_app=CLIENT_APP + "\nB = 1\n", more={"small/come.py": "A = 1\n"})
    approvals.approve(old, by="anna", now=NOW)
    seen = replacement(new, approvals)
    digest = hashlib.sha256(b"A = 1\n").hexdigest()
    assert seen.added == {"small/come.py": digest}
    assert seen.removed == {"small/gone.py": digest}
    assert set(seen.changed) == {"small/client_app.py"}
    before, after = seen.changed["small/client_app.py"]
    assert before == hashlib.sha256(old.files["small/client_app.py"]).hexdigest()
    assert after == hashlib.sha256(new.files["small/client_app.py"]).hexdigest()


def test_where_there_is_nothing_to_replace_nothing_is_approved(tmp_path: Path) -> None:
    approvals = AppApprovals(tmp_path)
    approvals.approve(bundle(name="other"), by="anna", now=NOW)
    with pytest.raises(ConfigurationError, match="none to replace"):
        replacement(bundle(), approvals)
    approvals.approve(bundle(), by="anna", now=NOW)
    with pytest.raises(ConfigurationError, match="none to replace"):
        replacement(bundle(), approvals)  # it is approved itself


def test_a_full_disk_leaves_what_was_approved_and_the_same_again_ends_it(tmp_path: Path) -> None:
    approvals = AppApprovals(tmp_path)
    old, new = bundle(version="1.0.0"), bundle(version="1.1.0")
    approvals.approve(old, by="anna", now=NOW)
    for written in range(3):  # the new bundle, its record, the old record
        with full_after(written), pytest.raises(ConfigurationError, match="No space left"):
            approvals.replace(new, by="anna", now=NOW + 1)
        assert approvals.require(old.fab_hash)[0].holds
        assert not [path for path in approvals.folder.iterdir() if path.name.startswith(".")]
    approvals.replace(new, by="anna", now=NOW + 2)
    assert [each.fab_hash for each in approvals.records() if each.holds] == [new.fab_hash]
