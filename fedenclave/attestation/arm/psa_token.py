"""Parse a PSA attestation token: COSE_Sign1 over claims of one of three profiles.

Not here: signature, policy (`psa.py`).

Profiles:
  * `tag:psacertified.org,2023:psa#tfm`: RFC 9783.
  * `http://arm.com/psa/2.0.0`: its drafts from 08 on. Under both names firmware is in use whose
    boot seed is claim 2397, as in drafts, and not 268.
  * `PSA_IOT_PROFILE_1`: drafts up to 07, with private labels; a token without a profile is of it.

Source: RFC 9783 (sections 4, 4.6 for the old labels, 5 for encoding and profiles).
"""

from __future__ import annotations

from dataclasses import dataclass

from fedenclave.attestation.arm.claims import (
    HASH_SIZES,
    IMPLEMENTATION_ID_SIZE,
    ClaimSet,
    parse_claims,
)
from fedenclave.attestation.arm.components import ABSENT, Component, take_components
from fedenclave.attestation.arm.lifecycle import MAX_LIFECYCLE
from fedenclave.attestation.cose import SIGN1_TAG, Sign1, parse_sign1
from fedenclave.protocol.errors import MalformedMessage

MAX_TOKEN = 16 * 1024
"""A component takes about 150 bytes, and 64 are the most that are read."""

PROFILE_TFM = "tag:psacertified.org,2023:psa#tfm"
PROFILE_2 = "http://arm.com/psa/2.0.0"
PROFILE_1 = "PSA_IOT_PROFILE_1"
PROFILES = (PROFILE_TFM, PROFILE_2, PROFILE_1)
_EAN13_5 = r"[0-9]{13}-[0-9]{5}"
_EAN13 = rf"[0-9]{{13}}|{_EAN13_5}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Labels:
    """The claims' labels in a profile (RFC 9783, table 2), and what differs beside them."""

    nonce: int
    instance_id: int
    profile: int
    client_id: int
    lifecycle: int
    implementation_id: int
    boot_seeds: tuple[int, ...]
    boot_seed_sizes: range
    certification: int
    certification_pattern: str
    components: int
    service: int


_NEW = _Labels(
    nonce=10,
    instance_id=256,
    profile=265,
    client_id=2394,
    lifecycle=2395,
    implementation_id=2396,
    boot_seeds=(268, 2397),
    boot_seed_sizes=range(8, 33),
    certification=2398,
    certification_pattern=_EAN13_5,
    components=2399,
    service=2400,
)
_OLD = _Labels(
    nonce=-75008,
    instance_id=-75009,
    profile=-75000,
    client_id=-75001,
    lifecycle=-75002,
    implementation_id=-75003,
    boot_seeds=(-75004,),
    boot_seed_sizes=range(32, 33),
    certification=-75005,
    certification_pattern=_EAN13,
    components=-75006,
    service=-75010,
)
_OLD_NO_COMPONENTS = -75007


@dataclass(frozen=True, slots=True, kw_only=True)
class PsaToken:
    """The token, parsed and not verified.

    Attributes:
        message: the COSE_Sign1 message.
        profile: one of PROFILES.
        nonce: 32, 48 or 64 bytes.
        instance_id: 33 bytes, the first 0x01.
        client_id: the caller: negative if non-secure, positive if secure, never 0.
        lifecycle: 16 bits.
        implementation_id: 32 bytes.
        boot_seed: None if there is none.
        certification: certification reference, or `absent`.
        components: empty where an old token says that nothing was measured.
        service: verification service indicator, or `absent`; nothing follows it.
        unknown: labels of claims that this version does not know.
    """

    message: Sign1
    profile: str
    nonce: bytes
    instance_id: bytes
    client_id: int
    lifecycle: int
    implementation_id: bytes
    boot_seed: bytes | None
    certification: str
    components: tuple[Component, ...]
    service: str
    unknown: tuple[str, ...]


def parse_token(data: bytes) -> PsaToken:
    """Return the token that `data` encodes: a COSE_Sign1 message with its tag.

    Raises:
        MalformedMessage: it is a COSE_Mac0, or breaks a rule of the profiles.
    """
    message = parse_sign1(data, "psa token", max_size=MAX_TOKEN, tags=(SIGN1_TAG,), key_id=True)
    claims = parse_claims(message.payload, "psa token", max_size=MAX_TOKEN)
    old = not claims.has(_NEW.profile)
    labels = _OLD if old else _NEW
    implied = old and not claims.has(_OLD.profile)
    profile = PROFILE_1 if implied else claims.take_text(labels.profile, "profile")
    if (profile == PROFILE_1) != old or profile not in PROFILES:
        raise MalformedMessage(
            f"psa token has profile {profile[:80]!r} (claim {labels.profile}), want "
            + " or ".join(PROFILES)
        )
    client_id = claims.take_int(labels.client_id, "client id", -(2**31), 2**31 - 1)
    if client_id == 0:
        raise MalformedMessage("psa token has client id 0, which stands for nobody")
    return PsaToken(
        message=message,
        profile=profile,
        nonce=claims.take_bytes(labels.nonce, "nonce", HASH_SIZES),
        instance_id=claims.take_ueid(labels.instance_id, "instance id"),
        client_id=client_id,
        lifecycle=claims.take_int(labels.lifecycle, "security lifecycle", 0, MAX_LIFECYCLE),
        implementation_id=claims.take_bytes(
            labels.implementation_id, "implementation id", (IMPLEMENTATION_ID_SIZE,)
        ),
        boot_seed=_take_boot_seed(claims, labels, needed=old),
        certification=claims.take_text(
            labels.certification, "certification reference", labels.certification_pattern
        )
        if claims.has(labels.certification)
        else ABSENT,
        components=_take_components(claims, labels, old=old),
        service=claims.take_text(labels.service, "verification service indicator")
        if claims.has(labels.service)
        else ABSENT,
        unknown=claims.unknown,
    )


def _take_boot_seed(claims: ClaimSet, labels: _Labels, *, needed: bool) -> bytes | None:
    there = [label for label in labels.boot_seeds if claims.has(label)]
    if len(there) > 1:
        raise MalformedMessage("psa token has a boot seed twice")
    if not there and not needed:
        return None
    label = there[0] if there else labels.boot_seeds[0]
    return claims.take_bytes(label, "boot seed", labels.boot_seed_sizes)


def _take_components(claims: ClaimSet, labels: _Labels, *, old: bool) -> tuple[Component, ...]:
    if not old or not claims.has(_OLD_NO_COMPONENTS):
        return take_components(claims, labels.components)
    claims.take_int(_OLD_NO_COMPONENTS, "no software measurements", 1, 1)
    if claims.has(labels.components):
        raise MalformedMessage("psa token has software components, and says that it has none")
    return ()
