"""CCA attestation tokens, with a synthetic platform: every check and every refusal."""

from __future__ import annotations

import hashlib
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.arm.cca import FORMAT, TOKEN, inspect, recognise
from fedenclave.attestation.format import read_format_policy
from fedenclave.attestation.result import Appraisal, EvidenceRefused, Status, Trust
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.toml_table import parse
from tests.attestation import verdicts
from tests.attestation.fake_arm import (
    BOUND,
    COMPONENT_PINS,
    COMPONENTS,
    INSTANCE,
    NOW,
    PLATFORM_1,
    PLATFORM_2,
    PLATFORM_OLD,
    REALM_1,
    REALM_2,
    REMS,
    RIM,
    cca_policy,
    cca_token,
    devices,
    iak,
    rak,
    realm_key,
)
from tests.attestation.fake_cose import ES256, ES384, cose_key, new_key, pem, point

SECOND = {"profiles": (PLATFORM_2, REALM_2), "tag": 907, "wrapped": True}
SECOND_POLICY = {
    "platform_profiles": f'["{PLATFORM_2}"]',
    "realm_profiles": f'["{REALM_2}"]',
    "mec_policies": '["private"]',
    "lfa_policies": '["disallow"]',
}
BOTH_DEBUG = '["non-platform-rot-debug", "recoverable-platform-rot-debug"]'


def appraise(token: bytes, text: str = "", bound: bytes = BOUND) -> Appraisal:
    return verdicts.appraise(FORMAT, {TOKEN: token}, text or cca_policy(), bound, NOW)


def refusal(token: bytes, text: str = "", bound: bytes = BOUND) -> str:
    return verdicts.first_failure(FORMAT, {TOKEN: token}, text or cca_policy(), bound, NOW).name


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


@pytest.mark.parametrize(
    ("lifecycle", "exception"),
    [
        (0x0001, ""),
        (0x1000, ""),
        (0x2000, ""),
        (0x3100, ""),
        (0x40FF, "non-platform-rot-debug"),
        (0x5000, "recoverable-platform-rot-debug"),
        (0x6000, ""),
        (0xFFFF, ""),
    ],
)
def test_a_platform_that_is_not_secured_is_refused(lifecycle: int, exception: str) -> None:
    token = cca_token({2395: lifecycle})
    assert refusal(token) == "lifecycle"
    if exception:
        text = cca_policy(exceptions=f'["{exception}"]')
        assert appraise(token, text).status is Status.WARNING
    else:
        assert refusal(token, cca_policy(exceptions=BOTH_DEBUG)) == "lifecycle"


@pytest.mark.parametrize("label", [2394, 2403, 2404, 2405, 2406, 268])
def test_an_unknown_platform_claim_is_refused_unless_the_policy_says_so(label: int) -> None:
    token = cca_token({label: b"x"})
    assert refusal(token) == "platform claims"
    text = cca_policy(exceptions='["unknown-claims"]')
    assert appraise(token, text).status is Status.WARNING


@pytest.mark.parametrize("label", [256, 44242, 44243, 44257])
def test_an_unknown_realm_claim_is_refused_unless_the_policy_says_so(label: int) -> None:
    token = cca_token(realm={label: bytes(33)})
    assert refusal(token) == "realm claims"
    text = cca_policy(exceptions='["unknown-claims"]')
    assert appraise(token, text).status is Status.WARNING


@pytest.mark.parametrize(
    ("platform", "check"),
    [
        ({265: PLATFORM_OLD}, "platform profile"),
        ({2396: bytes(32)}, "implementation id"),
        ({2401: b"\xcf"}, "platform config"),
        ({2402: "sha-512"}, "platform hash algorithm"),
        ({2399: COMPONENTS[:1]}, "components"),
        ({2399: [COMPONENTS[0], COMPONENTS[1] | {2: bytes(48)}]}, "component 2"),
    ],
)
def test_another_platform_than_the_pinned_one_is_refused(
    platform: dict[int, Any], check: str
) -> None:
    assert refusal(cca_token(platform)) == check


@pytest.mark.parametrize(
    ("realm", "check"),
    [
        ({44236: "sha-512"}, "realm hash algorithm"),
        ({44238: RIM[::-1] + bytes(16)}, "rim"),
        ({44238: bytes(32)}, "rim"),
        ({44239: [bytes(32), *REMS[1:]]}, "rem 0"),
        ({44239: [*REMS[:3], bytes(32)]}, "rem 3"),
        ({44239: REMS[::-1]}, "rem 0"),
        ({44235: bytes(64)}, "rpv"),
    ],
)
def test_another_realm_than_the_pinned_one_is_refused(realm: dict[int, Any], check: str) -> None:
    assert refusal(cca_token(realm=realm)) == check


def test_a_realm_profile_that_the_policy_does_not_name_is_refused() -> None:
    assert refusal(cca_token(profiles=(PLATFORM_1, None))) == "realm profile"


@pytest.mark.parametrize(("key", "label"), [("mec_policies", 44243), ("lfa_policies", 44244)])
def test_memory_encryption_and_live_activation_are_pinned(key: str, label: int) -> None:
    name = key.replace("_policies", " policy")
    token = cca_token(realm={label: 1 if key.startswith("lfa") else 0}, **SECOND)
    assert refusal(token, cca_policy(**SECOND_POLICY)) == name
    anything = cca_policy(**(SECOND_POLICY | {key: '["any"]'}))
    assert appraise(token, anything).status is Status.AFFIRMING
    if label == 44244:
        assert (
            refusal(cca_token(realm={label: None}, **SECOND), cca_policy(**SECOND_POLICY)) == name
        )


def test_what_the_policy_calls_any_is_accepted() -> None:
    text = cca_policy(
        platform_configs='["any"]',
        rpvs='["any"]',
        **{f"rem{index}": '["any"]' for index in range(4)},
    )
    token = cca_token({2401: b"x"}, {44235: bytes(64), 44239: [bytes(64)] * 4})
    assert appraise(token, text).status is Status.AFFIRMING


KEYS = (
    "platform_profiles",
    "realm_profiles",
    "implementation_ids",
    "platform_configs",
    "platform_hash_algorithms",
    "realm_hash_algorithms",
    "rims",
    *(f"rem{index}" for index in range(4)),
    "rpvs",
    "mec_policies",
    "lfa_policies",
    "exceptions",
)


@pytest.mark.parametrize("key", KEYS)
def test_a_policy_without_a_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        read_policy(cca_policy(**{key: ""}))


@pytest.mark.parametrize("key", KEYS[:-1])
def test_a_policy_with_an_empty_list_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=key):
        read_policy(cca_policy(**{key: "[]"}))


@pytest.mark.parametrize(
    "text",
    [
        cca_policy(""),
        cca_policy().replace("[[platforms]]", "[[others]]"),
        cca_policy(devices("platforms") + COMPONENT_PINS),
        cca_policy(platform_profiles='["any"]'),
        cca_policy(realm_profiles='["any"]'),
        cca_policy(rims='["any"]'),
        cca_policy(implementation_ids='["any"]'),
        cca_policy(platform_configs='["any", "00"]'),
        cca_policy(platform_configs='["CF"]'),
        cca_policy(realm_hash_algorithms='["sha-1"]'),
        cca_policy(mec_policies='["secret"]'),
        # Whoever wrote one of these meant one thing, and "any" is not among other values.
        cca_policy(mec_policies='["private", "any"]'),
        cca_policy(lfa_policies='["any", "disallow"]'),
        cca_policy(lfa_policies='["any", "any"]'),
        cca_policy(exceptions='["secured"]'),
        cca_policy(more="1"),
    ],
)
def test_a_wrong_policy_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        read_policy(text)


def read_policy(text: str) -> object:
    return read_format_policy(FORMAT, parse(text.encode(), "policy"))


def test_the_template_is_a_policy_once_a_key_is_filled_in() -> None:
    start = FORMAT.template.index("-----BEGIN")
    end = FORMAT.template.index("-----END PUBLIC KEY-----\n") + len("-----END PUBLIC KEY-----\n")
    filled = FORMAT.template[:start] + pem(iak().public_key()) + FORMAT.template[end:]
    table = parse(filled.encode(), "template").take_table("attestation")
    read_format_policy(FORMAT, table.take_table("cca"))


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
