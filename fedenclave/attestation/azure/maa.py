"""Appraise tokens of Microsoft Azure Attestation (MAA).

What it is: a JWT in which Microsoft says what an SGX, TDX or SEV-SNP quote or report holds, after
judging it. What it is not: the quote itself; whoever accepts the token trusts Microsoft's service.

Checks, in this order:
  1. the token is three canonical segments of strict JSON and says RS256: an unsigned one, which
     MAA itself makes for drafts of policies (`alg` none), is refused
  2. `iss` is pinned; its JWKS in the bundle is not too old and has `kid` once; the key's own
     certificate is valid at `now`
  3. the signature; 4. nbf, exp, iat; age; 5. version, attestation type, the provider's policy
  6. the binding, and the pins of that type (maa_claims.py, maa_vm.py)

Keys: `x5c` in MAA's JWKS is mostly a self-signed certificate, so a chain proves nothing; the JWKS
is trusted because whoever made the bundle fetched it over TLS from the issuer. The header's `jku`
is never followed.

The binding is SHA-256 of the report data as 64 hex digits (text_binding), by one rule per type:
  * sgx: in the report data as it is (`report-data`), or hashed with SHA-256 as MAA's own runtime
    data are (`runtime-data`)
  * tdxvm, sevsnpvm: the same, or in `user-data` of `x-ms-runtime` (`user-data`): on Azure's
    confidential VMs the paravisor owns the report data and puts its runtime data's hash there
  * azurevm: the `nonce` of the client payload in `x-ms-runtime`, in base64
The claim `nonce` at the top is the requester's, bound to no hardware, and is not looked at.
With `user-data` and azurevm the hardware has measured Azure's paravisor alone, and any root in any
tenant's machine chooses the binding: that needs the exception `unattested-guest`.

Source: Microsoft Learn, "Azure Attestation claim sets" (2025-04), "Azure Attestation EAT profile
for TDX" (2023-10), "Examples of an attestation token" (2022-06); RFC 7519.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from fedenclave.attestation.azure.maa_claims import (
    ALWAYS_BY_TYPE,
    EXCEPTIONS,
    IDENTIFIERS,
    LEVELS,
    TYPE,
    appraise_sgx,
    appraise_snp,
    appraise_tdx,
    choose,
)
from fedenclave.attestation.azure.maa_policy import (
    TEMPLATE,
    VM,
    Pins,
    SgxPins,
    SnpPins,
    TdxPins,
    host_of,
    read_policy,
)
from fedenclave.attestation.azure.maa_vm import ALWAYS as VM_ALWAYS
from fedenclave.attestation.azure.maa_vm import EXCEPTIONS as VM_EXCEPTIONS
from fedenclave.attestation.azure.maa_vm import VM_ID, appraise_vm
from fedenclave.attestation.certificates import fingerprints
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.claimed_tcb import TCB_EXCEPTIONS
from fedenclave.attestation.collateral import iso
from fedenclave.attestation.format import Format, Parts, Question
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
from fedenclave.attestation.strict_json import JsonObject, parse_object
from fedenclave.protocol.errors import MalformedMessage

TOKEN = "token"
VERSION = "1.0"
_WHAT = "azure attestation token"


def jwks_name(issuer: str) -> str:
    """Return the name in the bundle of the key set of an issuer that the policy pins."""
    return f"azure/maa/{host_of(issuer)}/jwks.json"


def appraise(parts: Parts, pins: Pins, question: Question, checklist: Checklist) -> Claims:
    """Return the claims of a token that a pinned issuer signed."""
    token = parse_token(parts[TOKEN], _WHAT)
    check_header(checklist, token)
    issuer = token.claims.text("iss")
    checklist.must(
        "issuer",
        holds=issuer in pins.issuers,
        found=issuer,
        wanted=" or ".join(pins.issuers),
        trust=Trust.INSTANCE_IDENTITY,
        hint="another attestation provider made the token; anybody can have one of their own",
    )
    key, leaf = find_key(checklist, jwks_name(issuer), token, question, _read_key)
    if leaf is not None:
        _check_validity(checklist, leaf, question.now)
    check_signature(checklist, token, key)
    check_times(checklist, token, now=question.now, freshness_seconds=question.freshness_seconds)
    found = _appraise_claims(checklist, token.claims, pins, question.bound)
    return Claims(
        claims={**_common(token), **found.claims},
        identifiers={
            **found.identifiers,
            "certificate": () if leaf is None else fingerprints(leaf),
        },
        levels=found.levels,
    )


def _read_key(jwk: JsonObject) -> tuple[RSAPublicKey, x509.Certificate | None]:
    """Return the key of a JWK, by `x5c` or `n` and `e`, and its certificate if it has one."""
    if "x5c" not in jwk:
        return rsa_key(jwk), None
    certificates = x5c_certificates(jwk)
    if not certificates:
        raise MalformedMessage(f"{jwk.what} has an empty x5c")
    leaf = certificates[0]
    key = certified_key(leaf, jwk.what)
    if "n" in jwk and rsa_key(jwk) != key:
        raise MalformedMessage(f"{jwk.what} has n and e of another key than its certificate's")
    return key, leaf


def _check_validity(checklist: Checklist, leaf: x509.Certificate, now: int) -> None:
    first = int(leaf.not_valid_before_utc.timestamp())
    last = int(leaf.not_valid_after_utc.timestamp())
    checklist.must(
        "signing certificate validity",
        holds=first <= now <= last,
        found=f"valid {iso(first)} to {iso(last)}",
        wanted=f"valid at {iso(now)}",
        trust=Trust.INSTANCE_IDENTITY,
        hint="give the time at which the evidence was made with --at, if it is an old one",
    )


def _appraise_claims(checklist: Checklist, claims: JsonObject, pins: Pins, bound: bytes) -> Claims:
    version, kind = claims.text("x-ms-ver"), claims.text(TYPE)
    checklist.must(
        "token version",
        holds=version == VERSION,
        found=version,
        wanted=VERSION,
        trust=Trust.INSTANCE_IDENTITY,
    )
    chosen = choose(checklist, "attestation type", pins.types, kind)
    policy = claims.text("x-ms-policy-hash")
    checklist.want(
        "policy hash",
        holds=pins.policy_hashes is None or policy in pins.policy_hashes,
        found=policy,
        wanted="any" if pins.policy_hashes is None else " or ".join(pins.policy_hashes),
        trust=Trust.CONFIGURATION,
        hint="the provider's owner has changed the rules by which it judges",
    )
    if isinstance(chosen, SgxPins):
        found = appraise_sgx(checklist, claims, chosen, bound)
    elif isinstance(chosen, TdxPins):
        found = appraise_tdx(checklist, claims, chosen, bound)
    elif isinstance(chosen, SnpPins):
        found = appraise_snp(checklist, claims, chosen, bound)
    else:
        found = appraise_vm(checklist, claims, chosen, bound)
    # The format's own list has what is checked of every type.
    checklist.check_made(VM_ALWAYS if kind == VM else ALWAYS_BY_TYPE[kind])
    return found


def _common(token: Token) -> dict[str, object]:
    claims = token.claims
    return {
        "iss": claims.text("iss"),
        "iat": claims.integer("iat"),
        "exp": claims.integer("exp"),
        "attestation-type": claims.text(TYPE),
        "policy-hash": claims.text("x-ms-policy-hash"),
    }


def inspect(parts: Parts) -> Mapping[str, object]:
    """Return the header and the claims, without any check."""
    token = parse_token(parts[TOKEN], _WHAT)
    return {"header": token.header.values, "claims": token.claims.values}


def recognise(data: bytes) -> Parts | None:
    """Return the token in a file: a token alone, or the service's answer, `{"token": "..."}`."""
    encoded = data.strip()
    try:
        if encoded.startswith(b"{"):
            encoded = parse_object(encoded, "answer").text("token").encode()
        if TYPE not in parse_token(encoded, _WHAT).claims:
            return None
    except MalformedMessage:
        return None
    return {TOKEN: encoded}


FORMAT = Format(
    name="azure-maa",
    title="Microsoft Azure Attestation",
    source="Microsoft Learn: Azure Attestation claim sets (2025-04), EAT profile for TDX (2023-10)",
    required=frozenset({TOKEN}),
    exceptions=EXCEPTIONS | VM_EXCEPTIONS | TCB_EXCEPTIONS,
    identifiers=IDENTIFIERS | {VM_ID},
    levels=LEVELS,
    always=ALWAYS
    | {
        "issuer",
        "signing key",
        "token version",
        "attestation type",
        "policy hash",
        "guest",
        "report data",
    },
    template=TEMPLATE,
    read_policy=read_policy,
    bind=text_binding,
    appraise=appraise,
    inspect=inspect,
    recognise=recognise,
)
