"""Confidential Space: a real token, and the claims of others, which the fake Google signs here."""

from __future__ import annotations

import json
from pathlib import Path

from fedenclave.attestation.format import Parts
from fedenclave.attestation.google.confidential_space import FORMAT, TOKEN
from tests.attestation import fake_google
from tests.attestation.cases import Case

_OAK = "gcp-confidential-space/oak/"
_TOKEN = _OAK + "ctf_sha2_confidential_space_samples_sample.jwt"
_NONCE = b"75a91c8dbe289f190d5e70ab1cb70c93cc14d7243f0ef3ff5326a622ead220a6"
_POLICY = """
token_types = ["PKI"]
revocation = "none"
audiences = ["z08381475938604996746"]
image_digests = ["sha256:e2e5e3672f416ac9ca71aa639abf86db0b713729a48c125a925af6c808b20b5d"]
hardware = ["GCP_INTEL_TDX"]
support_attributes = ["STABLE", "USABLE"]
minimum_swversion = "250800"
args = ["/usr/local/bin/ctf_sha2"]
cmd_override = []
env_override = []
restart_policies = ["Never"]
memory_monitoring = false
projects = ["oak-examples-477357"]
zones = ["us-west1-b"]
service_accounts = ["724467010559-compute@developer.gserviceaccount.com"]
exceptions = []
"""


def _parts(folder: Path) -> Parts:
    return {TOKEN: (folder / _TOKEN).read_bytes()}


def _real(
    name: str,
    refused: str = "",
    *,
    at: str = "2025-09-05T08:20:00",
    policy: str = _POLICY,
    bound: bytes = _NONCE,
    found: str = "",
    freshness_seconds: int = 600,
) -> Case:
    return Case(
        name=name,
        rows=(_TOKEN,),
        format=FORMAT,
        parts=_parts,
        policy=policy,
        bound=bound.hex(),
        at=at,
        refused=refused,
        found=found,
        freshness_seconds=freshness_seconds,
        mutate=() if refused else (TOKEN,),
    )


_CLAIMED_POLICY = """
token_types = ["PKI"]
revocation = "none"
audiences = ["d9b8d46d-6841-4825-9b5e-e77768638044"]
image_digests = ["sha256:313b8a83d3c8bfc9abcffee4f538424473e2705383a7e46f16d159faf0e5ef34"]
hardware = ["GCP_AMD_SEV"]
support_attributes = ["STABLE"]
minimum_swversion = "250300"
args = ["/usr/local/bin/oak_gcp_examples_echo_enclave_app"]
cmd_override = []
env_override = []
restart_policies = ["Never"]
memory_monitoring = false
projects = ["oak-ci"]
zones = ["any"]
service_accounts = ["any"]
exceptions = []
"""
_CLAIMED_NONCE = b"24d7de62139d1f034903e97922d4de79bb9d8897cf0bb921098432eadd40f489"


def _claimed(
    name: str,
    file: str,
    at: str,
    refused: str = "",
    *,
    bound: bytes = _CLAIMED_NONCE,
    policy: str = _CLAIMED_POLICY,
    exceptions_used: bool = False,
) -> Case:
    """Return a case over real claims; their certificates are made up, and valid around NOW."""
    row = f"{_OAK}oak_attestation_gcp_testdata_{file}.json"

    def parts(folder: Path) -> Parts:
        return {TOKEN: fake_google.pki_token(json.loads((folder / row).read_bytes()))}

    return Case(
        name=name,
        rows=(row,),
        format=fake_google.FORMAT,
        parts=parts,
        policy=policy,
        bound=bound.hex(),
        at=at,
        refused=refused,
        exceptions_used=exceptions_used,
    )


CASES = [
    _real("a token of confidential space on intel tdx"),
    _real("the same, an hour after it was made", "token validity", at="2025-09-05T09:17:30"),
    _real("the same, a second before it was made", "token validity", at="2025-09-05T08:17:29"),
    _real("the same, too old for the policy", "token age", at="2025-09-05T08:27:31"),
    _real("the same, with another nonce", "report data", bound=_NONCE[::-1]),
    _real("the same, with half of its nonce", "report data", bound=_NONCE[:32]),
    _real(
        "the same, for another image",
        "image digest",
        policy=_POLICY.replace("sha256:e2e5", "sha256:e2e6"),
    ),
    _real(
        "the same, for another audience",
        "audience",
        policy=_POLICY.replace("z08381475938604996746", "https://fedenclave.example"),
    ),
    _real(
        "the same, where another hardware is wanted",
        "hardware",
        policy=_POLICY.replace("GCP_INTEL_TDX", "GCP_AMD_SEV"),
    ),
    _real(
        "the same, where a newer image is wanted",
        "software version",
        policy=_POLICY.replace('"250800"', '"250801"'),
    ),
    _real(
        "the same, where only oidc tokens are wanted",
        "token type",
        policy=_POLICY.replace('["PKI"]', '["OIDC"]'),
    ),
    _real(
        "the same, where google's revocation list is wanted and missing",
        "collateral",
        policy=_POLICY.replace('revocation = "none"', 'revocation = "crl"'),
    ),
    _claimed("claims of a production image", "claims", "2025-07-01T17:35:00"),
    _claimed("claims of a debug image", "debug_claims", "2025-07-01T17:35:00", "debug"),
    _claimed(
        "claims of a debug image that the policy excepts",
        "debug_claims",
        "2025-07-01T17:35:00",
        policy=_CLAIMED_POLICY.replace("exceptions = []", 'exceptions = ["debug"]'),
        exceptions_used=True,
    ),
    _claimed("claims that have expired", "expired_claims", "2025-07-01T17:31:31", "token validity"),
    _claimed(
        "claims that are valid for a hundred years, a day later",
        "long_lived_claims",
        "2025-06-24T14:22:31",
        "token age",
        bound=b"a nonce between 10 and 74 characters",
    ),
    _claimed(
        "claims with another nonce",
        "policy_claims",
        "2025-06-23T14:25:00",
        "report data",
    ),
    _claimed(
        "claims with their nonce",
        "policy_claims",
        "2025-06-23T14:25:00",
        bound=b"2935a604535385a318b059531d8393720bec96310c5833e88a28de28088a5203",
    ),
]
