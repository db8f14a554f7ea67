"""Every check of a receipt, one lie each, by an enclave whose evidence is in order."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.audit.receipt import ReceiptInvalid, Verdict, verify_receipt
from fedenclave.protocol import merkle
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.signing import Signed, sign
from fedenclave.protocol.statements import (
    Abort,
    Admission,
    Checkpoint,
    Outcome,
    Rejection,
    Release,
)
from tests.audit.lying_receipt import (
    KEYS,
    MANIFEST,
    Lies,
    approvals,
    contribution,
    make_receipt,
    same,
)

ZERO = Digest(bytes(32))


def but(**changes: Any) -> Callable[[Any], Any]:
    """Return what replaces fields of a record, or entries of a dict."""
    return lambda r: {**r, **changes} if isinstance(r, dict) else replace(r, **changes)


def report_of(*names: str, **changes: Any) -> Callable[[Any], Any]:
    """Return what makes a report name others, as often as asked."""
    lines = tuple(replace(contribution(name, Digest(b"u" * 32)), **changes) for name in names)
    return lambda report: replace(report, contributions=(report.contributions[0], *lines))


def verdict_of(lies: Lies) -> Verdict:
    return verify_receipt(make_receipt(lies), MANIFEST).verdict


def test_without_a_lie_each_kind_of_receipt_holds() -> None:
    assert verdict_of(Lies()) is Verdict.INCLUDED
    assert verdict_of(Lies(rejection=same)) is Verdict.REJECTED
    assert verdict_of(Lies(abort=same)) is Verdict.ABORTED
    assert verdict_of(Lies(rejection=same, abort=same)) is Verdict.REJECTED
    assert verdict_of(Lies(answered=False)) is Verdict.LEFT_OUT
    assert verdict_of(Lies(answered=False, abort=same)) is Verdict.LEFT_OUT
    aside = Lies(
        report=lambda r: replace(
            r,
            contributions=(
                replace(r.contributions[0], outcome=Outcome.SET_ASIDE),
                *r.contributions[1:],
            ),
        ),
        release=but(clients=2, organisations=2),
    )
    assert verdict_of(aside) is Verdict.SET_ASIDE


UNANSWERED = but(answer=b"")

# What the refusal says, and the lie. Blanks at the end tell equal ones apart.
LIES: dict[str, Lies] = {
    "version is": Lies(receipt=but(version=2)),
    "another manifest than yours": Lies(receipt=but(manifest=MANIFEST.source + b"\n")),
    "2 members approved": Lies(receipt=but(approvals=approvals(("alpha", "beta", "beta")))),
    "path is not one": Lies(participation=but(nonce_index=1)),
    "report data": Lies(participation=but(nonce=b"o" * 32)),
    "does not decode": Lies(participation=but(evidence=b"")),
    "statement is for another manifest": Lies(announcement=but(manifest=ZERO)),
    "statement is for another federation": Lies(announcement=but(federation="other")),
    "not in the round's cohort": Lies(announcement=but(cohort=("b", "c"))),
    "the cohort is the host's": Lies(announcement=but(available=("a", "b", "c"))),
    "parts are of several rounds": Lies(participation=but(round=2)),
    "several rounds ": Lies(delivery=but(round=2)),
    "several rounds  ": Lies(announcement=but(round=2), header=but(round=2)),
    "not on the roster": Lies(
        announcement=but(cohort=("a", "b", "c", "x")), receipt=but(client="x")
    ),
    "signature of the update": Lies(signer=KEYS["b"]),
    "signature of the update ": Lies(envelope=but(wrapped_key=b"other")),
    "update is another client's": Lies(header=but(client="b")),
    "update is of another round": Lies(header=but(round=2)),
    "update is for another announcement": Lies(header=but(announcement=ZERO)),
    "update's base model differs": Lies(header=but(base_model=ZERO)),
    "statement is for another manifest ": Lies(header=but(manifest=ZERO)),
    "answer is to another client": Lies(admission=but(client="b")),
    "answer is to another update": Lies(admission=but(update=ZERO)),
    "answer names other data": Lies(admission=but(data=Digest(b"d" * 32))),
    "answer names other data ": Lies(header=but(data=Digest(b"d" * 32))),
    "answer is of another round": Lies(admission=but(round=2)),
    "statement is for another manifest  ": Lies(admission=but(manifest=ZERO)),
    "answer is to another update ": Lies(rejection=but(update=ZERO)),
    "answer is of another round ": Lies(rejection=but(round=2), abort=same),
    "statement is for another manifest   ": Lies(abort=but(manifest=ZERO)),
    "abort is of another round": Lies(abort=but(round=2)),
    "has no cohort report": Lies(abort=same, delivery=but(cohort=b"\xa0")),
    "not one end": Lies(delivery=but(release=b"")),
    "not one end ": Lies(delivery=but(abort=b"\xa0")),
    "statement is for another federation ": Lies(release=but(federation="other")),
    "release is of another round": Lies(release=but(round=2)),
    "release is for another announcement": Lies(release=but(announcement=ZERO)),
    "release has another base model": Lies(release=but(base_model=ZERO)),
    "not the one that the release names": Lies(release=but(cohort=ZERO)),
    "release counts other clients": Lies(release=but(clients=2)),
    "release counts other organisations": Lies(release=but(organisations=2)),
    "1 organisations are in the release": Lies(
        report=report_of(), release=but(clients=1, organisations=1)
    ),
    "names a client twice": Lies(
        report=report_of("b", "b"), release=but(clients=3, organisations=2)
    ),
    "names a stranger": Lies(announcement=but(cohort=("a", "b")), report=report_of("b", "c")),
    "to another organisation": Lies(
        report=report_of("b", organisation="gamma"), release=but(clients=2, organisations=2)
    ),
    "to another organisation ": Lies(  # announced, reported, and on nobody's roster
        announcement=but(cohort=("a", "b", "c", "x")),
        report=report_of("b", client="x"),
        release=but(clients=2, organisations=2),
    ),
    "0 times, want once": Lies(
        report=lambda r: replace(r, contributions=r.contributions[1:]),
        release=but(clients=2, organisations=2),
    ),
    "report names another update": Lies(
        report=lambda r: replace(r, contributions=(contribution("a", ZERO), *r.contributions[1:]))
    ),
    "was rejected, and is in": Lies(
        rejection=lambda rejection: UPDATES.append(rejection.update) or rejection,
        report=lambda r: replace(
            r, contributions=(contribution("a", UPDATES[-1]), *r.contributions)
        ),
        release=but(clients=3, organisations=3),
    ),
    "answer is not in the log": Lies(log=lambda leaves: [*leaves[:2], b"other"]),
    "answer is not in the log ": Lies(delivery=but(leaf_index=1)),
    "answer is not in the log  ": Lies(delivery=but(leaf_path=())),
    "answer is not in the log   ": Lies(abort=same, delivery=but(leaf_index=0, leaf_path=())),
    "answer is not in the log    ": Lies(rejection=same, delivery=but(leaf_index=0)),
    "answer is not in the log     ": Lies(
        release=but(checkpoint=Checkpoint(size=3, root=ZERO)),
    ),
    "list its client as missing": Lies(delivery=but(answer=b"")),
    "list its client as missing ": Lies(
        rejection=same, report=but(missing=()), delivery=UNANSWERED
    ),
    "list its client as missing  ": Lies(  # both: an honest enclave's report says one of the two
        report=but(missing=("a",)), delivery=UNANSWERED
    ),
    "end is not the last entry": Lies(answered=False, delivery=but(leaf_index=2)),
    "end is not the last entry ": Lies(answered=False, delivery=but(leaf_path=())),
    "end is not the last entry  ": Lies(answered=False, abort=same, delivery=but(leaf_path=())),
    "release is of another round ": Lies(answered=False, release=but(round=2)),
    "abort is of another round ": Lies(answered=False, abort=but(round=2)),
    "log's subtrees do not make its root ": Lies(
        answered=False, delivery=but(log_roots=(ZERO, ZERO))
    ),
    "log's subtrees do not make its root": Lies(delivery=but(log_roots=(ZERO, ZERO))),
    "roots of a tree of 3 leaves": Lies(
        # The root itself in their place: it is one, and what follows would be hung in wrongly.
        log=lambda leaves: ROOTS.append(merkle.root(leaves)) or leaves,
        delivery=lambda delivery: replace(delivery, log_roots=(ROOTS[-1],)),
    ),
}
ROOTS: list[Digest] = []
UPDATES: list[Digest] = []


@pytest.mark.parametrize("match", LIES)
def test_a_receipt_with_one_lie_proves_nothing(match: str) -> None:
    data = make_receipt(LIES[match])
    with pytest.raises(ReceiptInvalid, match=match.strip()):
        verify_receipt(data, MANIFEST)


@pytest.mark.parametrize("abort", [None, same], ids=["release", "abort"])
def test_the_end_of_a_round_that_answered_nothing_is_nowhere_but_last(
    monkeypatch: pytest.MonkeyPatch, abort: Callable[[Any], Any] | None
) -> None:
    """No path can show it elsewhere: it names the log before it. That is not all that holds it."""
    data = make_receipt(Lies(answered=False, abort=abort, delivery=but(leaf_index=2)))
    with pytest.raises(ReceiptInvalid, match="end is not the last entry"):
        verify_receipt(data, MANIFEST)
    monkeypatch.setattr(merkle, "includes", lambda *_, **__: True)
    with pytest.raises(ReceiptInvalid, match="end is at another place"):
        verify_receipt(data, MANIFEST)


@pytest.mark.parametrize(
    ("part", "cls", "lies"),
    [
        ("answer", Admission, Lies()),
        ("answer", Rejection, Lies(rejection=same)),
        ("release", Release, Lies()),
        ("abort", Abort, Lies(abort=same)),
    ],
    ids=["admission", "rejection", "release", "abort"],
)
def test_a_statement_by_another_key_than_the_attested_one_proves_nothing(
    part: str, cls: Any, lies: Lies
) -> None:
    stranger = Ed25519PrivateKey.generate()

    def resign(delivery: Any) -> Any:
        payload = Signed.from_bytes(getattr(delivery, part)).payload
        return replace(delivery, **{part: sign(cls.from_bytes(payload), stranger)})

    with pytest.raises(ReceiptInvalid, match="does not hold"):
        verify_receipt(make_receipt(replace(lies, delivery=resign)), MANIFEST)


def test_an_announcement_by_another_key_proves_nothing() -> None:
    second = Receipt.from_bytes(make_receipt(Lies())).participation.announcement

    def swap(participation: Any) -> Any:
        return replace(participation, announcement=second)

    with pytest.raises(ReceiptInvalid, match="does not hold"):
        verify_receipt(make_receipt(Lies(participation=swap)), MANIFEST)
