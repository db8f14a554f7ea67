"""Notes of the log at the command line: verified by a reader, cosigned by a member with a copy."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.client.files import read_key, write_key
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.checkpoint_note import log_origin, sign_checkpoint
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.log_file import MAGIC
from fedenclave.protocol.signed_note import NoteKey
from fedenclave.protocol.signing import PublicKey, key_to_text, public_key
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.audit.log_builder import KEY, three_rounds
from tests.audit.lying_receipt import MANIFEST
from tests.cli.bank_rounds import aggregator_of, folders_of, one_round
from tests.cli.conftest import Command, Finished, agree, copied
from tests.host.tlog_witness import HttpWitness
from tests.protocol.independent_note import verify as independently

NAMED = key_to_text(public_key(KEY))
ORIGIN = log_origin(MANIFEST.name, public_key(KEY))
MEMBER = "w.example/alpha"


# -- a reader with the enclave's key, and a log


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a log of three rounds, its newest note, and the manifest beside them."""
    (tmp_path / "federation.toml").write_bytes(MANIFEST.source)
    log = three_rounds()
    (tmp_path / "log.fel").write_bytes(log.file())
    (tmp_path / "checkpoint").write_bytes(sign_checkpoint(log.checkpoint(), ORIGIN, KEY))
    return tmp_path


def witnessed(folder: Path, *seconds: int) -> list[HttpWitness]:
    """Add cosignatures of so many witnesses to the note."""
    note = (folder / "checkpoint").read_bytes()
    text = note[: note.rindex(b"\n\n") + 1]
    made = [HttpWitness(name=f"w{number}.example") for number in range(len(seconds))]
    lines = [witness.line(text, when) for witness, when in zip(made, seconds, strict=True)]
    (folder / "checkpoint").write_bytes(note + b"".join(lines))
    return made


def test_a_note_is_verified_with_its_log(folder: Path, fedenclave: Command) -> None:
    words = ["log", "checkpoint", folder / "checkpoint", "--key", NAMED]
    done = fedenclave(*words, "--log", folder / "log.fel")
    assert done.status == 0, done.err
    assert f"checkpoint of 16 entries, signed by {ORIGIN}" in done.out
    assert f"root is that of {folder / 'log.fel'} at 16 entries" in done.out
    assert done.err == ""
    alone = fedenclave(*words, "--json")
    assert alone.status == 0
    assert "warning: compared with no log" in alone.err
    assert json.loads(alone.out) == {
        "origin": ORIGIN,
        "entries": 16,
        "root": to_text(three_rounds().checkpoint().root),
        "log_key": NoteKey(name=ORIGIN, key=public_key(KEY)).to_text(),
        "compared_with": None,
        "witnesses": [],
        "cosigned": 0,
        "at_least": 0,
    }


def test_enough_witnesses_must_have_cosigned(folder: Path, fedenclave: Command) -> None:
    first, second = witnessed(folder, 0, 1_700_000_000)
    absent = HttpWitness(name="absent.example")
    words = ["log", "checkpoint", folder / "checkpoint", "--key", NAMED]
    for each in (first, second, absent):
        words += ["--witness", each.vkey]
    done = fedenclave(*words, "--at-least", 2, "--json")
    assert done.status == 0, done.err
    said = json.loads(done.out)
    assert (said["cosigned"], said["at_least"]) == (2, 2)
    assert said["witnesses"] == [
        {"name": "w0.example", "cosigned": "1970-01-01T00:00:00Z"},
        {"name": "w1.example", "cosigned": "2023-11-14T22:13:20Z"},
        {"name": "absent.example", "cosigned": None},
    ]
    table = fedenclave(*words)
    assert table.status == 1
    assert "witness w1.example: cosigned at 2023-11-14T22:13:20Z" in table.out
    assert "witness absent.example: has not cosigned" in table.out
    assert "error: 2 of the witnesses have cosigned, want 3\nhint: ask" in table.err
    # A witness of that name with another key is nobody that is known.
    other = HttpWitness(name="w0.example")
    stranger = fedenclave(*words[:5], "--witness", other.vkey)
    assert "error: 0 of the witnesses have cosigned, want 1" in stranger.err


def test_what_is_no_note_of_this_log_ends_with_one(folder: Path, fedenclave: Command) -> None:
    note = (folder / "checkpoint").read_bytes()
    (witness,) = witnessed(folder, 5)
    cosigned = (folder / "checkpoint").read_bytes()
    stranger = Ed25519PrivateKey.generate()
    theirs = sign_checkpoint(three_rounds().checkpoint(), ORIGIN, stranger)
    wrong = cosigned[:-20] + (b"AAAA" if cosigned[-20:-16] != b"AAAA" else b"BBBB") + cosigned[-16:]
    for data, error in (
        (note.replace(b"\n16\n", b"\n17\n"), f"signature of {ORIGIN} does not hold"),
        (theirs, f"note has no signature of {ORIGIN}"),
        (wrong, "w0.example does not hold"),
        (b"", "note is not a text"),
        (b"\xff\xfe", "note is not utf-8"),
        (b"\x1b[2J\n\n\n", "note has a control character"),
        (b"x" * 70_000, "note has 70000 bytes"),
    ):
        (folder / "checkpoint").write_bytes(data)
        done = fedenclave(
            "log", "checkpoint", folder / "checkpoint", "--key", NAMED, "--witness", witness.vkey
        )
        assert done.status == 1
        assert error in done.err
        assert "\nhint: " in done.err
        assert done.out == ""


def test_a_log_that_is_another_or_too_short_is_told_apart(
    folder: Path, fedenclave: Command
) -> None:
    words = ["log", "checkpoint", folder / "checkpoint", "--key", NAMED, "--log"]
    log = (folder / "log.fel").read_bytes()
    changed = bytearray(log)
    changed[len(log) // 2] ^= 1
    for data, error in (
        (bytes(changed), "error: the checkpoint's root is sha256:"),
        (MAGIC, "error: the checkpoint is of 16 entries, and the log at hand has 0"),
        (log[:-1], "error: log ends within entry 15"),
        (b"junk", "error: file begins with"),
    ):
        (folder / "other.fel").write_bytes(data)
        done = fedenclave(*words, folder / "other.fel")
        assert done.status == 1
        assert done.err.startswith(error), done.err
        assert "\nhint: " in done.err
    # What comes behind the checkpoint, cut or not, is not the checkpoint's business.
    (folder / "other.fel").write_bytes(log + b"\x00\x00")
    assert fedenclave(*words, folder / "other.fel").status == 0
    for absent in (folder / "absent", folder):
        done = fedenclave(*words, absent)
        assert done.status == 1
        assert "error: cannot read log" in done.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "no key to judge by"),
        (["--key", "ed25519:short"], "public key is"),
        (["--key", NAMED, "--manifest", "absent"], "cannot read manifest"),
        (["--key", NAMED, "--witness", "w"], "verifier key is of type none"),
        (["--key", NAMED, "--witness", "w+00000000+BAAA"], "key has 2 bytes"),
        (
            ["--key", NAMED, "--witness", NoteKey(name="l", key=public_key(KEY)).to_text()],
            "verifier key of l is of type 01, want 04",
        ),
        (["--key", NAMED, "--at-least", "1"], "at least 1 witnesses are wanted, and 0 named"),
    ],
)
def test_what_a_note_is_judged_by_must_be_there_and_right(
    words: list[str], error: str, folder: Path, fedenclave: Command
) -> None:
    done = fedenclave("log", "checkpoint", folder / "checkpoint", *words)
    assert done.status == 1
    assert f"error: {error}" in done.err or error in done.err
    assert "\nhint: " in done.err


def test_one_witness_counts_once(folder: Path, fedenclave: Command) -> None:
    (witness,) = witnessed(folder, 5)
    words = ["log", "checkpoint", folder / "checkpoint", "--key", NAMED, "--witness", witness.vkey]
    again = HttpWitness(name="other.example", private=witness.private)
    for same in (witness.vkey, again.vkey, HttpWitness(name="w0.example").vkey):
        done = fedenclave(*words, "--witness", same)
        assert done.status == 1
        assert "error: two of the witnesses have one name or one key" in done.err
    assert fedenclave("log", "checkpoint").status == 2
    assert fedenclave(*words, "--at-least", "0").status == 2
    assert "cannot read checkpoint" in fedenclave("log", "checkpoint", folder / "a", *words[3:]).err


# -- a member with its own copy


@pytest.fixture
def banks(enrolled: Path) -> Path:
    """Return three banks; alpha and beta have had a round, and have all of its log."""
    agree(enrolled, min_cohort=2)
    with aggregator_of(enrolled):
        pass
    # Two hosts of one enclave: in development mode anybody can wind it back (T7).
    shutil.copytree(enrolled / "aggregator", enrolled / "fork")
    with aggregator_of(enrolled) as aggregator:
        play(enrolled, aggregator)
    return enrolled


def play(federation: Path, aggregator: Aggregator) -> None:
    folders = {bank: folders_of(federation)[bank] for bank in ("alpha", "beta")}
    coordinator = RoundCoordinator(aggregator, send_manifest=False)
    one_round(coordinator, folders, aggregator.model())
    for bank, folder in folders.items():
        part, note = coordinator.log_part_for(bank), coordinator.checkpoint()
        folder.session().take_checkpoint(note, part)


def forked_note(federation: Path, rounds: int) -> Path:
    """Return a note of the same enclave, of another log, after rounds that were aborted."""
    with aggregator_of(federation, "fork") as aggregator:
        for _ in range(rounds):
            aggregator.open_round(["alpha", "beta"], NO_TRAINING_CONFIG)
            aggregator.abort_round()
        os.kill(aggregator.enclave_pid, signal.SIGKILL)  # or its log would have a word more
    return federation / "fork" / "checkpoint"


def new_key(federation: Path, fedenclave: Command) -> tuple[Path, str]:
    file = federation / "witness.key"
    made = fedenclave("log", "witness-key", file, "--name", MEMBER, "--new")
    assert made.status == 0, made.err
    return file, made.out.strip()


def cosign(federation: Path, fedenclave: Command, note: Path, bank: str = "alpha") -> Finished:
    key = federation / "witness.key"
    words = ["--client", federation / bank, "--name", MEMBER, "--key", key]
    return fedenclave("log", "cosign", note, *words, "--out", federation / "cosigned")


def test_a_member_cosigns_what_its_own_copy_is_of(banks: Path, fedenclave: Command) -> None:
    file, vkey = new_key(banks, fedenclave)
    note = banks / "aggregator" / "checkpoint"
    assert (banks / "alpha" / "checkpoint").read_bytes() == note.read_bytes()
    done = cosign(banks, fedenclave, note)
    assert done.status == 0, done.err
    assert "insecure: development evidence" in done.err
    assert vkey in done.out
    # Another member, who has no part in it, verifies that; and so does another program.
    words = ["log", "checkpoint", banks / "cosigned", "--client", banks / "beta"]
    found = fedenclave(*words, "--witness", vkey, "--json")
    assert found.status == 0, found.err
    said = json.loads(found.out)
    assert (said["cosigned"], said["entries"]) == (1, 6)
    assert said["compared_with"] == str(banks / "beta" / "log.fel")
    key = read_key(file).public_key().public_bytes_raw()
    cosigned = (banks / "cosigned").read_bytes()
    assert abs(independently(cosigned, MEMBER, 4, key)[3] - time.time()) < 60
    # The file may be passed on from member to member.
    again = cosign(banks, fedenclave, banks / "cosigned", bank="beta")
    assert again.status == 0, again.err


def test_a_member_cosigns_no_forked_note(banks: Path, fedenclave: Command) -> None:
    new_key(banks, fedenclave)
    for rounds, error in (
        (1, "error: the checkpoint's root is sha256:"),  # shorter than the copy, and not of it
        (1, "error: the checkpoint's root is sha256:"),  # as long
        (1, "error: the checkpoint is of 8 entries, and this client's copy of the log has 6"),
    ):
        fork = forked_note(banks, rounds)
        done = cosign(banks, fedenclave, fork)
        assert done.status == 1
        assert done.err.splitlines()[1].startswith(error), done.err
        assert "hint: " in done.err
        assert not (banks / "cosigned").exists()
        read = fedenclave("log", "checkpoint", fork, "--client", banks / "alpha")
        assert read.status == 1
        assert "hint: " in read.err


def test_a_member_cosigns_nothing_older_and_nothing_of_others(
    banks: Path, fedenclave: Command
) -> None:
    new_key(banks, fedenclave)
    old = banks / "old"
    shutil.copy(banks / "aggregator" / "checkpoint", old)
    with aggregator_of(banks) as aggregator:
        play(banks, aggregator)
    done = cosign(banks, fedenclave, old)
    assert "error: the checkpoint is of 6 entries, and this client has seen 11" in done.err
    # One that has missed the round has no such copy yet, and no receipt.
    gamma = cosign(banks, fedenclave, old, bank="gamma")
    assert "error: no receipts found" in gamma.err
    stranger = banks / "stranger"
    key = Ed25519PrivateKey.generate()
    origin = log_origin("banks", public_key(key))
    stranger.write_bytes(sign_checkpoint(three_rounds().checkpoint(), origin, key))
    assert "error: note has no signature of" in cosign(banks, fedenclave, stranger).err
    assert not (banks / "cosigned").exists()


def test_a_copy_that_lags_behind_a_receipt_is_not_enough(banks: Path, fedenclave: Command) -> None:
    """The receipt says how the log ends; the copy that shows it comes with the next offer."""
    new_key(banks, fedenclave)
    with aggregator_of(banks) as aggregator:
        folders = {bank: folders_of(banks)[bank] for bank in ("alpha", "beta")}
        one_round(RoundCoordinator(aggregator, send_manifest=False), folders, aggregator.model())
    done = cosign(banks, fedenclave, banks / "aggregator" / "checkpoint")
    assert "of 11 entries, and this client's copy of the log has 7" in done.err
    assert "hint: the copy grows with the next round's offer" in done.err
    old = cosign(banks, fedenclave, banks / "alpha" / "checkpoint")
    assert "of 6 entries, and this client has seen 11" in old.err


def test_mistakes_of_a_member_are_told_and_write_nothing(banks: Path, fedenclave: Command) -> None:
    key, _ = new_key(banks, fedenclave)
    note, out = banks / "aggregator" / "checkpoint", banks / "cosigned"

    def told(**changes: object) -> str:
        options = {"client": banks / "alpha", "name": MEMBER, "key": key, "out": out, **changes}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        done = fedenclave("log", "cosign", note, *words)
        assert done.status == 1
        assert "\nhint: " in done.err
        assert "Traceback" not in done.err
        return done.err

    assert "cannot read key" in told(key=banks / "absent")
    assert "is not a private key in PEM" in told(key=_private(banks / "junk.key", b"junk"))
    assert "holds no client" in told(client=banks / "absent")
    assert "key name is 'two words'" in told(name="two words")
    assert "key name is ''" in told(name="")
    assert "cannot write" in told(out=banks / "absent" / "note")
    key.chmod(0o644)
    assert "has mode 0644, want 0600" in told()
    key.chmod(0o600)
    shutil.rmtree(copied(banks / "alpha", banks / "bare") / "receipts")
    assert "no receipts found" in told(client=banks / "bare")
    lost = copied(banks / "alpha", banks / "lost")
    (lost / "log.fel").unlink()
    assert "cannot read this client's copy of the log" in told(client=lost)
    assert not out.exists()


def _private(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_a_witness_key_is_made_once_and_printed_again(tmp_path: Path, fedenclave: Command) -> None:
    file, vkey = new_key(tmp_path, fedenclave)
    assert NoteKey.from_text(vkey).name == MEMBER
    assert fedenclave("log", "witness-key", file, "--name", MEMBER).out.strip() == vkey
    again = fedenclave("log", "witness-key", file, "--name", MEMBER, "--new")
    assert "exists already" in again.err
    assert fedenclave("log", "witness-key", tmp_path / "absent", "--name", "w").status == 1
    assert fedenclave("log", "witness-key", file).status == 2
    write_key(tmp_path / "other.key", Ed25519PrivateKey.generate())
    assert fedenclave("log", "witness-key", tmp_path / "other.key", "--name", "a b").status == 1


def test_a_key_of_the_client_that_no_receipt_proves_is_not_taken(
    banks: Path, fedenclave: Command
) -> None:
    """The folder's receipts are of one enclave, and its state follows another."""
    new_key(banks, fedenclave)
    folder = folders_of(banks)["alpha"]
    session = folder.session()
    folder.save_state(replace(session.state, enclave_key=PublicKey(bytes(32))).to_bytes())
    done = cosign(banks, fedenclave, banks / "aggregator" / "checkpoint")
    assert done.status == 1
    assert "error: no receipt proves the key of the enclave that this client follows" in done.err
