"""Synthetic Arm platforms: keys, PSA tokens, CCA tokens, and policies that they satisfy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from tests.attestation.fake_cose import ES256, ES384, cose_key, new_key, pem, point, sign1

NOW = 1_800_000_000
BOUND = bytes(range(64))
INSTANCE = b"\x01" + b"\xaa" * 32
IMPLEMENTATION = b"\xbb" * 32
SIGNER = b"\xcc" * 32
COMPONENTS = [
    {1: "BL", 2: b"\x11" * 32, 4: "1.0.0", 5: SIGNER},
    {1: "RMM", 2: b"\x22" * 32, 4: "2.0.0", 5: SIGNER, 6: "sha-256"},
]
COMPONENT_PINS = f"""
[[components]]
type = "BL"
values = ["{"11" * 32}"]
signers = ["{SIGNER.hex()}"]
versions = ["1.0.0"]
[[components]]
type = "RMM"
values = ["{"00" * 32}", "{"22" * 32}"]
signers = ["any"]
versions = ["any"]
"""

TFM, PSA_2, PSA_1 = (
    "tag:psacertified.org,2023:psa#tfm",
    "http://arm.com/psa/2.0.0",
    "PSA_IOT_PROFILE_1",
)
NEW_PSA: dict[int, Any] = {
    265: TFM,
    10: BOUND,
    256: INSTANCE,
    2394: 3002,
    2395: 0x3000,
    2396: IMPLEMENTATION,
    268: bytes(8),
    2398: "0604565272829-10010",
    2399: COMPONENTS,
    2400: "https://example.org/verify",
}
OLD_PSA: dict[int, Any] = {
    -75000: PSA_1,
    -75008: BOUND,
    -75009: INSTANCE,
    -75001: 3002,
    -75002: 0x3000,
    -75003: IMPLEMENTATION,
    -75004: bytes(32),
    -75005: "0604565272829",
    -75006: COMPONENTS,
    -75010: "https://example.org/verify",
}
PLATFORM_OLD = "http://arm.com/CCA-SSD/1.0.0"
PLATFORM_1, REALM_1 = "tag:arm.com,2023:cca_platform#1.0.0", "tag:arm.com,2023:realm#1.0.0"
PLATFORM_2, REALM_2 = "tag:arm.com,2024:cca_platform#2.0.0", "tag:arm.com,2024:realm#2.0.0"
RIM = b"\x33" * 32
REMS = [bytes([0x40 + index]) * 32 for index in range(4)]
RPV = b"\x55" * 64


@cache
def iak() -> ec.EllipticCurvePrivateKey:
    """The attestation key of the platform; CCA's CPAK too."""
    return new_key(ES256)


@cache
def rak() -> ec.EllipticCurvePrivateKey:
    return new_key(ES384)


def without(claims: dict[int, Any], changes: dict[int, Any]) -> dict[int, Any]:
    """Return the claims with these changes; None takes a claim out."""
    return {label: value for label, value in (claims | changes).items() if value is not None}


def psa_token(
    changes: dict[int, Any] | None = None,
    *,
    base: dict[int, Any] = NEW_PSA,
    key: ec.EllipticCurvePrivateKey | None = None,
    **message: Any,
) -> bytes:
    return sign1(cbor2.dumps(without(base, changes or {})), key or iak(), **message)


def psa_policy(pins: str = COMPONENT_PINS, **changes: str) -> str:
    """Return a policy that the tokens satisfy; values are TOML, empty ones are left out."""
    top = {
        "profiles": f'["{TFM}"]',
        "implementation_ids": f'["{IMPLEMENTATION.hex()}"]',
        "clients": '["3002"]',
        "certification_references": '["0604565272829-10010"]',
        "exceptions": "[]",
    } | changes
    return lines(top) + devices("devices") + pins


def devices(key: str, instance: str = INSTANCE.hex(), public: str = "") -> str:
    return (
        f'\n[[{key}]]\ninstance_id = "{instance}"\n'
        f"public_key = '''\n{public or pem(iak().public_key())}'''\n"
    )


def lines(table: dict[str, str]) -> str:
    return "\n".join(f"{key} = {value}" for key, value in table.items() if value)


def realm_key(raw: bool) -> bytes:
    public = rak().public_key()
    return point(public) if raw else cose_key(public)


def platform_claims(profile: str = PLATFORM_1, *, raw: bool = False) -> dict[int, Any]:
    claims = {
        265: profile,
        10: hashlib.sha256(realm_key(raw)).digest(),
        2396: IMPLEMENTATION,
        256: INSTANCE,
        2401: bytes.fromhex("cfcfcfcf"),
        2395: 0x3003,
        2399: COMPONENTS,
        2400: "https://example.org/verify",
        2402: "sha-256",
    }
    return claims | ({2394: 1} if profile == PLATFORM_2 else {})


def realm_claims(profile: str | None = REALM_1) -> dict[int, Any]:
    claims = {
        265: profile,
        10: BOUND,
        44235: RPV,
        44236: "sha-256",
        44237: realm_key(raw=profile is None),
        44238: RIM,
        44239: REMS,
        44240: "sha-256",
    }
    second = {256: b"\x01" + b"\x77" * 32, 44243: 1, 44244: 0}
    return claims | (second if profile == REALM_2 else {})


def cca_token(
    platform: dict[int, Any] | None = None,
    realm: dict[int, Any] | None = None,
    *,
    profiles: Sequence[str | None] = (PLATFORM_1, REALM_1),
    platform_key: ec.EllipticCurvePrivateKey | None = None,
    realm_signer: ec.EllipticCurvePrivateKey | None = None,
    tag: int = 399,
    wrapped: bool = False,
    platform_message: dict[str, Any] | None = None,
    realm_message: dict[str, Any] | None = None,
) -> bytes:
    raw = profiles[1] is None
    platform_set = without(platform_claims(str(profiles[0]), raw=raw), platform or {})
    realm_set = without(realm_claims(profiles[1]), realm or {})
    tokens = {
        44234: sign1(cbor2.dumps(platform_set), platform_key or iak(), **(platform_message or {})),
        44241: sign1(cbor2.dumps(realm_set), realm_signer or rak(), **(realm_message or {})),
    }
    entries: dict[int, Any] = (
        {label: [263, token] for label, token in tokens.items()} if wrapped else dict(tokens)
    )
    return cbor2.dumps(cbor2.CBORTag(tag, entries))


def cca_policy(pins: str = COMPONENT_PINS, **changes: str) -> str:
    """Return a policy that the tokens satisfy; values are TOML, empty ones are left out."""
    top = {
        "platform_profiles": f'["{PLATFORM_1}"]',
        "realm_profiles": f'["{REALM_1}"]',
        "implementation_ids": f'["{IMPLEMENTATION.hex()}"]',
        "platform_configs": '["cfcfcfcf"]',
        "platform_hash_algorithms": '["sha-256"]',
        "realm_hash_algorithms": '["sha-256"]',
        "rims": f'["{RIM.hex()}"]',
        **{f"rem{index}": f'["{value.hex()}"]' for index, value in enumerate(REMS)},
        "rpvs": f'["{RPV.hex()}"]',
        "mec_policies": '["absent"]',
        "lfa_policies": '["absent"]',
        "exceptions": "[]",
    } | changes
    return lines(top) + devices("platforms") + pins
