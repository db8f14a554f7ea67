"""node.toml is read strictly, and what is missing or unsafe is one row with a hint."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedenclave.client.folder import ClientFolder
from fedenclave.client.identity import Identity
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.node_data import NodeData
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import Options, seal
from fedenclave.demo.certificates import make_server_certificate
from fedenclave.keys.keyring import create_keyring, open_keyring
from fedenclave.node.approvals import AppApprovals
from fedenclave.node.check import check
from fedenclave.node.check_folder import _policy
from fedenclave.node.configuration import read_configuration, write_configuration
from fedenclave.node.node_key import make_node_key
from fedenclave.node.row import Row, State
from fedenclave.protocol.attestation_policy import AttestationPolicy
from fedenclave.protocol.digests import Digest, sha256, to_text
from fedenclave.protocol.errors import ConfigurationError
from tests.keys.conftest import CHEAP, PASSPHRASE
from tests.keys.events import read_events
from tests.keys.softhsm import soft_token
from tests.node.apps import bundle

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    folder = ClientFolder.create(tmp_path / "node", Identity(client="a-1", member="a")).path
    write_configuration(folder, address="superlink.example:9092", port=29094)
    make_node_key(folder / "node.key", "a-1")
    made = make_server_certificate(tmp_path / "keys", now=NOW)
    (folder / "superlink-ca.pem").write_bytes(made.ca_certificate.read_bytes())
    AppApprovals(folder).approve(bundle(), by="anna", now=1)
    return folder


def row(folder: Path, what: str, now: datetime = NOW) -> Row:
    (found,) = [each for each in check(folder, now) if each.what == what]
    return found


def test_what_is_there_is_ok_and_an_unapproved_manifest_is_missing(node: Path) -> None:
    stopping = [each.what for each in check(node, NOW) if each.stops]
    assert stopping == ["manifest"]
    assert row(node, "root certificate").state is State.NOTE  # of a week


def test_a_manifest_that_accepts_insecure_evidence_is_pointed_at(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def accepts(*formats: str, insecure: tuple[Digest, ...] = ()) -> Row:
        policy = AttestationPolicy(
            freshness_seconds=1, insecure=insecure, formats={name: {} for name in formats}
        )
        made = SimpleNamespace(attestation=policy)
        monkeypatch.setattr(ClientFolder, "manifest", lambda self: made)
        return next(each for each in _policy(ClientFolder(node)))

    secure, development = accepts("sev-snp"), accepts("tdx", insecure=(sha256(b""),))
    assert (secure.state, secure.found) == (State.OK, "sev-snp")
    assert (development.state, development.found) == (State.NOTE, "insecure, tdx is accepted")
    assert "no hardware protects your updates" in development.hint


def test_each_thing_that_is_missing_has_a_hint(node: Path, tmp_path: Path) -> None:
    (node / "node.key").unlink()
    (node / "superlink-ca.pem").write_text("none")
    AppApprovals(node).revoke("clinic/small", by="anna", now=2)
    for what in ("node key", "root certificate", "apps", "manifest"):
        found = row(node, what)
        assert found.state is State.MISSING
        assert found.hint
    assert all(each.stops for each in check(tmp_path / "none") if each.what == "client")


def test_a_signing_key_in_a_token_must_be_at_hand(tmp_path: Path) -> None:
    token = soft_token("node")
    uri = token.uri("checked")
    folder = tmp_path / "node"
    ClientFolder.create(folder, Identity(client="a-1", member="a", signing_key=uri))
    found = row(folder, "client key")
    assert (found.state, found.found) == (State.OK, "pkcs11:token=node;object=checked")
    toml = (folder / "client.toml").read_text()
    (folder / "client.toml").write_text(toml.replace("node.pin", "gone.pin"))
    found = row(folder, "client key")
    assert found.state is State.MISSING
    assert "cannot read the PIN file" in found.found


def test_what_others_can_open_is_unsafe(node: Path) -> None:
    for name in ("client.key", "node.key"):
        (node / name).chmod(0o644)
    node.chmod(0o755)
    unsafe = {each.what for each in check(node, NOW) if each.state is State.UNSAFE}
    assert unsafe == {"only its owner opens client.key", "node key", "only its owner opens node"}


def test_a_certificate_that_is_over_is_said(node: Path) -> None:
    assert "not valid now" in row(node, "root certificate", NOW + timedelta(days=30)).found


def test_a_changed_copy_of_an_approved_app_is_said(node: Path) -> None:
    (copy,) = (node / "apps").glob("*.fab")
    copy.write_bytes(b"x")
    assert row(node, "app clinic/small").stops


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"superlink.example:9092"', '"https://superlink.example:9092"'),
        ('"superlink.example:9092"', '"superlink.example"'),
        ('"superlink.example:9092"', '"superlink.example:99999"'),
        ("port = 29094", "port = 80"),
        ("port = 29094", 'port = "29094"'),
        ("app-output = false", ""),
        ("[logs]", "insecure = true\n[logs]"),
        ("[app]", '[app]\nfedenclave-dir = "/elsewhere"'),
        ("[app]", '[app]\nfedenclave-dataset = "/elsewhere"'),
        ("[app]", "[app]\nfedenclave-plain-text = true"),
        ("[app]", '[app]\ndata-path = "/ward.csv"'),
        ("plain-text = false", ""),
        ("plain-text = false", 'plain-text = "false"'),
        ('dataset = ""', 'dataset = "sealed"'),
        ('keys = ""', 'keys = "keyring:ring"'),
        ('digest = ""', 'digest = "sha256:0"'),
        ("[data]", "[date]"),
        ("[app]", "[app]\nfedenclave-insecure = true"),
        ("[app]", "[app]\nx = [1]"),
        ("[app]", '[app]\nx = "a\\nb"'),
        ("[app]", '[app]\n"a b" = 1'),
        ("[app]", ""),
        ("[superlink]", "[superlink"),
        ("write = []", 'write = "cache"'),
        ("write = []", "write = [1]"),
        ("write = []", ""),
        ("connect = []", "connect = [0]"),
        ("connect = []", "connect = [true]"),
        ("connect = []", 'connect = ["443"]'),
        ("connect = []", "connect = []\nudp = []"),
        ("[logs]", "[metrics]\nport = 29094\n[logs]"),
        ("[logs]", "[metrics]\nport = 80\n[logs]"),
        ("[logs]", "[metrics]\nport = 9464\npath = 1\n[logs]"),
    ],
)
def test_a_mistake_in_node_toml_is_an_error_and_no_default(node: Path, old: str, new: str) -> None:
    path = node / "node.toml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigurationError):
        read_configuration(node)
    assert row(node, "node.toml").stops


def test_the_confinement_is_the_owners_and_what_it_lacks_is_said(node: Path) -> None:
    path = node / "node.toml"
    text = path.read_text()
    path.write_text(text.replace("write = []", 'write = ["cache", "/"]').replace("= []", "= [443]"))
    read = read_configuration(node).confinement
    assert read is not None
    assert read.write == (node.resolve() / "cache", Path("/"))
    assert read.connect == (443,)
    assert row(node, "confinement").stops
    (node / "cache").mkdir()
    assert not row(node, "confinement").stops
    before, _, after = text.partition("[confinement]")
    path.write_text(before + after[after.index("[app]") :])
    assert read_configuration(node).confinement is None
    assert row(node, "confinement").state is State.NOTE


def test_neither_configuration_nor_key_is_overwritten(node: Path) -> None:
    with pytest.raises(ConfigurationError, match="exists already"):
        write_configuration(node, address="a:1", port=9094)
    with pytest.raises(ConfigurationError, match="exists already"):
        make_node_key(node / "node.key", "x")


def test_what_the_app_is_told_is_what_the_file_says(node: Path) -> None:
    path = node / "node.toml"
    text = path.read_text().replace("plain-text = false", "plain-text = true")
    path.write_text(text + 'data-path = "/data/a b.csv"\nsites = 2\n')
    assert read_configuration(node).app_settings() == {
        "fedenclave-dir": str(node.resolve()),
        "fedenclave-plain-text": True,
        "data-path": "/data/a b.csv",
        "sites": 2,
    }
    assert row(node, "data in plain text").state is State.NOTE


@pytest.fixture
def sealed(node: Path) -> Path:
    """The node with a sealed dataset, which its node.toml names by paths of the folder."""
    ring = create_keyring(node / "ring", PASSPHRASE, cost=CHEAP)
    ring.create("node")
    (node / "passphrase").write_bytes(PASSPHRASE)
    (node / "passphrase").chmod(0o600)
    (node / "rows.csv").write_text("1,2\n")
    options = Options(clock=lambda: 1000.0)
    seal(LocalFiles(node / "rows.csv"), LocalStore(node / "sealed"), ring, "node", options)
    (node / "node.toml").unlink()
    data = NodeData(dataset="sealed", keys="keyring:ring", passphrase_file="passphrase")
    write_configuration(node, address="superlink.example:9092", port=29094, data=data)
    return node


def test_a_sealed_dataset_is_looked_at_and_nothing_is_unwrapped(sealed: Path) -> None:
    found = row(sealed, "sealed data")
    assert found.state is State.OK
    assert found.found.startswith("sealed, sha256:")
    assert {e["event"] for e in read_events(sealed / "ring.audit.jsonl")} == {
        "change-begun",
        *("keyring-created", "key-created", "key-wrapped"),
    }
    told = read_configuration(sealed).app_settings()
    assert told["fedenclave-dataset"] == f"{sealed.resolve()}/sealed"
    assert told["fedenclave-keys"] == f"keyring:{sealed.resolve()}/ring"
    assert "fedenclave-plain-text" not in told
    assert PASSPHRASE.decode() not in str(told)


def test_a_keyring_may_lie_elsewhere_also_for_a_confined_app(sealed: Path) -> None:
    """What the owner names as data is let through: tests/node/test_confinement.py opens it."""
    path, text = sealed / "node.toml", (sealed / "node.toml").read_text()
    elsewhere = sealed.parent / "elsewhere"
    elsewhere.mkdir()
    (sealed / "ring").rename(elsewhere / "ring")
    outside = text.replace("keyring:ring", "keyring:../elsewhere/ring")
    path.write_text(outside)
    assert row(sealed, "sealed data").state is State.OK
    (elsewhere / "ring").rename(sealed / "ring")
    path.write_text(text)
    assert row(sealed, "sealed data").state is State.OK


def test_keys_that_are_in_no_keyring_are_not_asked_for(sealed: Path) -> None:
    path, text = sealed / "node.toml", (sealed / "node.toml").read_text()
    # Nobody is at this address: asking would fail.
    elsewhere = text.replace("keyring:ring", "vault:https://127.0.0.1:1#transit/node")
    path.write_text(elsewhere.replace('passphrase-file = "passphrase"', 'passphrase-file = ""'))
    found = row(sealed, "sealed data")
    assert found.state is State.OK
    assert "vault, were not asked for" in found.found
    events = {each["event"] for each in read_events(sealed / "keys.audit.jsonl")}
    assert events == {"change-begun", "signing-key-created"}


def test_each_thing_that_is_wrong_with_the_data_is_said(sealed: Path) -> None:
    path, text = sealed / "node.toml", (sealed / "node.toml").read_text()
    for old, new, what in (
        ('"sealed"', '"none"', "there is no "),
        ("keyring:ring", "keyring:none", "cannot read the keyring"),
        ('"passphrase"', '"none"', "cannot read the passphrase file"),
        ('digest = ""', f'digest = "{to_text(sha256(b"x"))}"', "want sha256:"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        found = row(sealed, "sealed data")
        assert found.stops
        assert what in found.found
        assert found.hint
    path.write_text(text)
    (sealed / "passphrase").write_bytes(b"wrong")
    assert row(sealed, "sealed data").stops
    (sealed / "passphrase").write_bytes(PASSPHRASE)
    open_keyring(sealed / "ring", PASSPHRASE).rotate("node")
    assert not row(sealed, "sealed data").stops
    open_keyring(sealed / "ring", PASSPHRASE).destroy("node", 1)
    assert "version 1, which ring has not" in row(sealed, "sealed data").found
