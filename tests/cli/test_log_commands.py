"""The log's commands: an auditor judges a log, looks into it, and proves that there are two."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.digests import sha256, to_text
from fedenclave.protocol.log_file import frame, read_log
from fedenclave.protocol.signing import key_to_text, public_key, statement_digest
from tests.audit.log_builder import KEY, LogBuilder, three_rounds
from tests.audit.lying_receipt import MANIFEST
from tests.cli.bank_rounds import aggregator_of, folders_of, one_round
from tests.cli.conftest import Command, agree

NAMED = key_to_text(public_key(KEY))


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    """Return a log of three rounds, with the manifest beside it."""
    (tmp_path / "federation.toml").write_bytes(MANIFEST.source)
    file = tmp_path / "enclave.felog"
    file.write_bytes(three_rounds().file())
    return file


def test_a_log_is_verified_with_the_manifest_beside_it(log_file: Path, fedenclave: Command) -> None:
    done = fedenclave("log", "verify", log_file, "--key", NAMED)
    assert done.status == 0, done.err
    assert "16 entries, verified by signed checkpoints" in done.out
    assert "2 releases, 1 aborts, 0 adoptions, 0 shutdowns; 6 admissions, 3 rejections" in done.out
    assert to_text(three_rounds().checkpoint().root) in done.out
    every = fedenclave("log", "verify", log_file, "--key", NAMED, "--signatures", "all")
    assert every.status == 0
    assert "16 entries, verified by every signature" in every.out


def test_a_long_log_is_shared_among_processes(
    log_file: Path, fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = fedenclave("log", "verify", log_file, "--key", NAMED)
    monkeypatch.setattr("fedenclave.cli.log._LONG", 0)
    long = fedenclave("log", "verify", log_file, "--key", NAMED)
    assert (long.status, long.out) == (0, short.out)


def test_of_a_long_history_the_newest_rounds_are_shown(
    log_file: Path, fedenclave: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"\n│ {number} " for number in (1, 2, 3)]
    every = fedenclave("log", "verify", log_file, "--key", NAMED).out
    assert [row in every for row in rows] == [True, True, True]
    monkeypatch.setattr("fedenclave.cli.log._MOST_ROUNDS", 2)
    done = fedenclave("log", "verify", log_file, "--key", NAMED)
    assert done.status == 0
    assert "the newest 2 of 3 rounds; --json has all" in done.out
    assert [row in done.out for row in rows] == [False, True, True]


def test_a_verified_log_in_json(log_file: Path, fedenclave: Command) -> None:
    said = json.loads(fedenclave("log", "verify", log_file, "--key", NAMED, "--json").out)
    assert (said["entries"], said["key"]) == (16, NAMED)
    assert [each["end"] for each in said["rounds"]] == ["released", "aborted", "released"]
    assert [each["model"] for each in said["lineage"]] == [each["model"] for each in said["rounds"]]


def test_the_lineage_of_a_log_is_shown_round_by_round(log_file: Path, fedenclave: Command) -> None:
    log = three_rounds()
    log.evaluate(sha256(b"found"))
    log.announce()
    log.admit("a", data=sha256(b"of a"))
    log.admit("b")
    log.abort()
    log.shut_down()
    log_file.write_bytes(log.file())
    done = fedenclave("log", "verify", log_file, "--key", NAMED)
    assert done.status == 0
    assert "where its models come from" in done.out
    assert sha256(b"found").hex()[:8] in done.out
    assert "1 of 2, 1 distinct" in done.out
    assert "0 of 1" in done.out
    assert "1 shutdowns" in done.out


def test_a_log_with_a_changed_byte_ends_with_one(log_file: Path, fedenclave: Command) -> None:
    data = bytearray(log_file.read_bytes())
    data[len(data) // 2] ^= 1
    log_file.write_bytes(data)
    done = fedenclave("log", "verify", log_file, "--key", NAMED)
    assert done.status == 1
    assert done.err.startswith("error: log proves nothing: entry ")
    assert "\nhint: " in done.err


def test_of_two_files_the_one_that_is_no_statement_is_named(
    log_file: Path, tmp_path: Path, fedenclave: Command
) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    done = fedenclave("log", "denounce", log_file, junk, "--key", NAMED, "--out", tmp_path / "p")
    assert done.status == 1
    assert done.err.startswith(f"error: {junk}: ")


def test_a_torn_log_is_said_to_be_torn(log_file: Path, fedenclave: Command) -> None:
    log_file.write_bytes(log_file.read_bytes()[:-1])
    done = fedenclave("log", "verify", log_file, "--key", NAMED)
    assert done.status == 1
    assert f"error: {log_file}: log ends within entry 15" in done.err
    assert "hint: a write was interrupted" in done.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "no key to judge by"),
        (["--key", "ed25519:short"], "public key is 'ed25519:short'"),
        (["--key", key_to_text(bytes(32))], "entry 0: the key has not signed it"),
        (["--client", "."], "no manifest to judge by"),
        (["--manifest", "absent.toml", "--key", NAMED], "cannot read manifest"),
    ],
)
def test_what_a_log_is_judged_by_must_be_there_and_right(
    words: list[str], error: str, log_file: Path, fedenclave: Command
) -> None:
    done = fedenclave("log", "verify", log_file, *words)
    assert done.status == 1
    assert f"error: {error}" in done.err or error in done.err
    assert "hint: " in done.err


def test_without_a_file_or_a_manifest_there_is_nothing_to_judge(
    log_file: Path, fedenclave: Command
) -> None:
    absent = fedenclave("log", "verify", log_file.with_name("absent"), "--key", NAMED)
    assert absent.status == 1
    assert "error: cannot read log" in absent.err
    (log_file.parent / "federation.toml").unlink()
    assert "no manifest" in fedenclave("log", "verify", log_file, "--key", NAMED).err
    assert fedenclave("log", "verify").status == 2
    assert fedenclave("log", "verify", log_file, "--signatures", "none").status == 2


def test_entries_are_listed_and_said_not_to_be_verified(
    log_file: Path, fedenclave: Command
) -> None:
    done = fedenclave("log", "show", log_file)
    assert done.status == 0
    assert "not verified" in done.out
    assert "warning: nothing here is verified" in done.err
    listed = json.loads(fedenclave("log", "show", log_file, "--json").out)
    signed = three_rounds().signed
    assert [each["digest"] for each in listed] == [to_text(statement_digest(s)) for s in signed]
    assert listed[0] == {**listed[0], "type": "start", "round": None, "client": None}
    assert listed[3] == {
        **listed[3],
        **{"entry": 3, "type": "rejection", "round": 1, "client": "stranger"},
    }


def test_the_newest_entries_are_listed_also_of_what_does_not_decode(
    log_file: Path, fedenclave: Command
) -> None:
    log_file.write_bytes(log_file.read_bytes() + frame(b"junk"))
    listed = json.loads(fedenclave("log", "tail", log_file, "-n", 2, "--json").out)
    assert [(each["entry"], each["type"]) for each in listed] == [(15, "release"), (16, "?")]
    assert fedenclave("log", "tail", log_file, "-n", 0).status == 2


# -- forks


@pytest.fixture
def forked(tmp_path: Path) -> tuple[Path, Path]:
    """Return two logs of one enclave that differ in how round 1 ended."""
    files = tmp_path / "one", tmp_path / "two"
    for file in files:
        log = LogBuilder()
        log.start()
        log.announce()
        log.admit("a")
        log.admit("b")
        log.release() if file.name == "one" else log.abort()
        file.write_bytes(log.file())
    return files


def last_statement(file: Path) -> Path:
    signed = LogBuilder()
    signed.start()
    signed.announce()
    signed.admit("a")
    signed.admit("b")
    statement = signed.release() if file.name == "one" else signed.abort()
    path = file.with_suffix(".signed")
    path.write_bytes(statement)
    return path


@pytest.mark.parametrize("kinds", ["logs", "statements", "both", "the other way round"])
def test_two_files_of_two_logs_prove_a_fork(
    kinds: str, forked: tuple[Path, Path], tmp_path: Path, fedenclave: Command
) -> None:
    first, second = forked
    if kinds in ("statements", "both"):
        first = last_statement(first)
    if kinds in ("statements", "the other way round"):
        second = last_statement(second)
    proof = tmp_path / "fork.proof"
    done = fedenclave("log", "denounce", first, second, "--key", NAMED, "--out", proof)
    assert done.status == 0, done.err
    assert "two ends of round 1" in done.out
    held = fedenclave("log", "verify-fork", proof, "--key", NAMED)
    assert held.status == 0
    assert "two ends of round 1" in held.out
    said = json.loads(fedenclave("log", "verify-fork", proof, "--key", NAMED, "--json").out)
    assert said["why"] == "they are two ends of round 1"
    other = fedenclave("log", "verify-fork", proof, "--key", key_to_text(bytes(32)))
    assert other.status == 1
    assert "error: fork proof is about" in other.err


def test_one_log_proves_no_fork_and_writes_none(
    log_file: Path, tmp_path: Path, fedenclave: Command
) -> None:
    proof = tmp_path / "fork.proof"
    words = ["--key", NAMED, "--out", proof]
    statement = tmp_path / "statement"
    statement.write_bytes(three_rounds().signed[-1])
    for pair in ((log_file, log_file), (log_file, statement), (statement, log_file)):
        done = fedenclave("log", "denounce", *pair, *words)
        assert done.status == 1
        assert "hint: " in done.err
    assert not proof.exists()
    assert fedenclave("log", "denounce", log_file, log_file, "--key", NAMED).status == 2


def test_files_that_are_nothing_of_an_enclaves_are_refused(
    forked: tuple[Path, Path], tmp_path: Path, fedenclave: Command
) -> None:
    proof, junk = tmp_path / "fork.proof", tmp_path / "junk"
    junk.write_bytes(b"junk")
    for words, error in (
        ([junk, junk, "--key", NAMED], "not valid cbor"),
        ([forked[0], junk, "--key", NAMED], "not valid cbor"),
        ([forked[0], tmp_path / "absent", "--key", NAMED], "cannot read"),
        ([*forked], "no key to judge by"),
    ):
        done = fedenclave("log", "denounce", *words, "--out", proof)
        assert done.status == 1
        assert error in done.err
    assert "not valid cbor" in fedenclave("log", "verify-fork", junk, "--key", NAMED).err


# -- a real federation: its clients' receipts give the key


@pytest.fixture
def real_log(enrolled: Path, fedenclave: Command) -> Path:
    """Return the log of two rounds of three banks, their folders beside it."""
    federation = enrolled
    agree(federation, min_cohort=2)
    folders = folders_of(federation)
    with aggregator_of(federation) as aggregator:
        coordinator = RoundCoordinator(aggregator, send_manifest=False)
        one_round(coordinator, folders, aggregator.model())
        two_banks = {bank: folders[bank] for bank in ("alpha", "beta")}
        one_round(coordinator, two_banks, aggregator.model())
    file = federation / "enclave.felog"
    shutil.copy(federation / "aggregator" / "statements.fel", file)
    return file


def test_a_clients_receipts_say_whose_log_it_is(real_log: Path, fedenclave: Command) -> None:
    done = fedenclave("log", "verify", real_log, "--client", real_log.parent / "alpha", "--json")
    assert done.status == 0, done.err
    assert "insecure: development evidence" in done.err
    said = json.loads(done.out)
    assert said["missing"] == []
    assert [(each["end"], each["clients"]) for each in said["rounds"]] == [
        ("released", 3),
        ("released", 2),
    ]
    receipts = json.loads(fedenclave("receipts", "list", real_log.parent / "alpha", "--json").out)
    assert [each["model"] for each in receipts] == [each["model"] for each in said["rounds"]]


def test_a_log_that_lacks_what_receipts_hold_ends_with_one(
    real_log: Path, fedenclave: Command
) -> None:
    entries = list(read_log(io.BytesIO(real_log.read_bytes())))
    # Without the second round's end the log is valid, and only the receipts know more.
    real_log.write_bytes(real_log.read_bytes()[: entries[-2].offset])
    words = ["log", "verify", real_log, "--client", real_log.parent / "alpha", "--json"]
    done = fedenclave(*words)
    assert done.status == 1
    assert "the log ends before its release of round 2" in done.err
    assert "hint: is it an older copy?" in done.err
    assert len(json.loads(done.out)["missing"]) == 1
    real_log.write_bytes(real_log.read_bytes()[: entries[3].offset])
    assert len(json.loads(fedenclave(*words).out)["missing"]) > 1
    gamma = ["log", "verify", real_log, "--client", real_log.parent / "gamma", "--json"]
    (release, *more) = sorted(json.loads(fedenclave(*gamma).out)["missing"], key=len)[::-1]
    assert "release of round 1" in release
    assert len(more) <= 1


def test_a_receipt_beside_a_log_of_the_same_enclave_proves_no_fork(
    real_log: Path, fedenclave: Command
) -> None:
    (receipt,) = (real_log.parent / "gamma" / "receipts").iterdir()
    proof = real_log.with_name("fork.proof")
    # The key is the one in the receipt.
    done = fedenclave("log", "denounce", receipt, real_log, "--out", proof)
    assert done.status == 1
    assert "error: all of their statements can be in one log" in done.err
    strangers = real_log.with_name("strangers")
    strangers.write_bytes(three_rounds().file())
    refused = fedenclave("log", "denounce", receipt, strangers, "--out", proof)
    assert refused.status == 1
    assert "signature of the start does not hold" in refused.err


def test_receipts_say_which_released_models_contain_a_client(
    real_log: Path, fedenclave: Command
) -> None:
    folder = real_log.parent
    done = fedenclave("receipts", "contains", folder / "alpha", "--client", "gamma", "--json")
    assert done.status == 0, done.err
    first, second = json.loads(done.out)
    assert (first["contains"], first["since"]) == ("directly", 1)
    assert (second["contains"], second["since"]) == ("through its base model", 1)
    assert second["base_model"] == first["model"]
    table = fedenclave("receipts", "contains", folder / "alpha", "--client", "alpha")
    assert table.out.count("directly") == 2
    stranger = fedenclave("receipts", "contains", folder / "alpha", "--client", "delta")
    assert stranger.status == 1
    assert "error: client delta is not on the roster" in stranger.err


def test_a_missing_receipt_leaves_the_question_open(real_log: Path, fedenclave: Command) -> None:
    folder = real_log.parent / "alpha"
    first, _ = sorted((folder / "receipts").iterdir())
    first.unlink()
    done = fedenclave("receipts", "contains", folder, "--client", "gamma", "--json")
    assert done.status == 1
    (only,) = json.loads(done.out)
    assert (only["contains"], only["since"]) == ("unknown", None)
    assert "error: receipts are missing" in done.err
    own = fedenclave("receipts", "contains", folder, "--client", "beta", "--json")
    assert own.status == 0
    assert json.loads(own.out)[0]["contains"] == "directly"
