"""Appraise Confidential Space tokens: Google Cloud says which container runs in which VM.

What it is: a JWT that Google's attestation service signs after it has judged the VM's own evidence
(vTPM quote, on Intel a TDX quote). What it is not: the hardware's evidence; whoever accepts it
trusts Google's service to have judged well.

Checks, in this order:
  1. the token is three canonical segments of strict JSON, says RS256, and is of a kind (PKI, OIDC)
     that the policy accepts
  2. PKI: `x5c` is leaf, intermediate, root; the root is the pinned one; the chain is valid at
     `now`; if the policy says so, the root has not revoked the intermediate.
     OIDC: `kid` is one key of the bundle's JWKS, which is not too old
  3. the signature; 4. issuer; nbf, exp, iat; age; 5. `eat_nonce` holds the binding
  6. the policy: audience, software, image, hardware, secure boot, debug, container, place
     (confidential_space_claims.py)

The binding: SHA-256 of the report data as 64 hex digits, one of the up to six nonces of the token.
Google takes nonces of 10 to 74 bytes (8 to 88 since 2025), so 64 bytes of report data do not fit
in hex.

Source: Google Cloud, "Attestation token claims" and "Attestation token validation endpoint
fields" (reference of Confidential Space, as of 2025-11); RFC 9711 (EAT) for the claims' names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from fedenclave.attestation.certificates import fingerprint, fingerprints, verify_chain
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.claimed_tcb import TCB_EXCEPTIONS
from fedenclave.attestation.crl import check_revocation
from fedenclave.attestation.crl_versions import need_crl
from fedenclave.attestation.format import Format, Parts, Question
from fedenclave.attestation.google import confidential_space_claims as claims_of
from fedenclave.attestation.google.confidential_space_policy import (
    CRL,
    OIDC,
    PKI,
    TEMPLATE,
    Pins,
    read_policy,
)
from fedenclave.attestation.jwks import certified_key, find_key, rsa_key, x5c_certificates
from fedenclave.attestation.jws import (
    ALWAYS,
    Token,
    check_header,
    check_signature,
    check_times,
    parse_token,
    text_binding,
)
from fedenclave.attestation.result import Claims, Trust
from fedenclave.attestation.roots import pinned
from fedenclave.protocol.errors import MalformedMessage

TOKEN = "token"
ISSUER = "https://confidentialcomputing.googleapis.com"
JWKS = "google/confidential-space/jwks.json"
ROOT_CRL = "google/confidential-space/root-crl.der"
_CHAIN = 3
_MAX_NONCES = 6
_WHAT = "confidential space token"


def appraise(
    parts: Parts, pins: Pins, question: Question, checklist: Checklist, root: x509.Certificate
) -> Claims:
    """Return the claims of a token that a key of Google's signed, under `root` or in the JWKS."""
    token = parse_token(parts[TOKEN], _WHAT)
    check_header(checklist, token)
    kind = PKI if "x5c" in token.header else OIDC
    checklist.must(
        "token type",
        holds=kind in pins.token_types,
        found=kind,
        wanted=" or ".join(pins.token_types),
        trust=Trust.INSTANCE_IDENTITY,
        hint="the aggregator asks for the type with `token_type` of its request",
    )
    certificates: tuple[x509.Certificate, ...] = ()
    if kind == PKI:
        certificates = _verify_chain(checklist, token, pins, question, root)
        key: RSAPublicKey = certified_key(certificates[0], "confidential space leaf")
    else:
        key = find_key(checklist, JWKS, token, question, rsa_key)
    check_signature(checklist, token, key)
    issuer = token.claims.text("iss")
    checklist.must(
        "issuer",
        holds=issuer == ISSUER,
        found=issuer,
        wanted=ISSUER,
        trust=Trust.INSTANCE_IDENTITY,
    )
    check_times(checklist, token, now=question.now, freshness_seconds=question.freshness_seconds)
    _check_binding(checklist, token, question)
    return claims_of.appraise_claims(checklist, token.claims, pins, fingerprints(*certificates))


def _verify_chain(
    checklist: Checklist, token: Token, pins: Pins, question: Question, root: x509.Certificate
) -> tuple[x509.Certificate, ...]:
    """Return the three certificates of the header, verified."""
    certificates = x5c_certificates(token.header)
    if len(certificates) != _CHAIN:
        raise MalformedMessage(
            f"{_WHAT} has {len(certificates)} certificates, want leaf, intermediate and root"
        )
    leaf, intermediate, last = certificates
    checklist.must(
        "root certificate",
        holds=last == root,
        found=fingerprint(last),
        wanted=fingerprint(root),
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is not the root that Google publishes; nothing was sent",
    )
    verify_chain(checklist, (leaf, intermediate), root, name="token chain", now=question.now)
    if pins.revocation == CRL:
        check_revocation(
            checklist,
            (intermediate,),
            need_crl(checklist, question.collateral, ROOT_CRL, question.now),
            root,
            name=ROOT_CRL,
            now=question.now,
            max_age_seconds=question.collateral_max_age_seconds,
        )
    return certificates


def _check_binding(checklist: Checklist, token: Token, question: Question) -> None:
    nonces = nonces_of(token)
    checklist.want(
        "report data",
        holds=question.bound in [nonce.encode() for nonce in nonces] and len(nonces) <= _MAX_NONCES,
        found=", ".join(nonces) or "no eat_nonce",
        wanted=question.bound.decode(errors="backslashreplace"),
        trust=Trust.INSTANCE_IDENTITY,
        hint="it is for another nonce, key or manifest: old, or made for somebody else. with "
        "--nonce, give the hex of the nonce's own ascii characters",
    )


def nonces_of(token: Token) -> tuple[str, ...]:
    """Return `eat_nonce`: Google writes one as a text, several as a list, and none not at all.

    Raises:
        MalformedMessage: it is something else.
    """
    if "eat_nonce" not in token.claims:
        return ()
    if isinstance(token.claims.values["eat_nonce"], str):
        return (token.claims.text("eat_nonce"),)
    return token.claims.texts("eat_nonce")


def inspect(parts: Parts) -> Mapping[str, object]:
    """Return the header and the claims, without any check."""
    token = parse_token(parts[TOKEN], _WHAT)
    return {"header": token.header.values, "claims": token.claims.values}


def recognise(data: bytes) -> Parts | None:
    """Return the token in a file that holds one of Google's, and perhaps a line's end."""
    encoded = data.strip()
    try:
        token = parse_token(encoded, _WHAT)
        if token.claims.text("iss") != ISSUER:
            return None
    except MalformedMessage:
        return None
    return {TOKEN: encoded}


def make_format(root: x509.Certificate) -> Format[Pins]:
    """Return the format with `root` as the only one that PKI tokens may lead to."""
    return Format(
        name="confidential-space",
        title="Google Confidential Space",
        source="Google Cloud, Confidential Space: Attestation token claims (2025-11)",
        required=frozenset({TOKEN}),
        exceptions=claims_of.EXCEPTIONS | TCB_EXCEPTIONS,
        identifiers=claims_of.IDENTIFIERS,
        levels=claims_of.LEVELS,
        always=ALWAYS | claims_of.ALWAYS | {"token type", "issuer", "report data"},
        template=TEMPLATE,
        read_policy=read_policy,
        bind=text_binding,
        appraise=partial(appraise, root=root),
        inspect=inspect,
        recognise=recognise,
    )


(_ROOT,) = pinned("google-confidential-space")
FORMAT = make_format(_ROOT)
