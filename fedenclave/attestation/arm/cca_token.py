"""Parse a CCA attestation token: a collection of a platform token and a realm token.

Not here: signatures, binding of the two, policy (`cca.py`).

Rules:
  * The collection is CBOR tag 399 (EAT collection) or 907 (conceptual message wrapper) over exactly
    two entries; nothing signs the collection, and it says nothing else.
  * Both tokens are tagged COSE_Sign1: the delegated model. The direct model (an unsigned realm
    token) has no profile yet and is refused.
  * Strings, arrays and maps have definite lengths.

Source: draft-ffm-rats-cca-token-03 (March 2026); Arm DEN0137, Realm Management Monitor
specification, 1.0-rel0 and 2.0-bet0, section A7.2.3 (claims of realm and platform).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from fedenclave.attestation.arm.claims import (
    HASH_SIZES,
    IMPLEMENTATION_ID_SIZE,
    ClaimSet,
    parse_claims,
)
from fedenclave.attestation.arm.components import ABSENT, Component, take_components
from fedenclave.attestation.arm.lifecycle import MAX_LIFECYCLE
from fedenclave.attestation.cbor import decode_tagged
from fedenclave.attestation.cose import (
    CURVES,
    SIGN1_TAG,
    Sign1,
    key_of_cose_key,
    key_of_point,
    parse_sign1,
)
from fedenclave.protocol.errors import MalformedMessage

MAX_TOKEN = 32 * 1024
COLLECTION_TAG, WRAPPER_TAG = 399, 907
EAT_CWT = 263
"""CoAP content format of `application/eat+cwt`: the type of both entries in a wrapper."""

_PLATFORM, _REALM = 44234, 44241

PLATFORM_PROFILE_OLD = "http://arm.com/CCA-SSD/1.0.0"
PLATFORM_PROFILE_1 = "tag:arm.com,2023:cca_platform#1.0.0"
PLATFORM_PROFILE_2 = "tag:arm.com,2024:cca_platform#2.0.0"
PLATFORM_PROFILES = (PLATFORM_PROFILE_OLD, PLATFORM_PROFILE_1, PLATFORM_PROFILE_2)
REALM_PROFILE_1 = "tag:arm.com,2023:realm#1.0.0"
REALM_PROFILE_2 = "tag:arm.com,2024:realm#2.0.0"
REALM_PROFILES = (ABSENT, REALM_PROFILE_1, REALM_PROFILE_2)
"""A realm token without a profile has its key as a point of P-384; the others as a COSE_Key."""

MAX_CONFIG = 512
CHALLENGE_SIZE = PERSONALIZATION_SIZE = 64
EXTENSIBLE = 4
REALM_MANAGEMENT = 1
"""The only client that may ask for a platform token."""

MEC_POLICIES = ("shared", "private")
LFA_POLICIES = ("disallow", "allow")
_RAW_KEY = CURVES["secp384r1"]
_HASH_NAME = r"[a-z0-9-]{1,32}"

# Labels: EAT, PSA, and Arm's own.
_NONCE, _UEID, _PROFILE, _CLIENT_ID, _LIFECYCLE, _IMPLEMENTATION_ID = 10, 256, 265, 2394, 2395, 2396
_COMPONENTS, _SERVICE, _CONFIG, _PLATFORM_HASH = 2399, 2400, 2401, 2402
_PERSONALIZATION, _REALM_HASH, _REALM_KEY, _INITIAL, _EXTENSIBLE = 44235, 44236, 44237, 44238, 44239
_KEY_HASH, _MEC_POLICY, _LFA_POLICY = 44240, 44243, 44244


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformToken:
    """What the platform says of itself, parsed and not verified.

    `challenge` has 32, 48 or 64 bytes, `implementation_id` 32, `instance_id` 33; `hash_algorithm`
    made the measurements; `service` is `absent` if it is not there; `unknown` are labels.
    """

    message: Sign1
    profile: str
    challenge: bytes
    implementation_id: bytes
    instance_id: bytes
    config: bytes
    lifecycle: int
    components: tuple[Component, ...]
    hash_algorithm: str
    service: str
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealmToken:
    """What the realm manager says of the realm, parsed and not verified.

    Attributes:
        message: the COSE_Sign1 message.
        profile: one of REALM_PROFILES.
        challenge: 64 bytes.
        personalization: 64 bytes (RPV).
        initial: initial measurement (RIM), 32, 48 or 64 bytes.
        extensible: the four extensible measurements (REM).
        hash_algorithm: made the measurements.
        encoded_key: the realm attestation key (RAK) as it is in the token; its hash is the
            platform's challenge.
        key: the same, decoded.
        key_hash_algorithm: makes that hash.
        mec_policy: memory encryption context: `absent`, `shared` or `private`.
        lfa_policy: live firmware activation: `absent`, `disallow` or `allow`.
        instance_id: 33 bytes, different for every realm; None in older profiles.
        unknown: labels of claims that this version does not know.
    """

    message: Sign1
    profile: str
    challenge: bytes
    personalization: bytes
    initial: bytes
    extensible: tuple[bytes, ...]
    hash_algorithm: str
    encoded_key: bytes
    key: ec.EllipticCurvePublicKey
    key_hash_algorithm: str
    mec_policy: str
    lfa_policy: str
    instance_id: bytes | None
    unknown: tuple[str, ...]


def parse_collection(data: bytes) -> tuple[PlatformToken, RealmToken]:
    """Return the two tokens.

    Raises:
        MalformedMessage: it breaks a rule of this module.
    """
    tag, entries = decode_tagged(
        data, "cca token", max_size=MAX_TOKEN, tags=(COLLECTION_TAG, WRAPPER_TAG)
    )
    if type(entries) is not dict or set(entries) != {_PLATFORM, _REALM}:
        raise MalformedMessage(
            f"cca token is no collection of exactly a platform token ({_PLATFORM}) and a realm "
            f"token ({_REALM})"
        )
    platform, realm = (
        _entry(entries[label], name, wrapped=tag == WRAPPER_TAG)
        for label, name in ((_PLATFORM, "platform token"), (_REALM, "realm token"))
    )
    return parse_platform(platform), parse_realm(realm)


def _entry(entry: Any, name: str, *, wrapped: bool) -> bytes:
    if wrapped:
        if type(entry) is not list or len(entry) != 2 or entry[0] != EAT_CWT:
            raise MalformedMessage(f"{name} is no wrapped message of type {EAT_CWT}")
        entry = entry[1]
    if type(entry) is not bytes:
        raise MalformedMessage(f"{name} is no byte string")
    return entry


def parse_platform(data: bytes) -> PlatformToken:
    """Return the platform token that `data` encodes.

    Raises:
        MalformedMessage: it breaks a rule of its profile.
    """
    message, claims = _parse(data, "platform token")
    profile = claims.take_text(_PROFILE, "profile")
    if profile not in PLATFORM_PROFILES:
        raise MalformedMessage(
            f"platform token has profile {profile[:80]!r}, want {' or '.join(PLATFORM_PROFILES)}"
        )
    if profile == PLATFORM_PROFILE_2:
        claims.take_int(_CLIENT_ID, "client id", REALM_MANAGEMENT, REALM_MANAGEMENT)
    return PlatformToken(
        message=message,
        profile=profile,
        challenge=claims.take_bytes(_NONCE, "challenge", HASH_SIZES),
        implementation_id=claims.take_bytes(
            _IMPLEMENTATION_ID, "implementation id", (IMPLEMENTATION_ID_SIZE,)
        ),
        instance_id=claims.take_ueid(_UEID, "instance id"),
        config=claims.take_bytes(_CONFIG, "config", range(1, MAX_CONFIG + 1)),
        lifecycle=claims.take_int(_LIFECYCLE, "security lifecycle", 0, MAX_LIFECYCLE),
        components=take_components(claims, _COMPONENTS),
        hash_algorithm=claims.take_text(_PLATFORM_HASH, "hash algorithm", _HASH_NAME),
        service=claims.take_text(_SERVICE, "verification service indicator")
        if claims.has(_SERVICE)
        else ABSENT,
        unknown=claims.unknown,
    )


def parse_realm(data: bytes) -> RealmToken:
    """Return the realm token that `data` encodes.

    Raises:
        MalformedMessage: it breaks a rule of its profile.
    """
    message, claims = _parse(data, "realm token")
    profile = claims.take_text(_PROFILE, "profile") if claims.has(_PROFILE) else ABSENT
    if profile not in REALM_PROFILES:
        raise MalformedMessage(
            f"realm token has profile {profile[:80]!r}, want {' or '.join(REALM_PROFILES)}"
        )
    second = profile == REALM_PROFILE_2
    encoded_key, key = _take_key(claims, raw=profile == ABSENT)
    return RealmToken(
        message=message,
        profile=profile,
        challenge=claims.take_bytes(_NONCE, "challenge", (CHALLENGE_SIZE,)),
        personalization=claims.take_bytes(
            _PERSONALIZATION, "personalization value", (PERSONALIZATION_SIZE,)
        ),
        initial=claims.take_bytes(_INITIAL, "initial measurement", HASH_SIZES),
        extensible=_take_extensible(claims),
        hash_algorithm=claims.take_text(_REALM_HASH, "hash algorithm", _HASH_NAME),
        encoded_key=encoded_key,
        key=key,
        key_hash_algorithm=claims.take_text(_KEY_HASH, "public key hash algorithm", _HASH_NAME),
        mec_policy=_take_choice(claims, _MEC_POLICY, "mec policy", MEC_POLICIES)
        if second
        else ABSENT,
        lfa_policy=_take_choice(claims, _LFA_POLICY, "lfa policy", LFA_POLICIES)
        if second and claims.has(_LFA_POLICY)
        else ABSENT,
        instance_id=claims.take_ueid(_UEID, "instance id") if second else None,
        unknown=claims.unknown,
    )


def _parse(data: bytes, what: str) -> tuple[Sign1, ClaimSet]:
    message = parse_sign1(data, what, max_size=MAX_TOKEN, tags=(SIGN1_TAG,), key_id=True)
    return message, parse_claims(message.payload, what, max_size=MAX_TOKEN)


def _take_key(claims: ClaimSet, *, raw: bool) -> tuple[bytes, ec.EllipticCurvePublicKey]:
    encoded = claims.take_bytes(_REALM_KEY, "public key", range(1, 513))
    if raw:
        return encoded, key_of_point(encoded, _RAW_KEY, "realm public key")
    return encoded, key_of_cose_key(encoded, "realm public key")


def _take_extensible(claims: ClaimSet) -> tuple[bytes, ...]:
    values = claims.take_list(_EXTENSIBLE, "extensible measurements", EXTENSIBLE, EXTENSIBLE)
    if not all(type(value) is bytes and len(value) in HASH_SIZES for value in values):
        raise MalformedMessage("realm token has an extensible measurement of a wrong length")
    return tuple(values)


def _take_choice(claims: ClaimSet, label: int, name: str, choices: tuple[str, ...]) -> str:
    return choices[claims.take_int(label, name, 0, len(choices) - 1)]
