"""Which models a client is in: directly, by descent, not, or not to be known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedenclave.attestation.result import AttestationResult
from fedenclave.audit.lineage import Contains, models_with
from fedenclave.audit.receipt import Verdict, VerifiedReceipt, verify_receipt
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.signing import PublicKey
from tests.audit.log_builder import model_of
from tests.audit.lying_receipt import MANIFEST, Lies, make_receipt

FIRST = MANIFEST.initial_model
PROVED = verify_receipt(make_receipt(Lies()), MANIFEST)


def receipt(
    round_: int, clients: str, *, base: Digest | None = None, key: bytes = b"k" * 32
) -> VerifiedReceipt:
    """Return what a receipt of a release proves; the base is the round before's model."""
    before = model_of(round_ - 1) if round_ > 1 else FIRST
    attestation: AttestationResult = replace(PROVED.attestation, signing_key=PublicKey(key))
    return replace(
        PROVED,
        attestation=attestation,
        round=round_,
        base_model=base or before,
        model=model_of(round_),
        clients=tuple(clients),
    )


def found(receipts: list[VerifiedReceipt], client: str) -> list[tuple[int, Contains, int]]:
    models = models_with(receipts, client, FIRST)
    return [(model.round, model.contains, model.since) for model in models]


def test_a_client_is_in_what_it_helped_to_make_and_in_all_that_descends_from_it() -> None:
    receipts = [receipt(1, "ab"), receipt(2, "bc"), receipt(3, "bc"), receipt(4, "ac")]
    assert found(receipts, "a") == [
        (1, Contains.DIRECTLY, 1),
        (2, Contains.THROUGH_BASE, 1),
        (3, Contains.THROUGH_BASE, 1),
        (4, Contains.DIRECTLY, 1),
    ]
    assert found(receipts, "c")[:2] == [(1, Contains.NO, 0), (2, Contains.DIRECTLY, 2)]
    assert {contains for _, contains, _ in found(receipts, "d")} == {Contains.NO}


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_and_the_number_of_receipts_do_not_matter(order: int) -> None:
    receipts = [receipt(1, "ab"), receipt(1, "ab"), receipt(2, "bc"), receipt(2, "bc")]
    assert found(receipts[::order], "a") == [
        (1, Contains.DIRECTLY, 1),
        (2, Contains.THROUGH_BASE, 1),
    ]


def test_after_a_gap_only_what_the_receipts_say_is_known() -> None:
    receipts = [receipt(1, "ab"), receipt(3, "bc"), receipt(4, "ac"), receipt(5, "bc")]
    assert found(receipts, "a") == [
        (1, Contains.DIRECTLY, 1),
        (3, Contains.UNKNOWN, 0),
        (4, Contains.DIRECTLY, 4),
        (5, Contains.THROUGH_BASE, 4),
    ]
    assert found(receipts, "b")[1] == (3, Contains.DIRECTLY, 3)


def test_another_enclaves_release_that_starts_anew_contains_only_its_own() -> None:
    receipts = [receipt(1, "ab", key=b"a" * 32), receipt(1, "bc", key=b"b" * 32)]
    restarted = replace(receipts[1], model=model_of(9))
    assert found([receipts[0], restarted], "a") == [
        (1, Contains.DIRECTLY, 1),
        (1, Contains.NO, 0),
    ]


def test_receipts_without_a_release_say_nothing() -> None:
    aborted = verify_receipt(make_receipt(Lies(abort=lambda abort: abort)), MANIFEST)
    assert aborted.verdict is Verdict.ABORTED
    assert found([aborted], "a") == []
    assert found([PROVED], "a")[0][1:] == (Contains.DIRECTLY, 1)
