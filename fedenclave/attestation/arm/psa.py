"""Appraise evidence of a PSA root of trust (TrustZone): a PSA attestation token.

What holds afterwards: a root of trust whose attestation key the policy names signed the token, it
is secured, booted the pinned firmware, and the bound bytes were given to it by the pinned security
domain. What does not: that the firmware shields the aggregator from other software of the same
domain; the token says which firmware it is, and no more.

Rules:
  * The key is found by the instance id, and both are in the policy (`devices.py`).
  * COSE_Mac0 is refused: whoever can check a symmetric key can forge with it.
  * Certified keys (x5chain) are not supported: nothing says which certificates Arm's licensees use.
  * The nonce is the binding, byte for byte.
  * Claims that are unknown are refused, or reported under the exception `unknown-claims`.

Source: RFC 9783 (sections 4, claims, and 8, verification).
"""

from __future__ import annotations

from collections.abc import Mapping

from fedenclave.attestation.arm.claims import UNKNOWN_CLAIMS, check_unknown
from fedenclave.attestation.arm.components import check_components
from fedenclave.attestation.arm.devices import IDENTIFIERS, key_fingerprint, verify_device
from fedenclave.attestation.arm.lifecycle import (
    check_lifecycle,
    debug_status,
    exceptions,
    state_of,
)
from fedenclave.attestation.arm.psa_policy import (
    NON_SECURE,
    SECURE,
    TEMPLATE,
    PsaPins,
    read_policy,
)
from fedenclave.attestation.arm.psa_token import PsaToken, parse_token
from fedenclave.attestation.arm.recognition import token_labels
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.format import Format, Parts, Question, same_bytes
from fedenclave.attestation.pins import ANY
from fedenclave.attestation.result import Claims, Trust
from fedenclave.protocol.digests import equal

PSA, TOKEN, ROOT_OF_TRUST = "psa", "token", "psa-rot"
_RECOGNISED = frozenset({2396, -75003})
"""The implementation id, new and old label: in every token, and in no other format's."""


def appraise(parts: Parts, pins: PsaPins, question: Question, checklist: Checklist) -> Claims:
    """Return the claims of a token that satisfies the policy."""
    token = parse_token(parts[TOKEN])
    key = verify_device(checklist, token.message, token.instance_id, pins.devices, name="signature")
    checklist.want(
        "report data",
        holds=equal(token.nonce, question.bound),
        found=f"nonce {token.nonce.hex()}",
        wanted=f"nonce {question.bound.hex()}",
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else; nothing "
        "was sent",
    )
    check_lifecycle(checklist, token.lifecycle, ROOT_OF_TRUST)
    check_unknown(checklist, token.unknown, name="claims")
    _check_pins(checklist, token, pins)
    check_components(checklist, token.components, pins.components)
    return Claims(
        claims=_claims(token),
        identifiers={
            "measurement": tuple(component.value.hex() for component in token.components),
            "instance-id": (token.instance_id.hex(),),
            "implementation-id": (token.implementation_id.hex(),),
            "key": (key_fingerprint(key),),
        },
    )


def _check_pins(checklist: Checklist, token: PsaToken, pins: PsaPins) -> None:
    checklist.want(
        "profile",
        holds=token.profile in pins.profiles,
        found=token.profile,
        wanted=" or ".join(pins.profiles),
        trust=Trust.CONFIGURATION,
        hint="the device's firmware speaks another version of the token",
    )
    checklist.want(
        "implementation id",
        holds=token.implementation_id in pins.implementation_ids,
        found=token.implementation_id,
        wanted=" or ".join(value.hex() for value in pins.implementation_ids),
        trust=Trust.HARDWARE,
        hint="it is another chip than the approved one",
    )
    domain = SECURE if token.client_id > 0 else NON_SECURE
    checklist.want(
        "client",
        holds=domain in pins.clients or str(token.client_id) in pins.clients,
        found=f"{token.client_id} ({domain})",
        wanted=" or ".join(pins.clients),
        trust=Trust.CONFIGURATION,
        hint="software of another security domain asked for this token",
    )
    wanted = pins.certifications
    checklist.want(
        "certification reference",
        holds=wanted is None or token.certification in wanted,
        found=token.certification,
        wanted=ANY if wanted is None else " or ".join(wanted),
        trust=Trust.HARDWARE,
    )


def _claims(token: PsaToken) -> dict[str, object]:
    claims: dict[str, object] = {
        "eat-profile": token.profile,
        "eat-nonce": token.nonce.hex(),
        "ueid": token.instance_id.hex(),
        "psa-client-id": token.client_id,
        "psa-security-lifecycle": f"{token.lifecycle:#06x} "
        f"({state_of(token.lifecycle, ROOT_OF_TRUST)})",
        "dbgstat": debug_status(token.lifecycle, ROOT_OF_TRUST),
        "psa-implementation-id": token.implementation_id.hex(),
        "psa-certification-reference": token.certification,
        "measurements": [component.shown() for component in token.components],
        "psa-verification-service-indicator": token.service,
        "unknown-claims": list(token.unknown),
    }
    if token.boot_seed is not None:
        claims["bootseed"] = token.boot_seed.hex()
    return claims


def inspect(parts: Parts) -> Mapping[str, object]:
    """Return what the token claims."""
    return _claims(parse_token(parts[TOKEN]))


def recognise(data: bytes) -> Parts | None:
    """Return the token in a file; a COSE_Mac0 too, whose refusal then says why."""
    return {TOKEN: data} if token_labels(data) & _RECOGNISED else None


FORMAT = Format(
    name=PSA,
    title="PSA attestation token (TrustZone)",
    source="RFC 9783",
    required=frozenset({TOKEN}),
    exceptions=exceptions(ROOT_OF_TRUST) | {UNKNOWN_CLAIMS},
    identifiers=IDENTIFIERS,
    always=frozenset(
        {
            "instance id",
            "signature",
            "report data",
            "lifecycle",
            "claims",
            "profile",
            "implementation id",
            "client",
            "certification reference",
            "components",
            "component 1",
        }
    ),
    template=TEMPLATE,
    read_policy=read_policy,
    bind=same_bytes,
    appraise=appraise,
    inspect=inspect,
    recognise=recognise,
)
