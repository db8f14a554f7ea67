"""A Google that exists in tests alone: certificates, JWKS, and Confidential Space tokens.

The claims are shaped as those of a real token, and every one can be changed before it is signed.
"""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.google.confidential_space import ISSUER, JWKS, ROOT_CRL, make_format
from fedenclave.attestation.jws import text_binding
from tests.attestation.fake_tokens import (
    DAY,
    NOW,
    certificate,
    jwk,
    jwks,
    name_of,
    rsa_key,
    sign,
    x5c,
)

ROOT_NAME, INTERMEDIATE_NAME = "Fake Confidential Space Root CA", "Fake Confidential Space CA"
ROOT = certificate(ROOT_NAME, rsa_key("root"), ROOT_NAME, rsa_key("root"), ca=True)
INTERMEDIATE = certificate(
    INTERMEDIATE_NAME, rsa_key("intermediate"), ROOT_NAME, rsa_key("root"), ca=True
)
LEAF = certificate(
    "Fake leaf", rsa_key("leaf"), INTERMEDIATE_NAME, rsa_key("intermediate"), ca=False
)
FORMAT = make_format(ROOT)

REPORT_DATA = bytes(range(64))
BOUND = text_binding(REPORT_DATA)
IMAGE = "sha256:" + "ab" * 32
AUDIENCE = "https://fedenclave.example"
POLICY = f"""\
token_types = ["PKI", "OIDC"]
revocation = "none"
audiences = ["{AUDIENCE}"]
image_digests = ["{IMAGE}"]
hardware = ["GCP_INTEL_TDX", "GCP_AMD_SEV"]
support_attributes = ["STABLE"]
minimum_swversion = "250800"
args = ["/usr/local/bin/aggregator"]
cmd_override = []
env_override = ["LOG=info"]
restart_policies = ["Never"]
memory_monitoring = false
projects = ["hospital-project"]
zones = ["any"]
service_accounts = ["any"]
exceptions = []
"""
CLAIMS: dict[str, Any] = {
    "aud": AUDIENCE,
    "exp": NOW + 3500,
    "iat": NOW - 100,
    "nbf": NOW - 100,
    "iss": ISSUER,
    "sub": "https://www.googleapis.com/compute/v1/projects/hospital-project/zones/z/instances/i",
    "eat_nonce": ["another nonce", BOUND.decode()],
    "secboot": True,
    "oemid": 11129,
    "hwmodel": "GCP_INTEL_TDX",
    "swname": "CONFIDENTIAL_SPACE",
    "swversion": ["250800"],
    "attester_tcb": ["INTEL"],
    "dbgstat": "disabled-since-boot",
    "submods": {
        "confidential_space": {
            "support_attributes": ["LATEST", "STABLE", "USABLE"],
            "monitoring_enabled": {"memory": False},
        },
        "container": {
            "image_reference": "registry.example/aggregator:1",
            "image_digest": IMAGE,
            "restart_policy": "Never",
            "image_id": "sha256:" + "cd" * 32,
            "env": {"HOSTNAME": "i", "LOG": "info"},
            "env_override": {"LOG": "info"},
            "cmd_override": None,
            "args": ["/usr/local/bin/aggregator"],
        },
        "gce": {
            "zone": "europe-west1-b",
            "project_id": "hospital-project",
            "project_number": "1",
            "instance_name": "i",
            "instance_id": "4711",
        },
    },
    "tdx": {"gcp_attester_tcb_status": "UpToDate"},
    "google_service_accounts": ["aggregator@hospital-project.iam.gserviceaccount.com"],
}


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims with some changed; `a__b` changes `b` in `a`, and `...` takes one away."""
    changed = copy.deepcopy(CLAIMS)
    for path, value in changes.items():
        *tables, last = path.split("__")
        table = changed
        for name in tables:
            table = table[name]
        if value is ...:
            del table[last]
        else:
            table[last] = value
    return changed


def pki_token(said: dict[str, Any] | None = None, **header: Any) -> bytes:
    """Return a token by the leaf's key, with its chain."""
    chain = {"x5c": x5c(LEAF, INTERMEDIATE, ROOT)}
    return sign(CLAIMS if said is None else said, rsa_key("leaf"), {**chain, **header})


def oidc_token(said: dict[str, Any] | None = None, kid: str = "key-1") -> bytes:
    """Return a token by the key `key-1` of the JWKS."""
    return sign(CLAIMS if said is None else said, rsa_key("oidc"), {"kid": kid})


def crl(*revoked: x509.Certificate, issued: int = NOW - DAY, key: str = "root") -> bytes:
    """Return the root's revocation list."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name_of(ROOT_NAME))
        .last_update(datetime.fromtimestamp(issued, UTC))
        .next_update(datetime.fromtimestamp(issued + 30 * DAY, UTC))
    )
    for one in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(one.serial_number)
            .revocation_date(datetime.fromtimestamp(issued, UTC))
            .build()
        )
    return builder.sign(rsa_key(key), hashes.SHA256()).public_bytes(Encoding.DER)


def bundle() -> dict[str, bytes]:
    """Return what the collateral bundle holds of Google's."""
    return {
        JWKS: jwks(jwk(rsa_key("other"), "key-0"), jwk(rsa_key("oidc"), "key-1")),
        ROOT_CRL: crl(),
    }
