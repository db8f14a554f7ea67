"""CCA tokens that break their profile: collection, platform token, realm token."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest

from tests.attestation.cca_appraisal import SECOND, SECOND_POLICY, refusal
from tests.attestation.fake_arm import BOUND, INSTANCE, REMS, cca_policy, cca_token


def wrong_collections() -> dict[str, bytes]:
    tokens = cbor2.loads(cca_token()).value
    platform, realm = tokens[44234], tokens[44241]

    def tagged(tag: int, value: Any) -> bytes:
        return cbor2.dumps(cbor2.CBORTag(tag, value))

    return {
        "no tag": cbor2.dumps({44234: platform, 44241: realm}),
        "another tag": tagged(601, {44234: platform, 44241: realm}),
        "no realm token": tagged(399, {44234: platform}),
        "no platform token": tagged(399, {44241: realm}),
        "a third token": tagged(399, {44234: platform, 44241: realm, 1: b""}),
        "a list": tagged(399, [platform, realm]),
        "wrapped under 399": tagged(399, {44234: [263, platform], 44241: [263, realm]}),
        "bare under 907": tagged(907, {44234: platform, 44241: realm}),
        "wrapped as another type": tagged(907, {44234: [263, platform], 44241: [10, realm]}),
        "wrapped with indicator": tagged(907, {44234: [263, platform, 1], 44241: [263, realm]}),
        "realm unsigned": tagged(399, {44234: platform, 44241: {10: BOUND}}),
        "realm untagged": tagged(399, {44234: platform, 44241: realm[1:]}),
        "realm with a byte after it": tagged(399, {44234: platform, 44241: realm + b"\0"}),
        "platform twice": tagged(399, {44234: platform, 44241: platform}),
        "trailing byte": cca_token() + b"\0",
        "too long": cca_token() + bytes(32 * 1024),
        "realm as a mac": cca_token(realm_message={"tag": 17}),
        "platform with a certificate": cca_token(platform_message={"unprotected": {33: b"c"}}),
        "realm with a critical header": cca_token(realm_message={"protected": {1: -35, 2: [1]}}),
    }


@pytest.mark.parametrize("what", wrong_collections())
def test_what_is_no_collection_of_two_signed_tokens_is_refused(what: str) -> None:
    assert refusal(wrong_collections()[what]) == "structure"


WRONG_PLATFORM: dict[str, dict[int, Any]] = {
    "no profile": {265: None},
    "another profile": {265: "tag:arm.com,2026:cca_platform#2.0.0"},
    "no challenge": {10: None},
    "two challenges": {10: [bytes(32)] * 2},
    "challenge of 20 bytes": {10: bytes(20)},
    "no implementation id": {2396: None},
    "implementation id of 31 bytes": {2396: bytes(31)},
    "no instance id": {256: None},
    "instance id of type 3": {256: b"\x03" + INSTANCE[1:]},
    "no config": {2401: None},
    "empty config": {2401: b""},
    "long config": {2401: bytes(513)},
    "no lifecycle": {2395: None},
    "lifecycle text": {2395: "secured"},
    "no components": {2399: None},
    "empty components": {2399: []},
    "component without signer": {2399: [{2: bytes(32)}]},
    "no hash algorithm": {2402: None},
    "hash algorithm by number": {2402: 1},
    "empty service": {2400: ""},
}
WRONG_REALM: dict[str, dict[int, Any]] = {
    "another profile": {265: "tag:arm.com,2025:realm#1.0.0"},
    "no challenge": {10: None},
    "challenge of 32 bytes": {10: BOUND[:32]},
    "two challenges": {10: [BOUND, BOUND]},
    "no rpv": {44235: None},
    "rpv of 63 bytes": {44235: bytes(63)},
    "no hash algorithm": {44236: None},
    "no key": {44237: None},
    "empty key": {44237: b""},
    "raw key where a cose key must be": {44237: b"\4" + bytes(96)},
    "no rim": {44238: None},
    "rim of 20 bytes": {44238: bytes(20)},
    "no rems": {44239: None},
    "3 rems": {44239: REMS[:3]},
    "5 rems": {44239: [*REMS, REMS[0]]},
    "rem of 31 bytes": {44239: [*REMS[:3], bytes(31)]},
    "rem as text": {44239: [*REMS[:3], "x" * 32]},
    "no key hash": {44240: None},
    "key hash by number": {44240: 1},
}


@pytest.mark.parametrize("what", WRONG_PLATFORM)
def test_a_platform_token_that_breaks_its_profile_is_refused(what: str) -> None:
    assert refusal(cca_token(WRONG_PLATFORM[what])) == "structure"


@pytest.mark.parametrize("what", WRONG_REALM)
def test_a_realm_token_that_breaks_its_profile_is_refused(what: str) -> None:
    assert refusal(cca_token(realm=WRONG_REALM[what])) == "structure"


@pytest.mark.parametrize(
    ("platform", "realm"),
    [
        ({2394: None}, {}),
        ({2394: 2}, {}),
        ({}, {44243: None}),
        ({}, {44243: 2}),
        ({}, {44244: 2}),
        ({}, {256: None}),
        ({}, {256: bytes(33)}),
    ],
)
def test_a_token_that_breaks_the_second_profile_is_refused(
    platform: dict[int, Any], realm: dict[int, Any]
) -> None:
    token = cca_token(platform, realm, **SECOND)
    assert refusal(token, cca_policy(**SECOND_POLICY)) == "structure"
