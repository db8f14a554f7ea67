"""CCA tokens: what a policy pins of platform and realm, and how one is written."""

from __future__ import annotations

from typing import Any

import pytest

from fedenclave.attestation.arm.cca import FORMAT
from fedenclave.attestation.format import read_format_policy
from fedenclave.attestation.result import Status
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import parse
from tests.attestation.cca_appraisal import BOTH_DEBUG, SECOND, SECOND_POLICY, appraise, refusal
from tests.attestation.fake_arm import (
    COMPONENT_PINS,
    COMPONENTS,
    PLATFORM_1,
    PLATFORM_OLD,
    REMS,
    RIM,
    cca_policy,
    cca_token,
    devices,
    iak,
)
from tests.attestation.fake_cose import pem


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
