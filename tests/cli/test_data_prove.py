"""Which data a round was trained on, shown to an auditor: these, and no others (SPEC.md, 15.1)."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedenclave.datasets.lineage import Lineage
from fedenclave.datasets.lineage_file import KeptLineage, read_lineage
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import Options, seal
from fedenclave.keys.keyring import create_keyring
from fedenclave.protocol.digests import Digest, to_text
from fedenclave.protocol.signing import key_to_text, public_key
from tests.audit.log_builder import KEY, LogBuilder
from tests.audit.lying_receipt import MANIFEST
from tests.cli.conftest import Command
from tests.keys.conftest import CHEAP, PASSPHRASE

NAMED = key_to_text(public_key(KEY))


@dataclass(frozen=True)
class Shown:
    """What a member has, and the words with which anybody looks into the log."""

    folder: Path
    lineage: Lineage

    @property
    def log_words(self) -> list[object]:
        return [
            *("--log", self.folder / "enclave.felog", "--key", NAMED, "--of", "a", "--round", 1),
            *("--lineage", self.folder / "kept.json"),
        ]

    def seal_again(self, name: str, source: Path) -> Path:
        ring = create_keyring(self.folder / f"{name}.ring", PASSPHRASE, cost=CHEAP)
        ring.create("node")
        options = Options(clock=lambda: 1000.0)
        seal(LocalFiles(source), LocalStore(self.folder / name), ring, "node", options)
        return self.folder / name


def stages(dataset: Digest) -> Lineage:
    return Lineage.of(dataset).then("read", file="rows.csv").then("scale", centre=[0.5, 1.5])


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """A log whose first round names a member's sealed data, and whose second one names none."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "rows.csv").write_text("1,2\n3,4\n")
    (tmp_path / "passphrase").write_bytes(PASSPHRASE)
    (tmp_path / "passphrase").chmod(0o600)
    monkeypatch.setenv("FEDENCLAVE_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    monkeypatch.setenv("FEDENCLAVE_KEYRING", str(tmp_path / "ring"))
    ring = create_keyring(tmp_path / "ring", PASSPHRASE, cost=CHEAP)
    ring.create("node")
    options = Options(clock=lambda: 1000.0)
    head = seal(
        LocalFiles(tmp_path / "plain"), LocalStore(tmp_path / "sealed"), ring, "node", options
    )
    lineage = stages(head.digest)
    log = LogBuilder()
    log.start()
    for data in ({"data": lineage.digest}, {}):
        log.announce()
        log.admit("a", **data)
        log.admit("b")
        log.release()
    (tmp_path / "enclave.felog").write_bytes(log.file())
    (tmp_path / "federation.toml").write_bytes(MANIFEST.source)
    (tmp_path / "kept.json").write_bytes(KeptLineage.of(lineage).to_json())
    return Shown(tmp_path, lineage)


def test_the_sealed_dataset_is_proved_to_be_the_one_of_the_round(
    shown: Shown, fedenclave: Command
) -> None:
    done = fedenclave("data", "prove", shown.folder / "sealed", *shown.log_words, "--json")
    assert done.status == 0, done.err
    said = json.loads(done.out)
    assert said["data"] == to_text(shown.lineage.digest)
    assert (said["client"], said["stages"], said["matches"]) == ("a", ["read", "scale"], True)
    # The same 32 bytes are what the log's own command shows.
    log = fedenclave("log", "verify", shown.folder / "enclave.felog", "--key", NAMED, "--json")
    assert json.loads(log.out)["rounds"][0]["data"] == {"a": said["data"]}


def test_an_auditor_needs_the_data_and_the_salt_and_no_key(
    shown: Shown, fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--lineage", shown.folder / "kept.json", "--out", shown.folder / "for-auditor.json")
    done = fedenclave("data", "disclose", shown.folder / "sealed", *words)
    assert done.status == 0, done.err
    assert (shown.folder / "for-auditor.json").stat().st_mode & 0o077 == 0
    again = fedenclave("data", "disclose", shown.folder / "sealed", *words)
    assert (again.status, "exists already" in again.err) == (1, True)
    monkeypatch.delenv("FEDENCLAVE_KEYRING")
    monkeypatch.delenv("FEDENCLAVE_PASSPHRASE_FILE")
    (shown.folder / "kept.json").unlink()
    (shown.folder / "for-auditor.json").rename(shown.folder / "kept.json")
    done = fedenclave("data", "prove", shown.folder / "plain", *shown.log_words)
    assert done.status == 0, done.err
    assert "is what was named in that round" in done.out


def refused(fedenclave: Command, shown: Shown, data: Path) -> str:
    done = fedenclave("data", "prove", data, *shown.log_words)
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert "\nhint: " in done.err
    assert "is what was named" not in done.out
    return done.err


def test_another_dataset_is_not_the_one_of_the_round(
    shown: Shown, fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shutil.copytree(shown.folder / "plain", shown.folder / "other")
    (other / "rows.csv").write_text("1,2\n3,5\n")
    sealed = shown.seal_again("other-sealed", other)
    monkeypatch.setenv("FEDENCLAVE_KEYRING", str(shown.folder / "other-sealed.ring"))
    assert "other data, or another salt" in refused(fedenclave, shown, sealed)


def test_the_same_data_with_another_salt_are_not_the_ones_of_the_round(
    shown: Shown, fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = shown.seal_again("again", shown.folder / "plain")
    monkeypatch.setenv("FEDENCLAVE_KEYRING", str(shown.folder / "again.ring"))
    assert "other data, or another salt" in refused(fedenclave, shown, sealed)


@pytest.mark.parametrize(("old", "new"), [(b"0x1.8", b"0x1.9"), (b'"scale"', b'"scole"')])
def test_a_changed_stage_is_not_the_one_of_the_round(
    shown: Shown, fedenclave: Command, old: bytes, new: bytes
) -> None:
    file = shown.folder / "kept.json"
    assert old in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(old, new))
    assert "a stage or a parameter" in refused(fedenclave, shown, shown.folder / "sealed")


def test_a_lineage_that_only_says_the_right_digests_proves_nothing(
    shown: Shown, fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = shown.seal_again("again", shown.folder / "plain")
    monkeypatch.setenv("FEDENCLAVE_KEYRING", str(shown.folder / "again.ring"))
    kept = read_lineage(shown.folder / "kept.json")
    assert kept.digest == shown.lineage.digest
    (shown.folder / "kept.json").write_bytes(
        KeptLineage(dataset=kept.dataset, stages=(), digest=kept.digest).to_json()
    )
    assert "with these stages give" in refused(fedenclave, shown, other)


def test_a_damaged_dataset_a_silent_round_and_bad_words_are_errors(
    shown: Shown, fedenclave: Command
) -> None:
    words = shown.log_words
    silent = fedenclave("data", "prove", shown.folder / "sealed", *words, "--round", 2)
    assert (silent.status, "says nothing of the data of a" in silent.err) == (1, True)
    missing = fedenclave("data", "prove", shown.folder / "sealed", *words, "--round", 9)
    assert (missing.status, "the log has no round 9" in missing.err) == (1, True)
    plain = fedenclave("data", "prove", shown.folder / "plain", *words)
    assert (plain.status, "no salt" in plain.err) == (1, True)
    nothing = fedenclave("data", "prove", shown.folder / "sealed", "--round", 1)
    assert (nothing.status, "no log to look into" in nothing.err) == (1, True)
    (body,) = (shown.folder / "sealed").glob("body-*")
    data = bytearray(body.read_bytes())
    data[-1] ^= 1
    body.write_bytes(data)
    assert "is not what was sealed" in refused(fedenclave, shown, shown.folder / "sealed")
