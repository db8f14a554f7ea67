"""`fedenclave data` and `fedenclave keys`: what they print, how they end, what they leave."""

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.datasets.conftest import FILES, Command, part, write_files
from tests.keys.conftest import PASSPHRASE
from tests.keys.events import read_events


@pytest.fixture
def sealed_here(node: Path, fedenclave: Command) -> Path:
    assert fedenclave("data", "seal", node / "plain", node / "sealed").status == 0
    return node / "sealed"


def test_a_new_node_seals_lists_verifies_and_reads(
    tmp_path: Path, plain: Path, fedenclave: Command
) -> None:
    (tmp_path / "p").write_bytes(b"secret")
    (tmp_path / "p").chmod(0o600)
    options = ("--keyring", tmp_path / "ring", "--passphrase-file", tmp_path / "p")
    made = fedenclave("keys", "init", *options)
    assert "key node version 1" in made.out
    ended = fedenclave("data", "seal", plain, tmp_path / "sealed", *options, "--json")
    facts = json.loads(ended.out)
    assert (facts["files"], facts["key"], facts["version"]) == (len(FILES), "node", 1)
    (listed,) = json.loads(fedenclave("data", "list", tmp_path, "--json").out)
    assert listed["digest"] == facts["digest"]
    assert listed["problem"] == ""
    assert "all as sealed" in fedenclave("data", "verify", tmp_path / "sealed", *options).out
    shown = json.loads(fedenclave("data", "open", tmp_path / "sealed", *options, "--json").out)
    assert {item["file"]: item["bytes"] for item in shown["files"]} == {
        name: len(data) for name, data in FILES.items()
    }
    ended = fedenclave("data", "open", tmp_path / "sealed", "c", *options)
    assert (ended.status, ended.out.encode("latin-1")) == (0, FILES["c"])


def test_without_a_key_nothing_secret_is_listed(
    sealed_here: Path, node: Path, fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDENCLAVE_KEYRING")
    (node / "other").mkdir()
    ended = fedenclave("data", "list", node)
    assert ended.status == 0
    assert "sealed" in ended.out
    assert "node" in ended.out
    for name in ("b-less", "empty"):
        assert name not in ended.out
    assert fedenclave("data", "list", sealed_here).out.count("sha256:") == 1


def test_rotation_moves_a_dataset_to_the_newest_key(
    sealed_here: Path, node: Path, fedenclave: Command
) -> None:
    body = part(sealed_here, "body")
    before = body.read_bytes()
    fedenclave("keys", "rotate")
    assert "version 2" in fedenclave("data", "rotate", sealed_here).out
    assert body.read_bytes() == before
    assert fedenclave("keys", "destroy", "node", 1, "--yes").status == 0
    assert fedenclave("data", "verify", sealed_here).status == 0
    ended = fedenclave("data", "rotate", sealed_here, "--reencrypt", "--json")
    assert json.loads(ended.out)["version"] == 2
    assert not body.exists()
    assert fedenclave("data", "verify", sealed_here).status == 0
    states = json.loads(fedenclave("keys", "list", "--json").out)
    assert [item["state"] for item in states] == ["destroyed", "newest"]


def test_a_destroyed_key_erases_a_dataset(
    sealed_here: Path, node: Path, fedenclave: Command
) -> None:
    fedenclave("keys", "rotate")
    fedenclave("keys", "destroy", "node", 1, "--yes")
    ended = fedenclave("data", "open", sealed_here, "c")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("error: key node version 1 was destroyed\nhint: ")


def test_destroying_asks_first(sealed_here: Path, fedenclave: Command) -> None:
    ended = fedenclave("keys", "destroy", "node", 1)
    assert ended.status == 1
    assert fedenclave("data", "verify", sealed_here).status == 0


def test_damage_is_named_and_ends_with_1(sealed_here: Path, fedenclave: Command) -> None:
    body = part(sealed_here, "body")
    data = bytearray(body.read_bytes())
    data[-1] ^= 1
    body.write_bytes(data)
    ended = fedenclave("data", "verify", sealed_here)
    assert (ended.status, ended.out) == (1, "")
    assert "file 'ü/ö\\nä', chunk 0 of 1 (bytes 0 to 1000)" in ended.err
    ended = fedenclave("data", "verify", sealed_here, "--json")
    assert len(json.loads(ended.out)["problems"]) == 1
    body.write_bytes(data[:-1])
    ended = fedenclave("data", "verify", sealed_here)
    assert "the body has" in ended.err
    assert "it was cut off" in ended.err
    (listed,) = json.loads(fedenclave("data", "list", sealed_here, "--json").out)
    assert "the body has" in listed["problem"]


def test_all_files_come_as_a_tar_archive(sealed_here: Path, fedenclave: Command) -> None:
    ended = fedenclave("data", "open", sealed_here, "--tar")
    assert ended.status == 0
    with tarfile.open(fileobj=io.BytesIO(ended.out.encode("latin-1"))) as archive:
        found = {}
        for entry in archive:
            stream = archive.extractfile(entry)
            assert stream is not None
            found[entry.name] = stream.read()
    assert found == FILES
    for words in (("c", "--tar"), ("--tar", "--json"), ("c", "--json")):
        ended = fedenclave("data", "open", sealed_here, *words)
        assert (ended.status, ended.out) == (2, "")


def test_a_passphrase_for_keys_that_are_not_named_is_refused(
    sealed_here: Path, node: Path, fedenclave: Command
) -> None:
    ended = fedenclave("data", "rotate", sealed_here, "--to-passphrase-file", node / "passphrase")
    assert (ended.status, ended.out) == (2, "")


def test_a_damaged_dataset_gives_no_whole_archive(sealed_here: Path, fedenclave: Command) -> None:
    body = part(sealed_here, "body")
    data = bytearray(body.read_bytes())
    data[-1] ^= 1
    body.write_bytes(data)
    ended = fedenclave("data", "open", sealed_here, "--tar")
    assert ended.status == 1
    assert "chunk 0 of 1" in ended.err
    with (
        pytest.raises(tarfile.ReadError),
        tarfile.open(fileobj=io.BytesIO(ended.out.encode("latin-1"))) as archive,
    ):
        archive.getmembers()


def test_an_older_dataset_put_back_is_found_by_its_digest(
    sealed_here: Path, node: Path, fedenclave: Command
) -> None:
    shutil.copytree(sealed_here, node / "backup")
    shutil.rmtree(sealed_here)
    write_files(node / "plain", {"new": b"more"})
    made = json.loads(fedenclave("data", "seal", node / "plain", sealed_here, "--json").out)
    assert fedenclave("data", "verify", sealed_here, "--digest", made["digest"]).status == 0
    shutil.rmtree(sealed_here)
    (node / "backup").rename(sealed_here)
    assert fedenclave("data", "verify", sealed_here).status == 0
    ended = fedenclave("data", "verify", sealed_here, "--digest", made["digest"])
    assert ended.status == 1
    assert f"want {made['digest']}" in ended.err
    ended = fedenclave("data", "verify", sealed_here, "--digest", "sha256:1")
    assert (ended.status, "want sha256: and 64 hex digits" in ended.err) == (1, True)


MISTAKES = [
    (("data", "seal", "none", "sealed2"), "cannot read none"),
    (("data", "seal", "plain", "no/folder"), "cannot write no/folder"),
    (("data", "seal", "plain", "sealed"), "holds a sealed dataset already"),
    (("data", "seal", "plain", "plain/sealed"), "would be sealed into itself"),
    (("data", "seal", "plain", "x", "--key", "other"), "the keyring has no key other"),
    (("data", "open", "none"), "there is no none/head"),
    (("data", "open", "plain"), "there is no plain/head"),
    (("data", "open", "passphrase"), "there is no passphrase/head"),
    (("data", "open", "sealed", "nothing"), "has no file 'nothing'"),
    (("data", "list", "none"), "cannot read none"),
    (("data", "rotate", "plain"), "there is no plain/head"),
    (("keys", "init"), "exists already"),
    (("keys", "create", "node"), "key node exists already"),
    (("keys", "create", "a/b"), "cannot be named"),
    (("keys", "rotate", "--key", "x"), "no key x"),
    (("keys", "destroy", "node", "9", "--yes"), "no key node version 9"),
    (("keys", "list", "--passphrase-file", "wrong"), "the passphrase does not open"),
    (("keys", "list", "--passphrase-file", "open"), "mode 0644, want 0600"),
    (("keys", "list", "--passphrase-file", "none"), "cannot read the passphrase file none"),
    (("keys", "list", "--keyring", "plain/c"), "mode 0644, want 0600"),
    (("keys", "list", "--keyring", "passphrase"), "it is no keyring"),
    (("keys", "list", "--keyring", "half"), "it was cut or damaged"),
    (("keys", "init", "--keyring", "no/ring"), "cannot write the keyring no/ring"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[" ".join(m[0]) for m in MISTAKES])
def test_a_mistake_is_an_error_and_a_hint(
    sealed_here: Path,
    node: Path,
    fedenclave: Command,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    write_files(node, {"wrong": b"wrong", "open": PASSPHRASE})
    (node / "half").write_bytes((node / "keyring").read_bytes()[:100])
    for name, mode in (("wrong", 0o600), ("half", 0o600), ("open", 0o644)):
        (node / name).chmod(mode)
    monkeypatch.chdir(node)
    before = sorted(path for path in node.rglob("*") if "audit" not in path.name)
    ended = fedenclave(*words)
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("error: ")
    assert message in ended.err
    assert "Traceback" not in ended.err
    assert sorted(path for path in node.rglob("*") if "audit" not in path.name) == before


def test_a_passphrase_is_never_an_argument(node: Path, fedenclave: Command) -> None:
    assert fedenclave("data", "open", "x", "--passphrase", "secret").status == 2


def test_without_a_file_and_a_terminal_nobody_is_asked(
    node: Path, fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEDENCLAVE_PASSPHRASE_FILE")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    ended = fedenclave("keys", "list")
    assert ended.status == 1
    assert "nobody to ask" in ended.err


def test_a_changed_passphrase_opens(node: Path, fedenclave: Command) -> None:
    (node / "new").write_bytes(b"new")
    (node / "new").chmod(0o600)
    assert (
        fedenclave("keys", "change-passphrase", "--new-passphrase-file", node / "new").status == 0
    )
    assert fedenclave("keys", "list").status == 1
    assert fedenclave("keys", "list", "--passphrase-file", node / "new").status == 0


def test_every_command_leaves_its_events(
    sealed_here: Path, node: Path, fedenclave: Command
) -> None:
    fedenclave("data", "verify", sealed_here)
    fedenclave("data", "rotate", sealed_here)
    events = read_events(node / "keyring.audit.jsonl")
    kinds = [str(event.get("subject", event["event"])).split(" dataset")[0] for event in events]
    assert kinds[:3] == ["keyring-created", "change-begun", "key-created"]
    assert kinds[3:] == ["seal", "verify", "rotate", "rotate"]


def test_a_reader_that_goes_away_is_no_traceback(sealed_here: Path, node: Path) -> None:
    program = "from fedenclave.cli.main import run; raise SystemExit(run())"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "data", "open", str(sealed_here), "c"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
