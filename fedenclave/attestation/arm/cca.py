"""Appraise evidence of an Arm CCA realm: a CCA attestation token.

What holds afterwards: a CCA platform whose attestation key (CPAK) the policy names signed the
platform token, with the hash of the realm attestation key (RAK) as its challenge; that key signed
the realm token; platform and realm are the pinned ones; the realm asked with the bound bytes.

Rules:
  * The CPAK is found by the platform's instance id, and both are in the policy (`devices.py`).
  * The realm token's key means nothing until the platform's challenge is its hash: that check comes
    first, and the realm's signature after it.
  * SHA-256, SHA-384 and SHA-512 may hash the key, each by its name in IANA's registry.
  * Claims that are unknown are refused, or reported under the exception `unknown-claims`: among
    them the optional claims of profile 2.0.0 (extensions, peer signers, assigned devices), which
    change what must be trusted and which this version cannot judge.

Source: draft-ffm-rats-cca-token-03, sections "Token Binding" and "CCA Attestation Token
Verification"; Arm DEN0137, section A7.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from fedenclave.attestation.arm.cca_policy import TEMPLATE, CcaPins, read_policy
from fedenclave.attestation.arm.cca_token import (
    COLLECTION_TAG,
    EXTENSIBLE,
    MAX_TOKEN,
    WRAPPER_TAG,
    PlatformToken,
    RealmToken,
    parse_collection,
)
from fedenclave.attestation.arm.claims import UNKNOWN_CLAIMS, check_unknown
from fedenclave.attestation.arm.components import check_components
from fedenclave.attestation.arm.devices import IDENTIFIERS, key_fingerprint, verify_device
from fedenclave.attestation.arm.lifecycle import (
    check_lifecycle,
    debug_status,
    exceptions,
    state_of,
)
from fedenclave.attestation.cbor import decode_tagged
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.cose import verify_sign1
from fedenclave.attestation.format import Format, Parts, Question, same_bytes
from fedenclave.attestation.pins import ANY
from fedenclave.attestation.result import Claims, Trust
from fedenclave.protocol.digests import equal
from fedenclave.protocol.errors import MalformedMessage

CCA, TOKEN, ROOT_OF_TRUST = "cca", "token", "platform-rot"
_HASHES = {"sha-256": hashlib.sha256, "sha-384": hashlib.sha384, "sha-512": hashlib.sha512}


def appraise(parts: Parts, pins: CcaPins, question: Question, checklist: Checklist) -> Claims:
    """Return the claims of a token that satisfies the policy."""
    platform, realm = parse_collection(parts[TOKEN])
    key = verify_device(
        checklist, platform.message, platform.instance_id, pins.platforms, name="platform signature"
    )
    _check_realm_key(checklist, platform, realm)
    verify_sign1(checklist, realm.message, realm.key, name="realm signature")
    checklist.want(
        "report data",
        holds=equal(realm.challenge, question.bound),
        found=f"realm challenge {realm.challenge.hex()}",
        wanted=f"realm challenge {question.bound.hex()}",
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else; nothing "
        "was sent",
    )
    check_lifecycle(checklist, platform.lifecycle, ROOT_OF_TRUST)
    check_unknown(checklist, platform.unknown, name="platform claims")
    check_unknown(checklist, realm.unknown, name="realm claims")
    _check_platform(checklist, platform, pins)
    check_components(checklist, platform.components, pins.components)
    _check_realm(checklist, realm, pins)
    return Claims(
        claims={"platform": _platform_claims(platform), "realm": _realm_claims(realm)},
        identifiers={
            "measurement": (
                realm.initial.hex(),
                *(component.value.hex() for component in platform.components),
            ),
            "instance-id": (platform.instance_id.hex(),),
            "implementation-id": (platform.implementation_id.hex(),),
            "key": (key_fingerprint(key), key_fingerprint(realm.key)),
        },
    )


def _check_realm_key(checklist: Checklist, platform: PlatformToken, realm: RealmToken) -> None:
    """Check that the platform's challenge is the hash of the realm's key, as it is encoded."""
    checklist.must(
        "realm key hash algorithm",
        holds=realm.key_hash_algorithm in _HASHES,
        found=realm.key_hash_algorithm,
        wanted=" or ".join(_HASHES),
        trust=Trust.INSTANCE_IDENTITY,
    )
    digest = _HASHES[realm.key_hash_algorithm](realm.encoded_key).digest()
    checklist.must(
        "realm key",
        holds=equal(digest, platform.challenge),
        found=f"hash {digest.hex()}",
        wanted=f"the platform's challenge {platform.challenge.hex()}",
        trust=Trust.INSTANCE_IDENTITY,
        hint="the realm token is of another platform, or made up; nothing was sent",
    )


def _check_platform(checklist: Checklist, platform: PlatformToken, pins: CcaPins) -> None:
    _one_of(
        checklist,
        "platform profile",
        platform.profile,
        pins.platform_profiles,
        Trust.CONFIGURATION,
    )
    _one_of(
        checklist,
        "implementation id",
        platform.implementation_id.hex(),
        [value.hex() for value in pins.implementation_ids],
        Trust.HARDWARE,
    )
    configs = pins.platform_configs
    _one_of(
        checklist,
        "platform config",
        platform.config.hex(),
        None if configs is None else [value.hex() for value in configs],
        Trust.RUNTIME_OPAQUE,
    )
    _one_of(
        checklist,
        "platform hash algorithm",
        platform.hash_algorithm,
        pins.platform_hash_algorithms,
        Trust.EXECUTABLES,
    )


def _check_realm(checklist: Checklist, realm: RealmToken, pins: CcaPins) -> None:
    rpvs = pins.personalization_values
    rpvs_shown = None if rpvs is None else [value.hex() for value in rpvs]
    configuration, code = Trust.CONFIGURATION, Trust.EXECUTABLES
    _one_of(checklist, "realm profile", realm.profile, pins.realm_profiles, configuration)
    _one_of(
        checklist, "realm hash algorithm", realm.hash_algorithm, pins.realm_hash_algorithms, code
    )
    _one_of(checklist, "rim", realm.initial.hex(), [value.hex() for value in pins.rims], code)
    for index, (value, wanted) in enumerate(zip(realm.extensible, pins.rems, strict=True)):
        shown = None if wanted is None else [pin.hex() for pin in wanted]
        _one_of(checklist, f"rem {index}", value.hex(), shown, code)
    _one_of(checklist, "rpv", realm.personalization.hex(), rpvs_shown, configuration)
    _one_of(checklist, "mec policy", realm.mec_policy, pins.mec_policies, Trust.RUNTIME_OPAQUE)
    _one_of(checklist, "lfa policy", realm.lfa_policy, pins.lfa_policies, configuration)


def _one_of(
    checklist: Checklist,
    name: str,
    found: str,
    wanted: tuple[str, ...] | list[str] | None,
    trust: Trust,
) -> None:
    """Check that `found` is pinned; None stands for any."""
    checklist.want(
        name,
        holds=wanted is None or found in wanted,
        found=found,
        wanted=ANY if wanted is None else " or ".join(wanted),
        trust=trust,
        hint="the approved values are in federation.toml, [attestation.cca]",
    )


def _platform_claims(platform: PlatformToken) -> dict[str, object]:
    return {
        "eat-profile": platform.profile,
        "eat-nonce": platform.challenge.hex(),
        "ueid": platform.instance_id.hex(),
        "implementation-id": platform.implementation_id.hex(),
        "config": platform.config.hex(),
        "lifecycle": f"{platform.lifecycle:#06x} ({state_of(platform.lifecycle, ROOT_OF_TRUST)})",
        "dbgstat": debug_status(platform.lifecycle, ROOT_OF_TRUST),
        "hash-algorithm": platform.hash_algorithm,
        "measurements": [component.shown() for component in platform.components],
        "verification-service-indicator": platform.service,
        "unknown-claims": list(platform.unknown),
    }


def _realm_claims(realm: RealmToken) -> dict[str, object]:
    claims: dict[str, object] = {
        "eat-profile": realm.profile,
        "eat-nonce": realm.challenge.hex(),
        "initial-measurement": realm.initial.hex(),
        "extensible-measurements": [value.hex() for value in realm.extensible],
        "personalization-value": realm.personalization.hex(),
        "hash-algorithm": realm.hash_algorithm,
        "public-key": realm.encoded_key.hex(),
        "public-key-hash-algorithm": realm.key_hash_algorithm,
        "mec-policy": realm.mec_policy,
        "lfa-policy": realm.lfa_policy,
        "unknown-claims": list(realm.unknown),
    }
    if realm.instance_id is not None:
        claims["ueid"] = realm.instance_id.hex()
    return claims


def inspect(parts: Parts) -> Mapping[str, object]:
    """Return what the two tokens claim."""
    platform, realm = parse_collection(parts[TOKEN])
    return {"platform": _platform_claims(platform), "realm": _realm_claims(realm)}


def recognise(data: bytes) -> Parts | None:
    """Return the token in a file."""
    try:
        decode_tagged(data, "token", max_size=MAX_TOKEN, tags=(COLLECTION_TAG, WRAPPER_TAG))
    except MalformedMessage:
        return None
    return {TOKEN: data}


FORMAT = Format(
    name=CCA,
    title="Arm CCA attestation token",
    source="draft-ffm-rats-cca-token-03; Arm DEN0137 1.0-rel0 and 2.0-bet0",
    required=frozenset({TOKEN}),
    exceptions=exceptions(ROOT_OF_TRUST) | {UNKNOWN_CLAIMS},
    identifiers=IDENTIFIERS,
    always=frozenset(
        {
            "instance id",
            "platform signature",
            "realm key hash algorithm",
            "realm key",
            "realm signature",
            "report data",
            "lifecycle",
            "platform claims",
            "realm claims",
            "platform profile",
            "implementation id",
            "platform config",
            "platform hash algorithm",
            "components",
            "component 1",
            "realm profile",
            "realm hash algorithm",
            "rim",
            *(f"rem {index}" for index in range(EXTENSIBLE)),
            "rpv",
            "mec policy",
            "lfa policy",
        }
    ),
    template=TEMPLATE,
    read_policy=read_policy,
    bind=same_bytes,
    appraise=appraise,
    inspect=inspect,
    recognise=recognise,
)
