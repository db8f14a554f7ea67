"""A folder of receipts as one history: what valid receipts say against each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from fedenclave.audit.folder import contradictions
from fedenclave.audit.lineage import Contains, models_with
from fedenclave.audit.receipt import Verdict, VerifiedReceipt, verify_receipt
from fedenclave.protocol.digests import Digest
from tests.audit.lying_receipt import MANIFEST, Lies, make_receipt, same

ONE = verify_receipt(make_receipt(Lies()), MANIFEST)
"""Of its enclave and log are all receipts here: each made one has its own."""


def proved(lies: Lies) -> VerifiedReceipt:
    """Return what a receipt of the one enclave, and of its one log, proves."""
    verified = verify_receipt(make_receipt(lies), MANIFEST)
    return replace(verified, attestation=ONE.attestation, checkpoint=ONE.checkpoint)


INCLUDED = proved(Lies())
REJECTED = proved(Lies(rejection=same))
LEFT_OUT = proved(Lies(answered=False))
LEFT_OUT_OF_AN_ABORT = proved(Lies(answered=False, abort=same))


def said(*receipts: VerifiedReceipt) -> set[str]:
    """Return what the receipts contradict each other in, in whatever order they lie."""
    (found,) = {tuple(sorted(contradictions(order, now=0))) for order in permutations(receipts)}
    return set(found)


def test_a_left_out_update_contradicts_no_true_receipt_of_its_round() -> None:
    other = replace(INCLUDED, client="b", update=Digest(b"u" * 32), clients=LEFT_OUT.clients)
    other = replace(other, organisations=LEFT_OUT.organisations)
    assert (LEFT_OUT.model, LEFT_OUT.clients) == (other.model, ("b", "c"))
    assert said(LEFT_OUT, other) == set()
    again = replace(LEFT_OUT, client="b", update=Digest(b"v" * 32))
    assert said(LEFT_OUT, other, again) == set()


def test_a_round_with_two_ends_is_a_fork_also_to_who_was_left_out() -> None:
    other = replace(INCLUDED, client="b", update=Digest(b"u" * 32))
    assert "round 1 was both released and aborted: a fork" in said(LEFT_OUT_OF_AN_ABORT, other)
    assert "round 1 was both released and aborted: a fork" in said(LEFT_OUT_OF_AN_ABORT, LEFT_OUT)
    assert "round 1 has two different releases: a fork" in said(LEFT_OUT, other)


def test_an_answer_that_the_host_kept_back_is_seen_beside_it() -> None:
    hidden = replace(LEFT_OUT, update=REJECTED.update)
    (found,) = said(hidden, REJECTED)
    assert found.endswith("kept back by the host, or taken out")
    assert said(LEFT_OUT, replace(REJECTED, client="b", update=Digest(b"u" * 32))) == set()


def test_a_receipt_of_who_was_left_out_says_who_is_in_the_model() -> None:
    (model,) = models_with([LEFT_OUT], "b", MANIFEST.initial_model)
    assert (model.model, model.contains) == (LEFT_OUT.model, Contains.DIRECTLY)
    (model,) = models_with([LEFT_OUT], "a", MANIFEST.initial_model)
    assert model.contains is Contains.NO
    assert models_with([LEFT_OUT_OF_AN_ABORT], "a", MANIFEST.initial_model) == []
    assert LEFT_OUT.verdict is LEFT_OUT_OF_AN_ABORT.verdict is Verdict.LEFT_OUT


def test_a_rejected_update_does_not_say_what_its_round_left_behind() -> None:
    later = replace(INCLUDED, round=2, base_model=INCLUDED.model, model=Digest(b"2" * 32))
    assert said(REJECTED, later) == set()
    other = replace(REJECTED, client="b")
    assert said(other, INCLUDED, later) == set()
    (found,) = said(other, INCLUDED, replace(later, base_model=Digest(b"3" * 32)))
    assert "round 2 builds on" in found
