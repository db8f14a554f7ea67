"""Format `tpm`, with a made-up TPM: what is affirmed, and that no changed byte is.

The other test_tpm_*.py are about the quote, the event log, the endorsement, the counter and the
policy.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.certificates import fingerprint, fingerprints
from fedenclave.attestation.result import EvidenceRefused, Status, Trust
from fedenclave.attestation.tpm.quote_format import FORMAT, inspect, recognise
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation.fake_tpm import MEASUREMENT, FakeTpm, by_challenge, policy
from tests.attestation.second_spelling import revoking
from tests.attestation.tpm_appraisal import appraise, refusal, with_log
from tests.attestation.tpm_structures import BOUND, REPORT_DATA, RSAPSS, RSASSA, ec_key, rsa_key

# What is affirmed


@pytest.mark.parametrize(
    "keys",
    [
        {"ak_key": ec_key()},
        {"ak_key": ec_key(5, ec.SECP384R1), "hash_": "sha384"},
        {"ak_key": rsa_key(), "scheme": RSASSA},
        {"ak_key": rsa_key(), "scheme": RSAPSS, "hash_": "sha384"},
    ],
    ids=["p256", "p384", "rsassa", "rsapss"],
)
def test_a_quote_by_a_listed_key_of_each_kind_is_affirmed(keys: dict[str, Any]) -> None:
    tpm = FakeTpm(**keys)
    appraisal = appraise(tpm.parts(), policy(tpm))
    assert appraisal.status is Status.AFFIRMING
    assert set(appraisal.vector) == {Trust.INSTANCE_IDENTITY, Trust.EXECUTABLES, Trust.HARDWARE}
    assert appraisal.claims.identifiers == {
        "measurement": (MEASUREMENT.hex(),),
        "attestation-key": (tpm.name.hex(),),
    }
    assert appraisal.claims.levels == {"firmware-version": 0x2024010100123400}


def test_everything_together_is_affirmed_and_claimed(tpm: FakeTpm) -> None:
    parts = {
        **tpm.parts(),
        **tpm.endorsed("alpha", "gamma"),
        **tpm.counter(),
        "event-log": tpm.log.to_bytes(),
    }
    loader = hashlib.sha256(b"shim").hexdigest()
    text = by_challenge(
        tpm,
        aks=f'["{tpm.name.hex()}"]',
        secure_boot='"on"',
        boot_applications=f'["{loader}"]',
        counter_name=f'"{tpm.counter_name.hex()}"',
    )
    claims = appraise(parts, text).claims
    assert claims.claims["secure-boot"] is True
    assert claims.claims["boot-applications"] == [loader]
    assert [v["name"] for v in claims.claims["boot-variables"]] == ["BootOrder"]  # type: ignore[attr-defined]
    assert (claims.claims["counter"], claims.claims["tpm-model"]) == (41, "fake")
    assert (claims.claims["reset-count"], claims.claims["clock-safe"]) == (7, True)
    used = (tpm.ek_certificate, tpm.vendor.intermediate, tpm.vendor.root)
    assert claims.identifiers["certificate"] == fingerprints(*used)
    assert set(map(fingerprint, used)) < set(claims.identifiers["certificate"])
    assert len(claims.identifiers["chip-id"]) == 1


def test_without_a_pinned_measurement_the_registers_pinned_by_value_identify_the_code(
    tpm: FakeTpm,
) -> None:
    text = policy(tpm, measurements='["none"]')
    claims = appraise(tpm.parts(), text).claims
    pinned = hashlib.sha256(b"".join(tpm.values[i] for i in (0, 4, 7))).hexdigest()
    assert claims.identifiers["measurement"] == (pinned,)
    # A register that may have any value identifies nothing.
    claims = appraise(tpm.parts(), text + '11 = ["any"]\n').claims
    assert claims.identifiers["measurement"] == (pinned,)


@pytest.mark.parametrize("added", [{16: b"\x16" * 32}, {23: bytes(32)}, {11: b"\x99" * 32}])
def test_a_revoked_measurement_stays_revoked_whatever_else_the_operator_has_quoted(
    added: dict[int, bytes],
) -> None:
    tpm = FakeTpm(selected=(0, 4, 7))
    text = policy(tpm, measurements='["none"]')
    reported = appraise(tpm.parts(), text).claims.identifiers["measurement"][0]
    tpm.values |= added
    assert appraise(tpm.parts(), text)
    listed = revoking("tpm", "measurement", reported)
    assert refusal(tpm.parts(), text, revocations=listed) == "revoked measurement"


def test_the_binding_is_the_digest_of_the_report_data() -> None:
    assert FORMAT.bind(REPORT_DATA) == hashlib.sha256(REPORT_DATA).digest() == BOUND


# Every byte


def everything() -> tuple[dict[str, bytes], str]:
    tpm = FakeTpm()
    parts = {**tpm.parts(), **tpm.endorsed("alpha", "beta"), **tpm.counter()}
    counter = f'"{tpm.counter_name.hex()}"'
    return parts, by_challenge(tpm, aks=f'["{tpm.name.hex()}"]', counter_name=counter)


@pytest.mark.parametrize("name", sorted(everything()[0]))
def test_one_changed_byte_in_any_part_is_refused(name: str) -> None:
    parts, text = everything()
    data = parts[name]
    for at in range(0, len(data), 1 + len(data) // 300):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        with pytest.raises(EvidenceRefused):
            appraise({**parts, name: bytes(changed)}, text)


def test_one_changed_byte_in_the_log_adds_no_claim(tpm: FakeTpm) -> None:
    parts = with_log(tpm)
    text = policy(tpm)
    truth = appraise(parts, text).claims.claims
    data = parts["event-log"]
    for at in range(0, len(data), 2):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        try:
            claims = appraise({**parts, "event-log": bytes(changed)}, text).claims.claims
        except EvidenceRefused:
            continue
        # What no digest covers may change; then a fact can be lost, and none is made up.
        for name, value in claims.items():
            assert value == truth[name] or value == "unknown" or value == []


@given(st.sampled_from(sorted(everything()[0])), st.binary(max_size=400))
def test_random_bytes_are_refused_and_nothing_else(name: str, data: bytes) -> None:
    parts, text = everything()
    with pytest.raises(EvidenceRefused):
        appraise({**parts, name: data}, text)
    with contextlib.suppress(MalformedMessage):
        inspect({**parts, name: data})


# For people


def test_inspect_tells_what_the_parts_say(tpm: FakeTpm) -> None:
    parts = {**with_log(tpm), **tpm.endorsed("alpha"), **tpm.counter()}
    told = inspect(parts)
    assert told["attestation-key"] == tpm.name.hex()
    assert told["report-data"] == BOUND.hex()
    assert (told["secure-boot"], told["counter"]) == (True, 41)
    assert len(told["ek-certificates"]) == 2  # type: ignore[arg-type]
    assert inspect({}) == {}


def test_a_file_of_the_tpm2_tools_is_recognised(tpm: FakeTpm) -> None:
    quote = tpm.parts()["quote"]
    assert recognise(quote) == {"quote": quote}
    assert inspect({"quote": quote})["reset-count"] == 7
    assert recognise(tpm.counter()["counter"]) is None
    assert recognise(quote[:-1]) is None
    assert recognise(b"{}") is None


def test_the_checks_that_are_always_made_are_made(tpm: FakeTpm) -> None:
    made = {check.name for check in appraise(tpm.parts(), policy(tpm)).checks}
    assert FORMAT.always <= made
    assert "report data" in replace(FORMAT).always
