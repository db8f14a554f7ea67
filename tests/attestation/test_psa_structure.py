"""PSA tokens that break their profile, or are damaged: each is refused, and nothing else."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.arm.psa import FORMAT, TOKEN, inspect, recognise
from fedenclave.attestation.result import EvidenceRefused, Status
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation import verdicts
from tests.attestation.fake_arm import (
    BOUND,
    COMPONENTS,
    IMPLEMENTATION,
    INSTANCE,
    NEW_PSA,
    NOW,
    OLD_PSA,
    PSA_1,
    TFM,
    iak,
    psa_policy,
    psa_token,
)
from tests.attestation.fake_cose import ES384, new_key, sign1
from tests.attestation.psa_appraisal import OLD_POLICY, appraise, refusal

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
