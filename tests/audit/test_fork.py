"""Forks: every reason proves one, what one log can hold proves none, and a proof stands alone."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.audit.fork import (
    NoFork,
    denounce,
    denounce_any,
    denounce_logs,
    statements_of,
    verify_fork,
)
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Reason
from fedenclave.protocol.evidence import Evidence
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.fork_proof import ForkProof
from fedenclave.protocol.log_file import LogDamaged
from fedenclave.protocol.peers import Purpose
from fedenclave.protocol.signing import PublicKey, Signed, public_key, sign, statement_digest
from fedenclave.protocol.statements import Approval, Checkpoint
from tests.audit.log_builder import KEY, ZERO, LogBuilder, model_of, three_rounds
from tests.audit.lying_receipt import BASICS, MANIFEST, Lies, make_receipt

PUBLIC = public_key(KEY)
Pair = tuple[bytes, bytes]


def started() -> LogBuilder:
    log = LogBuilder()
    log.start()
    return log


def two(first: Callable[[LogBuilder], bytes], second: Callable[[LogBuilder], bytes]) -> Pair:
    """Return what two copies of one log say next."""
    return first(started()), second(started())


def later(first: Callable[[LogBuilder], bytes], second: Callable[[LogBuilder], bytes]) -> Pair:
    """Return two statements of one log, one after the other, each as it is asked for."""
    log = started()
    return first(log), second(log)


def in_round(end: Callable[[LogBuilder], bytes]) -> Callable[[LogBuilder], bytes]:
    """Return what opens a round and ends it so."""

    def make(log: LogBuilder) -> bytes:
        log.announce()
        return end(log)

    return make


def admitted_b(log: LogBuilder) -> bytes:
    log.announce()
    log.admit("b")
    return log.abort()


def amended(log: LogBuilder) -> bytes:
    return log.amend()


FORKS: dict[str, Pair] = {
    "two federations": two(lambda log: log.announce(), lambda log: log.announce(federation="x")),
    "had been replaced": later(amended, lambda log: log.announce()),
    "replace manifest": two(amended, lambda log: log.amend(manifest=ZERO)),
    "two starts": two(lambda log: log.signed[0], lambda log: log.start(time=9)),
    "two updates of a to round 1": two(
        in_round(lambda log: log.admit("a")), in_round(lambda log: log.admit("a", update=ZERO))
    ),
    "two announcements of round 1": two(
        lambda log: log.announce(), lambda log: log.announce(cohort=("a", "b"))
    ),
    "two ends of round 1": two(
        in_round(lambda log: log.abort()), in_round(lambda log: log.release(clients=9))
    ),
    "two ends of round 1 ": two(in_round(lambda log: log.abort()), admitted_b),
    "two ends of round 1  ": two(
        in_round(lambda log: log.adopt()), in_round(lambda log: log.release())
    ),
    "two ends of round 1   ": two(
        in_round(lambda log: log.release()), in_round(lambda log: log.release(model=ZERO))
    ),
    "both have a log of 2 entries": later(
        in_round(lambda log: log.abort()),
        lambda log: log.announce(checkpoint=Checkpoint(size=2, root=ZERO)),
    ),
    "the later has 2 entries before it, and the earlier 3": later(
        admitted_b, lambda log: log.announce(checkpoint=Checkpoint(size=2, root=ZERO))
    ),
    "what is evaluated after round 1 is not": later(
        lambda log: log.round(), lambda log: log.evaluate(model=ZERO)
    ),
    "what is evaluated after round 1 is not ": later(
        in_round(lambda log: log.adopt()), lambda log: log.evaluate(model=ZERO)
    ),
    "both have a log of 3 entries": two(
        in_round(lambda log: (log.abort(), log.evaluate())[1]),
        in_round(lambda log: (log.abort(), log.shut_down())[1]),
    ),
    "both have a log of 1 entries": two(lambda log: log.shut_down(), lambda log: log.announce()),
    "both have a log of 2 entries ": later(
        lambda log: (log.announce(), log.abort(), log.shut_down())[1],
        lambda log: log.shut_down(checkpoint=Checkpoint(size=2, root=ZERO)),
    ),
    "the later has 2 entries before it, and the earlier 3 ": later(
        admitted_b, lambda log: log.shut_down(checkpoint=Checkpoint(size=2, root=ZERO))
    ),
    "the later has 1 entries before it, and the earlier 3": later(
        lambda log: (log.announce(), log.abort(), log.shut_down())[2],
        lambda log: log.announce(checkpoint=Checkpoint(size=1, root=ZERO)),
    ),
    "release of round 1 names another announcement": later(
        lambda log: log.announce(), lambda log: log.release(announcement=ZERO)
    ),
    "round 2 does not build on": later(
        lambda log: log.round(), lambda log: log.announce(base_model=ZERO)
    ),
    "round 2 does not build on ": later(
        in_round(lambda log: log.adopt()), lambda log: log.announce(base_model=ZERO)
    ),
}


@pytest.mark.parametrize("why", FORKS)
def test_each_reason_proves_a_fork_in_either_order(why: str) -> None:
    a, b = FORKS[why]
    for first, second in ((a, b), (b, a)):
        proof = denounce(first, second, PUBLIC)
        assert (proof.first, proof.second, proof.key) == (first, second, PUBLIC)
        fork = verify_fork(proof.to_bytes(), PUBLIC)
        assert why.strip() in fork.why
        assert (fork.first, fork.second) == (statement_digest(first), statement_digest(second))
        assert fork.key == PUBLIC


def no_fork(first: bytes, second: bytes) -> None:
    with pytest.raises(NoFork, match="both statements can be in one log") as caught:
        denounce(first, second, PUBLIC)
    assert caught.value.hint


def test_no_two_statements_of_one_log_prove_anything() -> None:
    log = three_rounds()
    log.announce()
    log.message(Purpose.REPORT)
    log.message(Purpose.PARTIAL_SUM)
    log.adopt()
    log.evaluate()
    log.shut_down()
    log.shut_down()
    log.evaluate()
    log.round()
    log.shut_down()
    log.announce()
    for first, second in combinations(log.signed, 2):
        no_fork(first, second)
        no_fork(second, first)
    for signed in log.signed:
        no_fork(signed, signed)


def test_no_two_statements_of_a_log_under_three_manifests_prove_anything() -> None:
    one, other = Digest(b"1" * 32), Digest(b"2" * 32)
    log = started()
    log.round()
    log.amend(manifest=one)
    log.announce(manifest=one)
    log.abort(manifest=one)
    log.amend(before=one, manifest=other)
    log.shut_down(manifest=other)
    log.announce(manifest=other)
    for first, second in combinations(log.signed, 2):
        no_fork(first, second)
        no_fork(second, first)


def test_what_a_log_may_hold_of_one_client_proves_nothing() -> None:
    log = started()
    log.announce()
    admission = log.admit("a")
    for other in (
        log.admit("b"),
        log.reject("a", Reason.REPLAYED),
        log.reject("a", Reason.CHANGED_AFTER_ADMISSION),
        log.admit("a", round=2),
    ):
        no_fork(admission, other)
    no_fork(log.reject("a"), log.reject("a", update=ZERO))


@pytest.mark.parametrize("why", ["two announcements of round 1", "two ends of round 1"])
def test_a_statement_of_another_key_proves_nothing(why: str) -> None:
    first, second = FORKS[why]
    stranger = Ed25519PrivateKey.generate()
    entry = Signed.from_bytes(second)
    forged = replace(entry, signature=bytes(64)).to_bytes()
    for pair in ((first, forged), (forged, first)):
        with pytest.raises(MalformedMessage, match="does not hold"):
            denounce(*pair, PUBLIC)
        proof = ForkProof(version=1, key=PUBLIC, first=pair[0], second=pair[1])
        with pytest.raises(MalformedMessage, match="does not hold"):
            verify_fork(proof.to_bytes(), PUBLIC)
    honest = denounce(first, second, PUBLIC).to_bytes()
    with pytest.raises(MalformedMessage, match="about ed25519:"):
        verify_fork(honest, public_key(stranger))
    with pytest.raises(MalformedMessage, match="does not hold"):
        denounce(first, second, public_key(stranger))


def test_a_proof_is_of_its_version_of_statements_and_of_a_fork() -> None:
    first, second = FORKS["two announcements of round 1"]
    proof = denounce(first, second, PUBLIC)
    with pytest.raises(MalformedMessage, match="has version 2"):
        verify_fork(replace(proof, version=2).to_bytes(), PUBLIC)
    with pytest.raises(NoFork, match="both statements can be in one log"):
        verify_fork(replace(proof, second=first).to_bytes(), PUBLIC)
    approval = sign(Approval(**BASICS, member="alpha"), KEY)
    with pytest.raises(MalformedMessage, match="'approval'"):
        verify_fork(replace(proof, second=approval).to_bytes(), PUBLIC)
    with pytest.raises(MalformedMessage, match="want 32"):
        replace(proof, key=b"short")


@given(st.data())
def test_a_proof_with_a_byte_changed_proves_nothing(data: st.DataObject) -> None:
    whole = denounce(*FORKS["two ends of round 1"], PUBLIC).to_bytes()
    changed = bytearray(whole)
    changed[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MalformedMessage):
        verify_fork(bytes(changed), PUBLIC)


# -- two logs


def forked(at: str) -> tuple[LogBuilder, LogBuilder]:
    """Return two logs that differ from one place on, and end alike."""
    logs = started(), started()
    for log, other in zip(logs, (False, True), strict=True):
        log.round()
        log.announce(("a", "b", "c") if other and at == "announcement" else ("a", "c"))
        for client in ("c", "a") if other and at == "answer" else ("a", "c"):
            log.admit(client)
        log.abort() if other and at == "end" else log.release()
    return logs


def streams(*logs: LogBuilder) -> tuple[io.BytesIO, ...]:
    return tuple(io.BytesIO(log.file()) for log in logs)


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("announcement", "two announcements of round 2"),
        ("answer", "two ends of round 2"),
        ("end", "two ends of round 2"),
    ],
)
def test_two_logs_prove_a_fork_wherever_it_begins(at: str, why: str) -> None:
    logs = forked(at)
    first, second = streams(*logs)
    proof = denounce_logs(first, second, PUBLIC)
    assert why in verify_fork(proof.to_bytes(), PUBLIC).why
    assert proof.first in logs[0].signed
    assert proof.second in logs[1].signed


def test_a_log_and_its_beginning_prove_nothing() -> None:
    whole, beginning = three_rounds(), three_rounds()
    del beginning.signed[9:]
    for pair in ((whole, beginning), (beginning, whole), (whole, whole)):
        with pytest.raises(NoFork, match="begins with"):
            denounce_logs(*streams(*pair), PUBLIC)


def test_logs_that_nothing_stands_for_yet_prove_nothing() -> None:
    first, second = forked("answer")
    del first.signed[-1]
    with pytest.raises(NoFork, match="differ from entry 7 on") as caught:
        denounce_logs(*streams(first, second), PUBLIC)
    assert "wait" in caught.value.hint


def test_an_entry_without_a_signature_that_holds_does_not_hide_a_fork() -> None:
    # Both logs are valid by their checkpoints, and the entries that differ prove nothing alone.
    logs = started(), started()
    for log, clients in zip(logs, (("c", "a"), ("a", "c")), strict=True):
        log.round()
        log.announce()
        log.key = Ed25519PrivateKey.generate()
        for client in clients:
            log.admit(client)
        log.key = KEY
        log.release()
        assert log.verified().admissions == 5
    proof = denounce_logs(*streams(*logs), PUBLIC)
    assert "two ends of round 2" in verify_fork(proof.to_bytes(), PUBLIC).why
    # And where nothing with a signature follows, that is what is said.
    for log in logs:
        del log.signed[-1]
    with pytest.raises(MalformedMessage, match="admission does not hold"):
        denounce_logs(*streams(*logs), PUBLIC)


def test_a_forged_or_damaged_log_is_no_proof_against_the_enclave() -> None:
    first, second = forked("end")
    second.signed[-1] = replace(
        Signed.from_bytes(second.signed[-1]), signature=bytes(64)
    ).to_bytes()
    with pytest.raises(MalformedMessage, match="does not hold"):
        denounce_logs(*streams(first, second), PUBLIC)
    with pytest.raises(LogDamaged):
        denounce_logs(io.BytesIO(first.file()[:-1]), io.BytesIO(first.file()), PUBLIC)


# -- receipts


def key_of(receipt: bytes) -> tuple[Receipt, PublicKey]:
    found = Receipt.from_bytes(receipt)
    return found, PublicKey(Evidence.from_bytes(found.participation.evidence).signing_key)


def test_statements_of_two_receipts_of_one_enclave_prove_a_fork(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    maker = sys.modules[make_receipt.__module__]
    enclave = maker.LyingEnclave(MANIFEST)
    enclave.key = KEY
    monkeypatch.setattr(maker, "LyingEnclave", lambda _: enclave)
    receipts = [make_receipt(lies) for lies in (Lies(), Lies(abort=lambda a: a))]
    (first, key), (second, same) = map(key_of, receipts)
    assert key == same == PUBLIC
    proof = denounce_any(statements_of(first), statements_of(second), key)
    assert proof is not None
    assert "of round 1" in verify_fork(proof.to_bytes(), key).why
    assert denounce_any(statements_of(first), statements_of(first), key) is None


def test_a_receipt_and_a_log_prove_a_fork() -> None:
    logs = forked("answer")
    receipt = [logs[0].signed[-4], logs[0].signed[-2], logs[0].signed[-1]]
    proof = denounce_any(receipt, logs[1].signed, PUBLIC)
    assert proof is not None
    assert proof.second == logs[1].signed[-1]
    assert denounce_any(receipt, logs[0].signed, PUBLIC) is None


def test_an_honest_release_and_the_next_announcement_prove_nothing() -> None:
    log = started()
    release = log.round()
    no_fork(release, log.announce(base_model=model_of(1)))
