"""`fedenclave keys`: expiry, show, destroy and backups, as whoever keeps the keys types them."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from fedenclave.keys.keyring import open_keyring
from tests.datasets.conftest import Command
from tests.keys.conftest import PASSPHRASE
from tests.keys.softhsm import soft_token

_numbers = itertools.count()


@pytest.fixture
def own(node: Path) -> Path:
    (node / "own").write_bytes(b"the backup's own")
    (node / "own").chmod(0o600)
    return node / "own"


def test_an_expiry_is_said_when_it_is_made_listed_and_met(
    node: Path, fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fedenclave("keys", "create", "short", "--expires", "2d")
    assert made.status == 0
    assert ", and seals until 20" in made.out
    listed = json.loads(fedenclave("keys", "list", "--json").out)
    assert [row["expires"] != "" for row in listed] == [False, True]
    assert fedenclave("data", "seal", node / "plain", node / "s", "--key", "short").status == 0
    ring = open_keyring(node / "keyring", PASSPHRASE, clock=lambda: 4_000_000_000.0)
    monkeypatch.setattr("fedenclave.keys.keyring.open_keyring", lambda *_, **__: ring)
    refused = fedenclave("data", "seal", node / "plain", node / "t", "--key", "short")
    assert (refused.status, refused.out) == (1, "")
    assert "key short version 1 has expired" in refused.err
    assert "fedenclave keys rotate makes a newer version" in refused.err
    assert not (node / "t").exists()
    assert "expired" in fedenclave("keys", "list").out
    assert fedenclave("data", "verify", node / "s").status == 0


def test_show_names_versions_and_the_datasets_under_each(node: Path, fedenclave: Command) -> None:
    place = node / "sealed"
    place.mkdir()
    for name in ("one", "two"):
        assert fedenclave("data", "seal", node / "plain", place / name).status == 0
    assert fedenclave("keys", "rotate").status == 0
    assert fedenclave("data", "rotate", place / "two").status == 0
    shown = fedenclave("keys", "show", "node", "--datasets", place, "--json")
    assert shown.status == 0
    said = json.loads(shown.out)
    assert said["missing"] == []
    under = {row["version"]: [Path(p).name for p in row["datasets"]] for row in said["versions"]}
    assert under == {1: ["one"], 2: ["two"]}
    table = fedenclave("keys", "show", "node", "--datasets", place)
    assert "sealed/one" in re.sub(r"[^!-~]", "", table.out)  # however long the folder is
    without = fedenclave("keys", "show", "node")
    assert "not looked for" in without.out
    nobody = fedenclave("keys", "show", "nobody")
    assert (nobody.status, nobody.out) == (1, "")
    assert "has no key nobody" in nobody.err


def test_destroy_names_what_becomes_unreadable_and_asks(
    node: Path, fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = node / "sealed"
    place.mkdir()
    assert fedenclave("data", "seal", node / "plain", place / "one").status == 0
    words = ("keys", "destroy", "node", "1", "--datasets", place)
    asked: list[str] = []

    def refuse(question: str, **_: object) -> None:
        asked.append(question)
        raise SystemExit(1)

    monkeypatch.setattr("typer.confirm", refuse)
    ended = fedenclave(*words)
    assert ended.status == 1
    assert f"warning: {place}/one becomes unreadable for ever" in ended.err
    assert "can never be read again (1 datasets named above)" in asked[0]
    assert fedenclave("data", "verify", place / "one").status == 0
    done = fedenclave(*words, "--yes")
    assert done.status == 0
    assert f"backups of {node / 'keyring'} may still hold it" in done.out
    gone = fedenclave("data", "verify", place / "one")
    assert gone.status == 1
    assert "node version 1 was destroyed" in gone.err


def test_a_backup_brings_datasets_back(node: Path, fedenclave: Command, own: Path) -> None:
    assert fedenclave("data", "seal", node / "plain", node / "sealed").status == 0
    made = fedenclave("keys", "backup", node / "backup", "--backup-passphrase-file", own)
    assert made.status == 0
    assert "holds 1 versions of keys, and was read again" in made.out
    assert "still in this file" in made.err
    (node / "keyring").rename(node / "lost")
    back = fedenclave("keys", "restore", node / "backup", "--backup-passphrase-file", own)
    assert (back.status, back.err) == (0, "")
    assert fedenclave("data", "verify", node / "sealed").status == 0
    again = fedenclave("keys", "restore", node / "backup", "--backup-passphrase-file", own)
    assert (again.status, again.out) == (1, "")
    assert "a keyring is never overwritten" in again.err


MISTAKES = [
    (("keys", "create", "x", "--expires", "soon"), "--expires is 'soon', want a day"),
    (("keys", "create", "x", "--expires", "2020-01-01"), "want a time after now"),
    (("keys", "create", "x", "--expires", "1970-01-01"), "want a time after now"),
    (("keys", "rotate", "--expires", "0d"), "--expires is '0d', want a day"),
    (("keys", "backup", "keyring", "--backup-passphrase-file", "own"), "exists already"),
    (("keys", "backup", "no/x", "--backup-passphrase-file", "own"), "cannot write the keyring"),
    (("keys", "restore", "own", "--backup-passphrase-file", "own"), "it is no keyring"),
    (("keys", "show", "node", "--datasets", "none"), "cannot read none"),
    (("keys", "destroy", "node", "1", "--yes", "--datasets", "none"), "cannot read none"),
    (("keys", "list", "--keys", "keyring:none"), "cannot read the keyring none"),
    (("keys", "list", "--keys", "pkcs11:token=a?pin-value=1"), "holds a PIN"),
    (("keys", "init", "--keys", "vault:https://x#t"), "is no keyring"),
    (("keys", "init", "--keyring", "new", "--key", "a/b"), "cannot be named"),
    (("keys", "init", "--keyring", "new", "--expires", "2020-01-01"), "want a time after now"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_a_mistake_is_an_error_and_changes_nothing(
    node: Path,
    own: Path,
    fedenclave: Command,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(node)
    before = {p: p.read_bytes() for p in node.rglob("*") if p.is_file() and "audit" not in p.name}
    ended = fedenclave(*words)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("error: ")
    assert message in ended.err
    assert "Traceback" not in ended.err
    after = {p: p.read_bytes() for p in node.rglob("*") if p.is_file() and "audit" not in p.name}
    after.pop(node / ".keyring.lock", None)
    before.pop(node / ".keyring.lock", None)
    assert after == before


def test_no_key_passphrase_or_pin_is_in_events_messages_or_arguments(
    node: Path, fedenclave: Command, own: Path
) -> None:
    """Every command of a keyring and of a token; then all that was written is searched."""
    token, name = soft_token("node"), f"grep-{next(_numbers)}"
    inside = ("--keys", token.uri(name), "--audit", node / "hsm.jsonl")
    wrong = node / "wrong"
    wrong.write_bytes(b"a-wrong-passphrase")
    wrong.chmod(0o600)
    said = ""
    for words in (
        ("keys", "create", "second"),
        ("keys", "rotate"),
        ("keys", "list"),
        ("keys", "list", "--passphrase-file", wrong),
        ("keys", "backup", node / "backup", "--backup-passphrase-file", own),
        ("data", "seal", node / "plain", node / "sealed"),
        ("keys", "create", name, *inside),
        ("data", "rotate", node / "sealed", "--to", token.uri(name), "--audit", node / "hsm.jsonl"),
        ("data", "verify", node / "sealed"),
        ("data", "verify", node / "sealed", *inside),
        ("keys", "rotate", *inside),
        ("keys", "destroy", name, "1", "--yes", *inside),
        ("data", "verify", node / "sealed", *inside),
        ("keys", "destroy", "node", "1", "--yes"),
        ("keys", "show", "node"),
    ):
        ended = fedenclave(*words)
        said += ended.out + ended.err
    written = said.encode()
    for path in (node / "hsm.jsonl", node / "keyring.audit.jsonl"):
        written += path.read_bytes()
    ring = open_keyring(node / "keyring", PASSPHRASE)
    secrets = [stored.secret for stored in ring._contents.versions if stored.secret]
    assert len(secrets) == 2
    for secret in (*secrets, PASSPHRASE, own.read_bytes(), b"a-wrong-passphrase", b"correct-pin"):
        assert secret not in written
        assert secret.hex().encode() not in written
    assert b"unwrap-refused" in written
    assert b"passphrase-refused" in written
