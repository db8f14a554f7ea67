"""PSA attestation tokens, with a synthetic device: what each check accepts and refuses."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from fedenclave.attestation.arm.psa import FORMAT
from fedenclave.attestation.result import Status, Trust
from tests.attestation.fake_arm import (
    BOUND,
    COMPONENT_PINS,
    COMPONENTS,
    INSTANCE,
    OLD_PSA,
    PSA_1,
    PSA_2,
    devices,
    iak,
    psa_policy,
    psa_token,
)
from tests.attestation.fake_cose import ES384, ES512, cose_key, new_key, pem
from tests.attestation.psa_appraisal import OLD_POLICY, appraise, refusal


def test_a_good_token_is_affirmed() -> None:
    appraisal = appraise(psa_token())
    assert appraisal.status is Status.AFFIRMING
    assert appraisal.vector.keys() == {
        Trust.INSTANCE_IDENTITY,
        Trust.CONFIGURATION,
        Trust.EXECUTABLES,
        Trust.HARDWARE,
    }
    assert appraisal.claims.identifiers["measurement"] == ("11" * 32, "22" * 32)
    assert appraisal.claims.identifiers["instance-id"] == (INSTANCE.hex(),)
    assert appraisal.claims.identifiers.keys() == FORMAT.identifiers
    assert appraisal.claims.claims["dbgstat"] == "disabled"
    assert appraisal.claims.claims["bootseed"] == "00" * 8


@pytest.mark.parametrize("algorithm", [ES384, ES512], ids=lambda algorithm: algorithm.name)
def test_every_algorithm_that_the_profile_demands_is_accepted(algorithm: Any) -> None:
    key = new_key(algorithm)
    text = psa_policy("").replace(pem(iak().public_key()), pem(key.public_key()))
    assert appraise(psa_token(key=key), text + COMPONENT_PINS).status is Status.AFFIRMING


def test_tokens_of_all_three_profiles_are_affirmed() -> None:
    draft = psa_token({265: PSA_2, 268: None, 2397: bytes(32)})
    assert appraise(draft, psa_policy(profiles=f'["{PSA_2}"]')).status is Status.AFFIRMING
    old = psa_token(base=OLD_PSA)
    assert appraise(old, psa_policy(**OLD_POLICY)).status is Status.AFFIRMING
    implied = psa_token({-75000: None}, base=OLD_PSA)
    assert appraise(implied, psa_policy(**OLD_POLICY)).status is Status.AFFIRMING
    longer = psa_token({-75005: "0604565272829-10010"}, base=OLD_PSA)
    text = psa_policy(profiles=f'["{PSA_1}"]')
    assert appraise(longer, text).status is Status.AFFIRMING


def test_optional_claims_may_be_missing() -> None:
    text = psa_policy(certification_references='["absent"]')
    appraisal = appraise(psa_token({268: None, 2398: None, 2400: None}), text)
    assert appraisal.status is Status.AFFIRMING
    assert "bootseed" not in appraisal.claims.claims


def test_an_unknown_device_is_refused() -> None:
    assert refusal(psa_token({256: b"\x01" + bytes(32)})) == "instance id"


def test_a_token_signed_by_another_key_than_the_devices_is_refused() -> None:
    assert refusal(psa_token(key=new_key(ES384))) == "signature"


def test_the_key_of_another_device_does_not_sign_for_this_one() -> None:
    other, instance = new_key(ES384), b"\x01" + bytes(32)
    more = devices("devices", instance.hex(), pem(other.public_key()))
    text = psa_policy(more + COMPONENT_PINS)
    assert appraise(psa_token({256: instance}, key=other), text).status is Status.AFFIRMING
    assert refusal(psa_token(key=other), text) == "signature"


def test_a_key_id_is_judged_though_nothing_signs_it() -> None:
    for key_id in (INSTANCE, INSTANCE[1:], hashlib.sha256(cose_key(iak().public_key())).digest()):
        assert appraise(psa_token(unprotected={4: key_id})).status is Status.AFFIRMING
    assert refusal(psa_token(unprotected={4: b"other"})) == "key id of signature"


@pytest.mark.parametrize("size", [32, 48])
def test_another_nonce_is_refused(size: int) -> None:
    assert refusal(psa_token({10: BOUND[:size]})) == "report data"
    assert refusal(psa_token({10: BOUND[::-1]})) == "report data"
    assert appraise(psa_token({10: BOUND[:size]}), bound=BOUND[:size]).status is Status.AFFIRMING


@pytest.mark.parametrize(
    ("lifecycle", "exception"),
    [
        (0x0000, ""),
        (0x1000, ""),
        (0x20FF, ""),
        (0x2FFF, ""),
        (0x3100, ""),
        (0x4000, "non-psa-rot-debug"),
        (0x50FF, "recoverable-psa-rot-debug"),
        (0x6000, ""),
        (0xFFFF, ""),
    ],
)
def test_a_device_that_is_not_secured_is_refused(lifecycle: int, exception: str) -> None:
    token = psa_token({2395: lifecycle})
    assert refusal(token) == "lifecycle"
    both = '["non-psa-rot-debug", "recoverable-psa-rot-debug"]'
    if exception:
        appraisal = appraise(token, psa_policy(exceptions=f'["{exception}"]'))
        assert appraisal.status is Status.WARNING
        assert appraisal.claims.claims["dbgstat"] == "enabled"
        other = both.replace(f'"{exception}"', "").replace(",", "")
        assert refusal(token, psa_policy(exceptions=other)) == "lifecycle"
    else:
        assert refusal(token, psa_policy(exceptions=both)) == "lifecycle"


@pytest.mark.parametrize("lifecycle", [0x3000, 0x3001, 0x30FF])
def test_every_secured_state_is_accepted(lifecycle: int) -> None:
    assert appraise(psa_token({2395: lifecycle})).status is Status.AFFIRMING


def test_an_unknown_claim_is_refused_unless_the_policy_says_so() -> None:
    token = psa_token({2401: b"config", "x": 1})  # type: ignore[dict-item]
    assert refusal(token) == "claims"
    appraisal = appraise(token, psa_policy(exceptions='["unknown-claims"]'))
    assert appraisal.status is Status.WARNING
    assert appraisal.claims.claims["unknown-claims"] == ["2401", "x"]


def test_a_profile_that_the_policy_does_not_name_is_refused() -> None:
    assert refusal(psa_token({265: PSA_2})) == "profile"


def test_another_chip_is_refused() -> None:
    assert refusal(psa_token({2396: bytes(32)})) == "implementation id"


@pytest.mark.parametrize(
    ("client", "wanted", "good"),
    [
        (3002, '["secure"]', True),
        (-1, '["secure"]', False),
        (-1, '["non-secure"]', True),
        (3002, '["non-secure"]', False),
        (3003, '["3002"]', False),
        (-5, '["1", "-5"]', True),
        (5, '["1", "-5"]', False),
    ],
)
def test_only_the_pinned_client_may_have_asked(client: int, wanted: str, good: bool) -> None:
    token, text = psa_token({2394: client}), psa_policy(clients=wanted)
    if good:
        assert appraise(token, text).status is Status.AFFIRMING
    else:
        assert refusal(token, text) == "client"


def test_another_certification_is_refused() -> None:
    assert refusal(psa_token({2398: "0604565272829-10011"})) == "certification reference"
    assert refusal(psa_token({2398: None})) == "certification reference"
    text = psa_policy(certification_references='["any"]')
    assert appraise(psa_token({2398: None}), text).status is Status.AFFIRMING


@pytest.mark.parametrize(
    ("components", "check"),
    [
        (COMPONENTS[:1], "components"),
        ([*COMPONENTS, COMPONENTS[1]], "components"),
        (COMPONENTS[::-1], "component 1"),
        ([COMPONENTS[0] | {2: bytes(32)}, COMPONENTS[1]], "component 1"),
        ([COMPONENTS[0] | {2: b"\x11" * 48}, COMPONENTS[1]], "component 1"),
        ([COMPONENTS[0] | {5: bytes(32)}, COMPONENTS[1]], "component 1"),
        ([COMPONENTS[0] | {4: "0.9.0"}, COMPONENTS[1]], "component 1"),
        ([COMPONENTS[0] | {1: "PRoT"}, COMPONENTS[1]], "component 1"),
        ([{2: b"\x11" * 32, 4: "1.0.0", 5: b"\xcc" * 32}, COMPONENTS[1]], "component 1"),
        ([{1: "BL", 2: b"\x11" * 32, 5: b"\xcc" * 32}, COMPONENTS[1]], "component 1"),
        ([COMPONENTS[0], COMPONENTS[1] | {2: b"\x23" * 32}], "component 2"),
    ],
)
def test_other_firmware_is_refused(components: list[dict[int, Any]], check: str) -> None:
    assert refusal(psa_token({2399: components})) == check


def test_what_a_component_lacks_is_pinned_by_absent() -> None:
    pins = f"""
[[components]]
type = "absent"
values = ["{"00" * 32}"]
signers = ["any"]
versions = ["absent"]
"""
    token = psa_token({2399: [{2: bytes(32), 5: bytes(64)}]})
    assert appraise(token, psa_policy(pins)).status is Status.AFFIRMING


def test_a_device_that_measures_nothing_satisfies_no_policy() -> None:
    token = psa_token({-75006: None, -75007: 1}, base=OLD_PSA)
    assert refusal(token, psa_policy(**OLD_POLICY)) == "components"
