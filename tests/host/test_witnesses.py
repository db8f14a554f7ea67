"""Witnesses are asked for every checkpoint, and nothing that one of them does harms the log."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.host.add_checkpoint import (
    MAX_ANSWER,
    HttpAsker,
    WitnessFailed,
    request_body,
)
from fedenclave.host.checkpoint_file import CheckpointFile
from fedenclave.host.witnesses import (
    Patience,
    Witness,
    Witnesses,
)
from fedenclave.protocol import merkle
from fedenclave.protocol.checkpoint_note import (
    log_origin,
    sign_checkpoint,
    verify_checkpoint,
    witness_key,
)
from fedenclave.protocol.digests import Digest, sha256
from fedenclave.protocol.merkle import Tree
from fedenclave.protocol.signed_note import NoteKey, SignedNote
from fedenclave.protocol.signing import public_key
from fedenclave.protocol.statements import Checkpoint
from tests.host.tlog_witness import FORGED, HttpWitness, Log, roots_of

Eventually = Callable[[Callable[[], bool]], bool]
SOON = Patience(look=0.01, first=0.05, most=0.1)
NEVER = Patience(look=0.01, first=3600.0)
# Fixed: they are in the names of tests, which every process must give alike.
ENCLAVE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ORIGIN = log_origin("banks", public_key(ENCLAVE))
LOG_KEY = NoteKey(name=ORIGIN, key=public_key(ENCLAVE))


class Host:
    """A log without an enclave: its leaves, its key's notes, and the file they lie in."""

    def __init__(self, folder: Path) -> None:
        self.file = CheckpointFile(folder / "checkpoint")
        self.leaves: list[Digest] = []

    def grow(self, count: int, *, of: str = "leaf") -> None:
        """Add leaves and publish the note of them."""
        first = len(self.leaves)
        self.leaves += [sha256(f"{of} {number}".encode()) for number in range(first, first + count)]
        checkpoint = Checkpoint(size=len(self.leaves), root=merkle.root(self.leaves))
        self.file.renew(sign_checkpoint(checkpoint, ORIGIN, ENCLAVE))

    @contextmanager
    def asking(
        self, *witnesses: HttpWitness, patience: Patience = SOON, asker: HttpAsker | None = None
    ) -> Iterator[None]:
        """Ask witnesses that know this log."""
        for witness in witnesses:
            witness.logs.setdefault(ORIGIN, Log(key=public_key(ENCLAVE)))
        with Witnesses(
            [Witness(url=each.url, key=witness_key(each.vkey)) for each in witnesses],
            log_key=LOG_KEY,
            file=self.file,
            leaves=lambda first: tuple(self.leaves[first:]),
            asker=asker or HttpAsker(timeout=10, deadline=10),
            patience=patience,
        ):
            yield

    def cosigned_by(self, *witnesses: HttpWitness) -> set[str]:
        """Return who has cosigned the newest note; a wrong line makes it an error."""
        keys = [witness_key(each.vkey) for each in witnesses]
        noted = verify_checkpoint(self.file.note, LOG_KEY, keys)
        assert noted.checkpoint.size == len(self.leaves)
        return set(noted.witnesses)


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def witness() -> Iterator[HttpWitness]:
    with HttpWitness(name="w.example") as made:
        yield made


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


# -- the protocol


def test_each_checkpoint_is_cosigned_from_the_one_before(
    host: Host, witness: HttpWitness, eventually: Eventually
) -> None:
    with HttpWitness(name="v.example/2") as other, host.asking(witness, other):
        for count in (1, 3, 1, 12, 7, 1):
            host.grow(count)
            assert eventually(lambda: len(host.cosigned_by(witness, other)) == 2)
    assert witness.statuses == [200] * 6
    sizes = [body.split(b"\n")[0] for body in witness.requests]
    assert sizes == [b"old 0", b"old 1", b"old 4", b"old 5", b"old 17", b"old 24"]


def test_nothing_of_others_is_sent_and_nobody_is_asked_twice(
    host: Host, witness: HttpWitness, eventually: Eventually
) -> None:
    host.grow(2)
    with HttpWitness(name="v.example") as other:
        with host.asking(other):
            assert eventually(lambda: bool(host.cosigned_by(other)))
        with host.asking(witness, other):
            assert eventually(lambda: len(host.cosigned_by(witness, other)) == 2)
            time.sleep(0.1)
        assert len(witness.requests) == len(other.requests) == 1
    assert witness.requests[0].count("\u2014".encode()) == 1


def test_after_a_restart_it_goes_on_from_what_the_witness_has(
    host: Host, witness: HttpWitness, tmp_path: Path, eventually: Eventually
) -> None:
    host.grow(5)
    with host.asking(witness):
        assert eventually(lambda: bool(host.cosigned_by(witness)))
    # The note that lies there is cosigned: it is not asked for again, and its size is known.
    host.file = CheckpointFile(tmp_path / "checkpoint")
    with host.asking(witness):
        time.sleep(0.1)
        assert witness.statuses == [200]
        host.grow(2)
        assert eventually(lambda: bool(host.cosigned_by(witness)))
    assert witness.statuses == [200, 200]
    # One that is lost, or of another round: the witness says the size.
    (tmp_path / "checkpoint").unlink()
    host.file = CheckpointFile(tmp_path / "checkpoint")
    host.grow(4)
    with host.asking(witness):
        assert eventually(lambda: bool(host.cosigned_by(witness)))
    assert witness.statuses == [200, 200, 409, 200]
    assert witness.requests[-1].startswith(b"old 7\n")


def test_a_lost_answer_is_asked_for_again(
    host: Host, witness: HttpWitness, eventually: Eventually
) -> None:
    """The witness has cosigned, and the host does not know: the same checkpoint once more."""
    host.grow(3)
    with host.asking(witness):
        assert eventually(lambda: bool(host.cosigned_by(witness)))
    host.file.renew(sign_checkpoint(Checkpoint(size=1, root=merkle.EMPTY_ROOT), ORIGIN, ENCLAVE))
    host.grow(0)
    assert not host.cosigned_by(witness)
    with host.asking(witness):
        assert eventually(lambda: bool(host.cosigned_by(witness)))
    assert witness.statuses == [200, 409, 200]
    assert witness.requests[-1].startswith(b"old 3\n\n")


def test_a_line_that_does_not_hold_is_replaced(
    host: Host, witness: HttpWitness, eventually: Eventually
) -> None:
    host.grow(3)
    wrong = witness.line(b"another text\n", 1)
    host.file.add(lambda note: note + wrong)
    with host.asking(witness):
        assert eventually(lambda: wrong not in host.file.note)
        assert host.cosigned_by(witness) == {witness.name}


def test_what_comes_too_late_is_not_added(
    host: Host, witness: HttpWitness, eventually: Eventually
) -> None:
    host.grow(1)
    first = witness.line(SignedNote.from_bytes(host.file.note).unverified_text.encode(), 5)
    asked, go_on, again, done = (threading.Event() for _ in range(4))

    class Late(HttpAsker):
        def ask(self, url: str, body: bytes) -> bytes:
            if asked.is_set():
                again.set()
                done.wait(10)
                return super().ask(url, body)
            asked.set()
            go_on.wait(10)
            return first

    with host.asking(witness, asker=Late()):
        assert asked.wait(10)
        host.grow(1)
        fresh = host.file.note
        go_on.set()
        assert again.wait(10)
        assert host.file.note == fresh
        done.set()
        assert eventually(lambda: bool(host.cosigned_by(witness)))


# -- witnesses that do not do what they should


def text_of(host: Host) -> bytes:
    return SignedNote.from_bytes(host.file.note).unverified_text.encode()


def garbage(host: Host, witness: HttpWitness) -> dict[str, tuple[int, str, bytes]]:
    text, plain = text_of(host), "text/plain"
    line = witness.line(text, 7)
    own = HttpWitness(name=ORIGIN, private=Ed25519PrivateKey.generate())
    return {
        "nothing": (200, plain, b""),
        "another key's": (200, plain, FORGED.line(text, 7)),
        "another name's": (
            200,
            plain,
            HttpWitness(name="x", private=witness.private).line(text, 7),
        ),
        "the log's name": (200, plain, own.line(text, 7)),
        "of another text": (200, plain, witness.line(text + b"more\n", 7)),
        "a text of its own": (200, plain, b"more\n\n" + witness.line(text + b"\nmore\n", 7)),
        "one that holds and one not": (200, plain, line + witness.line(b"x\n", 8)),
        "a whole note": (200, plain, host.file.note + line),
        "a cut line": (200, plain, line[:-9] + b"\n"),
        "no newline": (200, plain, line[:-1]),
        "html": (200, "text/html", b"<html>welcome</html>\n"),
        "no utf-8": (200, plain, b"\xff\xfe\n"),
        "a control character": (200, plain, line[:-1] + b"\x1b[2J\n"),
        "too much": (200, plain, line + b"x" * MAX_ANSWER),
        "another 2xx": (202, plain, line),
        "a redirection": (307, plain, b"http://127.0.0.1:9/elsewhere"),
        "a redirection to a file": (302, plain, b"file:///etc/hostname"),
        "not found": (404, plain, b""),
        "forbidden": (403, plain, b""),
        "a defect": (500, plain, b""),
        "a conflict without a size": (409, plain, b"3\n"),
        "a size that is none": (409, "text/x.tlog.size", b"-1\n"),
        "a size in words": (409, "text/x.tlog.size", b"three\n"),
        "a huge size": (409, "text/x.tlog.size", b"9" * 19),
        "too long a size": (409, "text/x.tlog.size", b"1" * (MAX_ANSWER + 1)),
        "a size above ours": (409, "text/x.tlog.size", b"10\n"),
    }


def test_an_answer_that_is_no_cosignature_changes_nothing_and_is_said_once(
    host: Host, witness: HttpWitness, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    host.grow(9)
    note = host.file.note
    for what, answer in garbage(host, witness).items():
        caplog.clear()
        asked = len(witness.requests)
        witness.answers[:] = [answer] * 3
        with host.asking(witness, patience=Patience(look=0.01, first=0.02, most=0.02)):
            assert eventually(lambda: not witness.answers), what
            # Then it does its work, and the note is cosigned after all.
            assert eventually(lambda: bool(host.cosigned_by(witness))), what
        assert len(warnings(caplog)) == 1, (what, warnings(caplog))
        assert warnings(caplog)[0].startswith("witness w.example does not cosign: it"), what
        assert warnings(caplog)[0].isprintable()
        assert len(witness.requests) > asked + 3 - 1
        host.file.renew(
            sign_checkpoint(Checkpoint(size=1, root=merkle.EMPTY_ROOT), ORIGIN, ENCLAVE)
        )
        host.file.renew(note)
        witness.logs[ORIGIN] = Log(key=public_key(ENCLAVE))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirection_is_followed(
    status: int,
    host: Host,
    witness: HttpWitness,
    caplog: pytest.LogCaptureFixture,
    eventually: Eventually,
) -> None:
    host.grow(1)
    with HttpWitness(name="elsewhere.example") as elsewhere:
        witness.answers.append((status, "text/plain", f"{elsewhere.url}/add-checkpoint".encode()))
        with host.asking(witness, patience=NEVER):
            assert eventually(lambda: bool(warnings(caplog)))
        assert elsewhere.requests == []
    assert f"it answers with status {status}" in warnings(caplog)[0]


def test_a_witness_that_names_another_size_each_time_is_left_alone(
    host: Host, witness: HttpWitness, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    host.grow(9)
    witness.answers += [(409, "text/x.tlog.size", f"{size}\n".encode()) for size in (1, 2, 3, 4)]
    with host.asking(witness, patience=NEVER):
        assert eventually(lambda: bool(warnings(caplog)))
        time.sleep(0.1)
    assert len(witness.requests) == 3
    assert "another size each time" in warnings(caplog)[0]


def test_a_log_that_was_wound_back_or_forked_is_said_to_be(
    host: Host, witness: HttpWitness, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    host.grow(6)
    with host.asking(witness):
        assert eventually(lambda: bool(host.cosigned_by(witness)))
    for count, told in ((4, "6 entries of this log, and here are 4"), (6, "another log of 6")):
        caplog.clear()
        host.leaves = []
        host.grow(count, of="other")
        with host.asking(witness, patience=NEVER):
            assert eventually(lambda: bool(warnings(caplog)))
        assert told in warnings(caplog)[0]
        assert not host.cosigned_by(witness)
    # It has grown since, and the proof does not show what the witness has cosigned.
    caplog.clear()
    host.grow(3, of="other")
    with host.asking(witness, patience=NEVER):
        assert eventually(lambda: bool(warnings(caplog)))
    assert "status 422: it finds that the log does not go on" in warnings(caplog)[0]


def test_a_slow_or_absent_witness_holds_up_nobody(
    host: Host, witness: HttpWitness, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    with HttpWitness(name="gone.example") as gone:
        pass
    with HttpWitness(name="slow.example", delay=0.2) as slow:
        host.grow(2)
        with host.asking(slow, gone, witness, asker=HttpAsker(timeout=10, deadline=0.5)):
            for _ in range(3):
                host.grow(2)
                assert eventually(lambda: witness.name in host.cosigned_by(witness))
            assert eventually(lambda: len(warnings(caplog)) >= 2)
            before = time.monotonic()
        assert time.monotonic() - before < 5
    said = warnings(caplog)
    assert sum("slow.example does not cosign: its answer takes" in each for each in said) == 1
    assert sum("gone.example does not cosign: it cannot be asked" in each for each in said) == 1


def test_a_witness_that_fails_is_asked_again_at_the_next_checkpoint(
    host: Host, witness: HttpWitness, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    witness.answers.append((503, "text/plain", b""))
    with host.asking(witness, patience=NEVER):
        host.grow(1)
        assert eventually(lambda: bool(warnings(caplog)))
        host.grow(1)
        assert eventually(lambda: bool(host.cosigned_by(witness)))
        # A failure of the same kind is news again.
        witness.answers.append((503, "text/plain", b""))
        host.grow(1)
        assert eventually(lambda: len(warnings(caplog)) == 2)


def test_a_defect_here_ends_no_thread(
    host: Host, witness: HttpWitness, caplog: pytest.LogCaptureFixture, eventually: Eventually
) -> None:
    host.grow(2)
    kept, host.leaves = host.leaves, []
    witness.logs[ORIGIN] = Log(key=public_key(ENCLAVE), size=1, root=merkle.root(kept[:1]))
    with host.asking(witness):
        assert eventually(lambda: any("failed here" in each for each in warnings(caplog)))
        host.leaves = kept
        assert eventually(lambda: bool(host.cosigned_by(witness)))


def test_where_none_is_named_there_is_no_thread(host: Host) -> None:
    before = threading.active_count()
    with host.asking():
        assert threading.active_count() == before


# -- the proofs, by a second opinion


def test_our_proofs_convince_another_verification_and_no_other_tree_does() -> None:
    leaves = [sha256(bytes([number])) for number in range(40)]
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf)
    for new in range(1, 41):
        for old in range(1, new + 1):
            proof = list(tree.consistency_proof(old, new))
            roots = tree.root(old), tree.root(new)
            assert roots_of(roots[0], old, new, proof) == roots
            body = request_body(old, proof, b"note").split(b"\n")
            assert body[0] == f"old {old}".encode()
            assert [base64.b64decode(line) for line in body[1:-2]] == proof
            assert body[-2:] == [b"", b"note"]
            if proof:
                proof[-1] = sha256(proof[-1])
                assert roots_of(roots[0], old, new, proof) != roots
    with pytest.raises(ValueError, match="64 hashes"):
        request_body(1, [bytes(32)] * 64, b"")


def test_a_timeout_is_a_failure_like_another() -> None:
    with (
        HttpWitness(name="w.example", delay=1.0, answers=[(200, "text/plain", b"abc")]) as slow,
        pytest.raises(WitnessFailed, match="cannot be asked: timed out"),
    ):
        HttpAsker(timeout=0.1).ask(slow.url, b"")
