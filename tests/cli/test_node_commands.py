"""`fedenclave node` as a data owner types it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from fedenclave.client.folder import ClientFolder
from fedenclave.demo.certificates import make_server_certificate
from fedenclave.demo.ports import pick_free_ports
from fedenclave.protocol.digests import to_text
from tests.cli.conftest import Command
from tests.node.apps import SHADOW, WITHOUT_MOD, fab, files


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_an_app_is_shown_approved_listed_and_revoked(
    federation: Path, tmp_path: Path, fedenclave: Command
) -> None:
    node, app = federation / "alpha", written(tmp_path / "small.fab", fab(files()))
    done = fedenclave("node", "approve", app, "--dir", node, "--by", "anna", "--yes", "--json")
    assert done.status == 0, done.err
    shown = json.loads(done.out)
    assert shown["approved"] is True
    assert shown["confidential_mod_first"] is True
    assert set(shown["files"]) == set(files())
    assert shown["leaves_this_machine"][-1] == "nothing else"
    listed = json.loads(fedenclave("node", "apps", "--dir", node, "--json").out)
    assert [(each["approved_by"], each["may_run"]) for each in listed] == [("anna", True)]
    assert fedenclave("node", "revoke", shown["fab_hash"], "--dir", node).status == 0
    assert " no " in fedenclave("node", "apps", "--dir", node).out
    refused = fedenclave("node", "approve", app, "--dir", node, "--yes")
    assert refused.status == 1
    assert "hint: --again" in refused.err


def test_a_new_version_replaces_the_approved_one_in_one_step(
    federation: Path, tmp_path: Path, fedenclave: Command
) -> None:
    node = federation / "alpha"
    old = written(tmp_path / "old.fab", fab(files(version="0.9.0")))
    new = written(tmp_path / "new.fab", fab(files(version="1.0.0")))
    words = ("node", "approve", new, "--dir", node, "--yes", "--replace")
    refused = fedenclave(*words)
    assert refused.status == 1
    assert "none to replace" in refused.err
    assert "hint: " in refused.err
    assert not (node / "apps").exists()
    assert fedenclave("node", "approve", old, "--dir", node, "--yes").status == 0
    done = fedenclave(*words)
    assert done.status == 0, done.err
    assert "pyproject.toml" in done.out
    assert "revoked: clinic/small 0.9.0" in done.out
    listed = json.loads(fedenclave("node", "apps", "--dir", node, "--json").out)
    held = {each["version"]: each["may_run"] for each in listed}
    assert held == {"0.9.0": False, "1.0.0": True}
    back = fedenclave("node", "approve", old, "--dir", node, "--yes", "--replace", "--json")
    assert back.status == 1
    assert "hint: --again" in back.err
    back = fedenclave(
        "node", "approve", old, "--dir", node, "--yes", "--replace", "--again", "--json"
    )
    assert json.loads(back.out)["replaces"]["replaced"][0]["version"] == "1.0.0"
    assert list(json.loads(back.out)["replaces"]["changed"]) == ["pyproject.toml"]


def test_an_app_with_something_against_it_is_never_approved(
    federation: Path, tmp_path: Path, fedenclave: Command
) -> None:
    node = federation / "alpha"
    for app in (files(client_app=WITHOUT_MOD), files(more={"fedenclave/__init__.py": SHADOW})):
        path = written(tmp_path / "hostile.fab", fab(app))
        done = fedenclave("node", "approve", path, "--dir", node, "--yes")
        assert done.status == 1
        assert "error: app cannot be approved" in done.err
        assert "Traceback" not in done.err
    assert json.loads(fedenclave("node", "apps", "--dir", node, "--json").out) == []
    assert not (node / "apps").exists()


def test_bad_input_is_one_error_with_a_hint(
    federation: Path, tmp_path: Path, fedenclave: Command
) -> None:
    app = written(tmp_path / "small.fab", b"PK")
    for words in (
        ("approve", app, "--dir", federation / "alpha"),
        ("approve", tmp_path / "none", "--dir", federation / "alpha"),
        ("approve", app, "--dir", tmp_path / "none"),
        ("revoke", "clinic/none", "--dir", federation / "alpha"),
        ("apps", "--dir", tmp_path / "none"),
    ):
        done = fedenclave("node", *words)
        assert done.status == 1
        assert done.err.startswith("error: ")
        assert "hint: " in done.err


def test_an_app_is_approved_unasked_by_the_hash_that_was_read_and_no_other(
    federation: Path, tmp_path: Path, fedenclave: Command
) -> None:
    node, app = federation / "alpha", written(tmp_path / "small.fab", fab(files()))
    read = json.loads(fedenclave("node", "show", app, "--dir", node, "--json").out)["fab_hash"]
    newer = written(tmp_path / "newer.fab", fab(files(version="1.0.1")))
    for words in ((newer, "--hash", read), (app, "--hash", read[:-1]), (newer, "--hash", read)):
        done = fedenclave("node", "approve", *words, "--dir", node, "--yes")
        assert done.status == 1
        assert "error: app has hash" in done.err
        assert not (node / "apps").exists()
    done = fedenclave("node", "approve", app, "--dir", node, "--hash", read)
    assert done.status == 0, done.err
    assert f"approved: clinic/small 1.0.0, {read}" in done.out


def test_an_app_may_name_the_manifest_that_it_is_for(
    federation: Path, tmp_path: Path, fedenclave: Command
) -> None:
    node = federation / "alpha"
    digest = to_text(ClientFolder(node).manifest().digest)
    right = written(tmp_path / "right.fab", fab(files(manifest=digest)))
    assert fedenclave("node", "approve", right, "--dir", node, "--yes").status == 0
    wrong = written(tmp_path / "wrong.fab", fab(files(manifest=digest[:-1] + "x")))
    done = fedenclave("node", "approve", wrong, "--dir", node, "--yes")
    assert done.status == 1
    assert "is made for manifest" in done.err


def test_a_node_is_set_up_checked_and_says_what_it_lacks(
    federation: Path, fedenclave: Command
) -> None:
    node = federation / "alpha"
    done = fedenclave("node", "init", "--dir", node, "--superlink", "superlink.example:9092")
    assert done.status == 0, done.err
    assert (node / "node.key.pub").read_text().startswith("ecdsa-sha2-nistp384 ")
    rows = fedenclave("node", "check", "--dir", node, "--json")
    assert rows.status == 1
    lacking = {r["what"]: r["hint"] for r in json.loads(rows.out) if r["state"] == "missing"}
    assert {"apps", "root certificate"} <= set(lacking)
    assert all(lacking.values())
    again = fedenclave("node", "init", "--dir", node, "--superlink", "superlink.example:9092")
    assert again.status == 1
    assert "exists already" in again.err


def test_a_check_asks_the_superlink_unless_it_is_told_not_to(
    federation: Path, fedenclave: Command
) -> None:
    node = federation / "alpha"
    (port,) = pick_free_ports(1)
    address = f"127.0.0.1:{port}"
    assert fedenclave("node", "init", "--dir", node, "--superlink", address).status == 0
    made = make_server_certificate(federation / "tls", now=datetime.now(UTC))
    (node / "superlink-ca.pem").write_bytes(made.ca_certificate.read_bytes())

    def superlink(*words: str) -> list[str]:
        rows = json.loads(fedenclave("node", "check", "--dir", node, "--json", *words).out)
        return [each["state"] for each in rows if each["what"] == "superlink"]

    assert superlink() == ["unreachable"]
    assert superlink("--offline") == []
    (node / "node.toml").write_text("nothing")
    assert superlink() == []


def test_a_manifest_that_others_have_not_approved_yet_is_said(
    federation: Path, fedenclave: Command
) -> None:
    node = federation / "alpha"
    for path in (node / "approvals").glob("*.approval"):
        if path.stem != "alpha":
            path.unlink()
    rows = json.loads(fedenclave("node", "check", "--dir", node, "--json").out)
    (row,) = [each for each in rows if each["what"] == "manifest"]
    assert row["state"] == "missing"
    assert "has 1 approvals, want" in row["found"]
    assert "add-approvals" in row["hint"]
