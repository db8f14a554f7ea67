"""The counter of a made-up TPM: whose word it is, for which nonce, start and index."""

from __future__ import annotations

from typing import Any

import pytest

from tests.attestation.fake_tpm import FakeTpm, policy
from tests.attestation.tpm_appraisal import appraise, refusal
from tests.attestation.tpm_structures import attest, ec_key, sized, u16


def counted(tpm: FakeTpm, **fields: Any) -> dict[str, bytes]:
    return {**tpm.parts(), **tpm.counter(**fields)}


def counter_policy(tpm: FakeTpm) -> str:
    return policy(tpm, counter_name=f'"{tpm.counter_name.hex()}"')


def test_a_counter_is_claimed(tpm: FakeTpm) -> None:
    for text in (counter_policy(tpm), policy(tpm)):
        assert appraise(counted(tpm, value=2**40), text).claims.claims["counter"] == 2**40


def test_a_pinned_counter_that_is_not_there_is_refused(tpm: FakeTpm) -> None:
    assert refusal(tpm.parts(), counter_policy(tpm)) == "parts for this policy"
    for part in ("counter", "counter-signature"):
        parts = {name: data for name, data in counted(tpm).items() if name != part}
        assert refusal(parts, policy(tpm)) == "parts for this policy"


def test_a_counter_by_another_key_is_refused(tpm: FakeTpm) -> None:
    other = FakeTpm(ak_key=ec_key(7))
    assert refusal({**tpm.parts(), **other.counter()}, policy(tpm)) == "counter signature"


def test_a_counter_for_another_nonce_is_refused(tpm: FakeTpm) -> None:
    for text in (counter_policy(tpm), policy(tpm)):
        assert refusal(counted(tpm, extra=bytes(32)), text) == "counter report data"


def test_a_counter_of_another_start_is_refused(tpm: FakeTpm) -> None:
    assert refusal(counted(tpm, resets=6), policy(tpm)) == "counter start"


def test_another_index_is_refused(tpm: FakeTpm) -> None:
    text = policy(tpm, counter_name=f'"000b{"00" * 32}"')
    assert refusal(counted(tpm), text) == "counter"


@pytest.mark.parametrize(
    "body",
    [
        sized(FakeTpm.counter_name) + u16(1) + sized(bytes(8)),
        sized(FakeTpm.counter_name) + u16(0) + sized(bytes(7)),
        None,
    ],
    ids=["offset", "short", "a quote"],
)
def test_a_certificate_of_something_else_is_no_counter(tpm: FakeTpm, body: bytes | None) -> None:
    message = attest(0x8014, body) if body else tpm.parts()["quote"]
    parts = {**tpm.parts(), "counter": message, "counter-signature": tpm.sign(message)}
    assert refusal(parts, policy(tpm)) == "counter contents"
