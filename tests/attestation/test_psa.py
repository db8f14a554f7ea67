"""PSA attestation tokens, with a synthetic device: every check and every refusal."""

from __future__ import annotations

import hashlib
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.arm.psa import FORMAT, TOKEN, inspect, recognise
from fedenclave.attestation.format import read_format_policy
from fedenclave.attestation.result import Appraisal, EvidenceRefused, Status, Trust
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.toml_table import parse
from tests.attestation import verdicts
from tests.attestation.fake_arm import (
    BOUND,
    COMPONENT_PINS,
    COMPONENTS,
    IMPLEMENTATION,
    INSTANCE,
    NEW_PSA,
    NOW,
    OLD_PSA,
    PSA_1,
    PSA_2,
    TFM,
    devices,
    iak,
    psa_policy,
    psa_token,
)
from tests.attestation.fake_cose import ES384, ES512, cose_key, new_key, pem, sign1

OLD_POLICY = {"profiles": f'["{PSA_1}"]', "certification_references": '["0604565272829"]'}


def appraise(token: bytes, text: str = "", bound: bytes = BOUND) -> Appraisal:
    return verdicts.appraise(FORMAT, {TOKEN: token}, text or psa_policy(), bound, NOW)


def refusal(token: bytes, text: str = "", bound: bytes = BOUND) -> str:
    return verdicts.first_failure(FORMAT, {TOKEN: token}, text or psa_policy(), bound, NOW).name


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


WRONG_NEW: dict[str, dict[int, Any]] = {
    "no nonce": {10: None},
    "two nonces": {10: [BOUND, BOUND]},
    "nonce of 63 bytes": {10: bytes(63)},
    "nonce of 8 bytes": {10: bytes(8)},
    "no instance id": {256: None},
    "instance id of 32 bytes": {256: INSTANCE[:32]},
    "instance id of type 2": {256: b"\x02" + INSTANCE[1:]},
    "no client": {2394: None},
    "client 0": {2394: 0},
    "client above 32 bits": {2394: 2**31},
    "client below 32 bits": {2394: -(2**31) - 1},
    "client text": {2394: "1"},
    "client true": {2394: True},
    "no lifecycle": {2395: None},
    "lifecycle above 16 bits": {2395: 0x13000},
    "lifecycle negative": {2395: -1},
    "no implementation id": {2396: None},
    "implementation id of 33 bytes": {2396: bytes(33)},
    "boot seed of 7 bytes": {268: bytes(7)},
    "boot seed of 33 bytes": {268: bytes(33)},
    "boot seed twice": {2397: bytes(8)},
    "short certification": {2398: "0604565272829"},
    "certification with a line after it": {2398: "0604565272829-10010\n"},
    "no components": {2399: None},
    "empty components": {2399: []},
    "65 components": {2399: COMPONENTS[:1] * 65},
    "component no map": {2399: [1]},
    "component without value": {2399: [{5: bytes(32)}]},
    "component without signer": {2399: [{2: bytes(32)}]},
    "component value of 31 bytes": {2399: [{2: bytes(31), 5: bytes(32)}]},
    "component signer of 4 bytes": {2399: [{2: bytes(32), 5: bytes(4)}]},
    "component type of bytes": {2399: [{1: b"BL", 2: bytes(32), 5: bytes(32)}]},
    "component attribute 3": {2399: [{2: bytes(32), 3: 1, 5: bytes(32)}]},
    "empty service": {2400: ""},
    "service of bytes": {2400: b"x"},
    "long service": {2400: "x" * 1025},
    "another profile": {265: "tag:psacertified.org,2023:psa#aes-mac"},
    "old profile in the new claim": {265: PSA_1},
    "profile of bytes": {265: b"x"},
    "no profile": {265: None},
}
WRONG_OLD: dict[str, dict[int, Any]] = {
    "another profile": {-75000: "PSA_IOT_PROFILE_2"},
    "no boot seed": {-75004: None},
    "boot seed of 31 bytes": {-75004: bytes(31)},
    "no nonce": {-75008: None},
    "no components": {-75006: None},
    "components, and none": {-75007: 1},
    "no components, said by 2": {-75006: None, -75007: 2},
    "certification of 12": {-75005: "060456527282"},
    "new profile beside": {265: TFM},
}


@pytest.mark.parametrize("what", WRONG_NEW)
def test_a_token_that_breaks_rfc_9783_is_refused(what: str) -> None:
    assert refusal(psa_token(WRONG_NEW[what])) == "structure"


@pytest.mark.parametrize("what", WRONG_OLD)
def test_a_token_that_breaks_the_old_profile_is_refused(what: str) -> None:
    token = psa_token(WRONG_OLD[what], base=OLD_PSA)
    assert refusal(token, psa_policy(**OLD_POLICY)) == "structure"


@pytest.mark.parametrize("tag", [None, 17, 61, 98])
def test_another_message_than_a_tagged_cose_sign1_is_refused(tag: int | None) -> None:
    assert refusal(psa_token(tag=tag)) == "structure"


def test_a_mac_is_refused_with_the_reason() -> None:
    check = verdicts.first_failure(FORMAT, {TOKEN: psa_token(tag=17)}, psa_policy(), BOUND, NOW)
    assert "whoever can check a symmetric key can forge" in check.found


def test_claims_that_are_no_map_are_refused() -> None:
    assert refusal(sign1(b"\x80", iak())) == "structure"


def test_claims_of_indefinite_length_are_refused() -> None:
    payload = cbor2.dumps(NEW_PSA, indefinite_containers=True)
    assert refusal(sign1(payload, iak())) == "structure"


def test_a_long_form_of_a_length_is_accepted_because_the_profile_allows_it() -> None:
    token = psa_token()
    assert token[:2] == b"\xd2\x84"
    assert appraise(b"\xd2\x98\x04" + token[2:]).status is Status.AFFIRMING


def test_a_certified_key_in_the_token_is_refused() -> None:
    assert refusal(psa_token(unprotected={33: b"certificate"})) == "structure"
    assert refusal(psa_token(protected={1: -7, 33: b"certificate"})) == "structure"


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


@pytest.mark.parametrize(
    "key",
    ["profiles", "implementation_ids", "clients", "certification_references", "exceptions"],
)
def test_a_policy_without_a_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        read_policy(psa_policy(**{key: ""}))


@pytest.mark.parametrize(
    "text",
    [
        psa_policy(""),
        psa_policy().replace("[[devices]]", "[[others]]"),
        psa_policy(devices("devices") + COMPONENT_PINS),
        psa_policy().replace(INSTANCE.hex(), "02" + INSTANCE[1:].hex()),
        psa_policy().replace("BEGIN PUBLIC KEY", "BEGIN KEY"),
        psa_policy().replace('signers = ["any"]', ""),
        psa_policy().replace('versions = ["any"]', "versions = []"),
        psa_policy().replace('type = "BL"', 'type = "BL"\nmore = 1'),
        psa_policy().replace(f'values = ["{"11" * 32}"]', 'values = ["any"]'),
        psa_policy(profiles='["any"]'),
        psa_policy(profiles="[]"),
        psa_policy(implementation_ids='["any"]'),
        psa_policy(clients='["any"]'),
        psa_policy(clients='["0"]'),
        psa_policy(clients='["2147483648"]'),
        psa_policy(clients='["01"]'),
        psa_policy(clients="[3002]"),
        psa_policy(certification_references="[]"),
        psa_policy(exceptions='["decommissioned"]'),
        psa_policy(more="1"),
    ],
)
def test_a_wrong_policy_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        read_policy(text)


def test_a_key_on_another_curve_is_no_device() -> None:
    for key in (ec.generate_private_key(ec.SECP256K1()), ed25519.Ed25519PrivateKey.generate()):
        text = psa_policy().replace(pem(iak().public_key()), pem(key.public_key()))  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="another kind"):
            read_policy(text)


def read_policy(text: str) -> object:
    return read_format_policy(FORMAT, parse(text.encode(), "policy"))


def test_the_template_is_a_policy_once_a_key_is_filled_in() -> None:
    template = FORMAT.template
    with pytest.raises(ConfigurationError, match="public_key"):
        read_template(template)
    start = template.index("-----BEGIN")
    end = template.index("-----END PUBLIC KEY-----\n") + len("-----END PUBLIC KEY-----\n")
    read_template(template[:start] + pem(iak().public_key()) + template[end:])


def read_template(template: str) -> None:
    table = parse(template.encode(), "template").take_table("attestation")
    read_format_policy(FORMAT, table.take_table("psa"))


def test_a_token_is_recognised_a_mac_too() -> None:
    for token in (psa_token(), psa_token(tag=17), psa_token(base=OLD_PSA)):
        assert recognise(token) == {TOKEN: token}
    for other in (b"", b"noise", psa_token(tag=None), psa_token({2396: None}), b"\xd2\x80"):
        assert recognise(other) is None


def test_inspection_shows_the_claims_without_judging() -> None:
    shown = inspect({TOKEN: psa_token({2395: 0x4001}, key=new_key(ES384))})
    assert shown["psa-security-lifecycle"] == "0x4001 (non-psa-rot-debug)"
    assert shown["psa-implementation-id"] == IMPLEMENTATION.hex()
    with pytest.raises(MalformedMessage):
        inspect({TOKEN: b"noise"})


def test_a_changed_byte_anywhere_is_refused() -> None:
    token = psa_token(unprotected={4: INSTANCE})
    for position in range(len(token)):
        for bit in (position % 8, (position + 5) % 8):
            changed = bytearray(token)
            changed[position] ^= 1 << bit
            with pytest.raises(EvidenceRefused):
                appraise(bytes(changed))


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_refused_and_nothing_else(data: bytes) -> None:
    recognise(data)
    with pytest.raises(EvidenceRefused):
        appraise(data)


@given(
    st.sampled_from([*NEW_PSA, *OLD_PSA, 99]),
    st.recursive(
        st.booleans() | st.integers() | st.floats() | st.binary(max_size=8) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4)
        ),
        max_leaves=12,
    ),
)
def test_whatever_a_device_signs_it_is_refused_and_nothing_else(label: int, value: Any) -> None:
    for base in (NEW_PSA, OLD_PSA):
        try:
            appraise(psa_token({label: value}, base=base))
        except EvidenceRefused:
            continue
        assert base is NEW_PSA
