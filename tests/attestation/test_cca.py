"""CCA attestation tokens, with a synthetic platform: what is affirmed, whose keys, and any bytes.

The profiles are in test_cca_profiles.py, what a policy pins in test_cca_policy.py.
"""

from __future__ import annotations

import hashlib
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.arm.cca import FORMAT, TOKEN, inspect, recognise
from fedenclave.attestation.result import EvidenceRefused, Status, Trust
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation.cca_appraisal import SECOND, SECOND_POLICY, appraise, refusal
from tests.attestation.fake_arm import (
    BOUND,
    INSTANCE,
    PLATFORM_1,
    PLATFORM_OLD,
    REALM_1,
    RIM,
    cca_policy,
    cca_token,
    iak,
    rak,
    realm_key,
)
from tests.attestation.fake_cose import ES256, ES384, cose_key, new_key, point


def test_a_good_token_is_affirmed() -> None:
    appraisal = appraise(cca_token())
    assert appraisal.status is Status.AFFIRMING
    assert appraisal.vector.keys() == {
        Trust.INSTANCE_IDENTITY,
        Trust.CONFIGURATION,
        Trust.EXECUTABLES,
        Trust.HARDWARE,
        Trust.RUNTIME_OPAQUE,
    }
    identifiers = appraisal.claims.identifiers
    assert identifiers["measurement"] == (RIM.hex(), "11" * 32, "22" * 32)
    assert identifiers["instance-id"] == (INSTANCE.hex(),)
    assert identifiers.keys() == FORMAT.identifiers
    assert len(identifiers["key"]) == 2


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("platform", [PLATFORM_OLD, PLATFORM_1])
@pytest.mark.parametrize("realm", [None, REALM_1])
def test_tokens_of_the_first_profiles_are_affirmed(
    wrapped: bool, platform: str, realm: str | None
) -> None:
    token = cca_token(profiles=(platform, realm), tag=907 if wrapped else 399, wrapped=wrapped)
    text = cca_policy(
        platform_profiles=f'["{platform}"]', realm_profiles=f'["{realm or "absent"}"]'
    )
    assert appraise(token, text).status is Status.AFFIRMING


def test_a_token_of_the_second_profile_is_affirmed() -> None:
    appraisal = appraise(cca_token(**SECOND), cca_policy(**SECOND_POLICY))
    assert appraisal.status is Status.AFFIRMING
    realm = appraisal.claims.claims["realm"]
    assert isinstance(realm, dict)
    assert realm["mec-policy"] == "private"
    assert realm["ueid"] == "01" + "77" * 32


def test_the_realm_key_may_be_hashed_by_any_of_three_hashes() -> None:
    for name in ("sha-256", "sha-384", "sha-512"):
        digest = hashlib.new(name.replace("-", ""), realm_key(raw=False)).digest()
        token = cca_token({10: digest}, {44240: name})
        assert appraise(token).status is Status.AFFIRMING


def test_a_raw_key_off_the_curve_is_refused() -> None:
    token = cca_token(realm={44237: b"\4" + bytes(96)}, profiles=(PLATFORM_1, None))
    assert refusal(token, cca_policy(realm_profiles='["absent"]')) == "structure"


def test_an_unknown_platform_is_refused() -> None:
    assert refusal(cca_token({256: b"\x01" + bytes(32)})) == "instance id"


def test_a_platform_token_signed_by_another_key_is_refused() -> None:
    assert refusal(cca_token(platform_key=new_key(ES384))) == "platform signature"


def test_a_realm_token_with_another_key_than_the_platforms_challenge_is_refused() -> None:
    other = new_key(ES384)
    token = cca_token(realm={44237: cose_key(other.public_key())}, realm_signer=other)
    assert refusal(token) == "realm key"


def test_a_realm_token_of_another_platform_is_refused() -> None:
    tokens = cbor2.loads(cca_token()).value
    other = new_key(ES384)
    encoded = cose_key(other.public_key())
    theirs = cbor2.loads(
        cca_token({10: hashlib.sha256(encoded).digest()}, {44237: encoded}, realm_signer=other)
    ).value
    mixed = {44234: tokens[44234], 44241: theirs[44241]}
    assert refusal(cbor2.dumps(cbor2.CBORTag(399, mixed))) == "realm key"


def test_the_hash_is_over_the_key_as_it_is_encoded() -> None:
    raw = hashlib.sha256(point(rak().public_key())).digest()
    assert refusal(cca_token({10: raw})) == "realm key"
    assert refusal(cca_token({10: hashlib.sha384(realm_key(raw=False)).digest()})) == "realm key"


@pytest.mark.parametrize("name", ["sha-1", "sha-224", "sha256", "shake128"])
def test_a_key_hashed_by_an_unknown_hash_is_refused(name: str) -> None:
    assert refusal(cca_token(realm={44240: name})) == "realm key hash algorithm"


def test_a_realm_token_signed_by_another_key_than_its_own_is_refused() -> None:
    assert refusal(cca_token(realm_signer=new_key(ES384))) == "realm signature"
    assert refusal(cca_token(realm_signer=iak())) == "realm signature"


def test_the_platforms_key_may_be_a_realms_only_if_its_hash_is_the_challenge() -> None:
    encoded = cose_key(iak().public_key())
    token = cca_token({10: hashlib.sha256(encoded).digest()}, {44237: encoded}, realm_signer=iak())
    assert appraise(token).status is Status.AFFIRMING


def test_a_key_id_is_judged_in_both_tokens() -> None:
    named = {"unprotected": {4: INSTANCE}}
    assert appraise(cca_token(platform_message=named)).status is Status.AFFIRMING
    wrong = {"unprotected": {4: b"other"}}
    assert refusal(cca_token(platform_message=wrong)) == "key id of platform signature"
    assert refusal(cca_token(realm_message=named)) == "key id of realm signature"
    own = {"unprotected": {4: hashlib.sha256(realm_key(raw=False)).digest()}}
    assert appraise(cca_token(realm_message=own)).status is Status.AFFIRMING


def test_another_challenge_is_refused() -> None:
    assert refusal(cca_token(realm={10: BOUND[::-1]})) == "report data"
    assert refusal(cca_token(), bound=BOUND[:32]) == "report data"


def test_a_token_is_recognised() -> None:
    for token in (cca_token(), cca_token(**SECOND)):
        assert recognise(token) == {TOKEN: token}
    for other in (b"", b"noise", cca_token(tag=601), cca_token()[3:]):
        assert recognise(other) is None


def test_inspection_shows_the_claims_without_judging() -> None:
    shown = inspect({TOKEN: cca_token({2395: 0x5000}, realm_signer=new_key(ES256))})
    assert isinstance(shown["platform"], dict)
    assert shown["platform"]["lifecycle"] == "0x5000 (recoverable-platform-rot-debug)"
    with pytest.raises(MalformedMessage):
        inspect({TOKEN: b"noise"})


@pytest.mark.parametrize("second", [False, True])
def test_a_changed_byte_anywhere_is_refused(second: bool) -> None:
    token = cca_token(**SECOND) if second else cca_token()
    text = cca_policy(**SECOND_POLICY) if second else cca_policy()
    for position in range(len(token)):
        changed = bytearray(token)
        changed[position] ^= 1 << position % 8
        with pytest.raises(EvidenceRefused):
            appraise(bytes(changed), text)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_refused_and_nothing_else(data: bytes) -> None:
    recognise(data)
    with pytest.raises(EvidenceRefused):
        appraise(data)


@given(
    st.sampled_from([10, 256, 265, 2394, 2395, 2399, 2401, 44236, 44237, 44239, 44240, 44243, 99]),
    st.recursive(
        st.booleans() | st.integers() | st.floats() | st.binary(max_size=8) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4)
        ),
        max_leaves=12,
    ),
)
def test_whatever_is_signed_it_is_accepted_or_refused_and_raises_nothing_else(
    label: int, value: Any
) -> None:
    for sets in (({label: value}, {}), ({}, {label: value})):
        try:
            appraise(cca_token(*sets))
        except EvidenceRefused:
            continue
