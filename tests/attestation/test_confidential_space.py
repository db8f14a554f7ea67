"""Confidential Space tokens of a fake Google: the claims, and the policy that judges them.

Who signed a token is in test_confidential_space_signer.py, how it is written in
test_confidential_space_encoding.py.
"""

from typing import Any

import pytest

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.collateral import Collateral
from fedenclave.attestation.format import Question, read_format_policy
from fedenclave.attestation.google import confidential_space
from fedenclave.attestation.google.confidential_space import TOKEN
from fedenclave.attestation.result import EvidenceRefused, Status
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.toml_table import parse
from tests.attestation.confidential_space_appraisal import appraise, refused
from tests.attestation.fake_google import (
    BOUND,
    CLAIMS,
    FORMAT,
    IMAGE,
    POLICY,
    REPORT_DATA,
    claims,
    oidc_token,
    pki_token,
)
from tests.attestation.fake_tokens import DAY, NOW, rsa_key, sign


def test_a_good_pki_token_is_affirmed() -> None:
    found = appraise(pki_token(), files={})
    assert found.status is Status.AFFIRMING
    assert found.claims.identifiers["measurement"] == (IMAGE,)
    assert found.claims.identifiers["instance-id"] == ("4711",)
    assert len(found.claims.identifiers["certificate"]) == 3
    assert found.claims.levels == {"swversion": 250800}


def test_a_good_oidc_token_is_affirmed() -> None:
    assert appraise(oidc_token()).status is Status.AFFIRMING


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"aud": "https://sts.googleapis.com"}, "audience"),
        ({"aud": ["https://fedenclave.example"]}, "structure"),
        ({"iss": "https://portal.trustauthority.intel.com"}, "issuer"),
        ({"exp": NOW}, "token validity"),
        ({"nbf": NOW + 1}, "token validity"),
        ({"iat": NOW + 1}, "token validity"),
        ({"iat": NOW - 601}, "token age"),
        ({"exp": ...}, "structure"),
        ({"iat": ...}, "structure"),
        ({"nbf": str(NOW)}, "structure"),
        ({"exp": True}, "structure"),
        ({"exp": float(NOW + 10)}, "structure"),
        ({"exp": 1 << 70}, "structure"),
        ({"eat_nonce": "somebody else's nonce"}, "report data"),
        ({"eat_nonce": ...}, "report data"),
        ({"eat_nonce": [BOUND.decode()] * 7}, "report data"),
        ({"eat_nonce": [BOUND.decode(), 5]}, "structure"),
        ({"eat_nonce": BOUND.decode().upper()}, "report data"),
        ({"swname": "GCE"}, "software"),
        ({"swversion": ["250799"]}, "software version"),
        ({"swversion": []}, "structure"),
        ({"swversion": ["newest"]}, "structure"),
        ({"swversion": ["999999"]}, "structure"),
        ({"swversion": ["251300"]}, "structure"),
        ({"swversion": ["250000"]}, "structure"),
        ({"swversion": ["202512"]}, "structure"),
        ({"oemid": 1}, "oem"),
        ({"submods__container__image_digest": "sha256:" + "00" * 32}, "image digest"),
        ({"hwmodel": "GCP_SHIELDED_VM"}, "hardware"),
        ({"hwmodel": "GCP_AMD_SEV_ES"}, "hardware"),
        ({"tdx__gcp_attester_tcb_status": "OutOfDate"}, "tcb status"),
        ({"tdx__gcp_attester_tcb_status": "Revoked"}, "tcb status"),
        ({"tdx": ...}, "structure"),
        ({"tdx": []}, "structure"),
        ({"secboot": False}, "secure boot"),
        ({"secboot": "true"}, "structure"),
        ({"dbgstat": "enabled"}, "debug"),
        ({"dbgstat": ...}, "structure"),
        ({"submods__confidential_space__support_attributes": ["USABLE"]}, "support attributes"),
        ({"submods__confidential_space__support_attributes": ...}, "support attributes"),
        ({"submods__confidential_space__monitoring_enabled__memory": True}, "memory monitoring"),
        ({"submods__container__args": ["/bin/sh"]}, "arguments"),
        ({"submods__container__cmd_override": ["--debug"]}, "command override"),
        ({"submods__container__env_override": {"LOG": "debug"}}, "environment override"),
        ({"submods__container__env_override": {"LD_PRELOAD": "x"}}, "environment override"),
        ({"submods__container__restart_policy": "Always"}, "restart policy"),
        ({"submods__gce__project_id": "other"}, "project"),
        ({"submods__gce": ...}, "structure"),
        ({"submods": []}, "structure"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(changes: dict[str, Any], check: str) -> None:
    assert refused(pki_token(claims(**changes))) == check


@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        ('zones = ["any"]', 'zones = ["us-west1-b"]', "zone"),
        ('service_accounts = ["any"]', 'service_accounts = ["x@y"]', "service accounts"),
        ('token_types = ["PKI", "OIDC"]', 'token_types = ["OIDC"]', "token type"),
        ("env_override = [", 'env_override = []\nargs = ["x"]\nx = [', ""),
        ('["GCP_INTEL_TDX", "GCP_AMD_SEV"]', '["GCP_AMD_SEV"]', "hardware"),
    ],
)
def test_a_token_that_the_policy_does_not_name_is_refused(old: str, new: str, check: str) -> None:
    assert old in POLICY
    if check:
        assert refused(pki_token(), POLICY.replace(old, new)) == check
    else:
        with pytest.raises(ConfigurationError):
            appraise(pki_token(), POLICY.replace(old, new))


def test_a_debug_image_needs_both_exceptions_and_is_then_a_warning() -> None:
    said = claims(dbgstat="enabled", submods__confidential_space__support_attributes=...)
    one = POLICY.replace("exceptions = []", 'exceptions = ["debug"]')
    both = POLICY.replace("exceptions = []", 'exceptions = ["debug", "unsupported-image"]')
    assert refused(pki_token(said), one) == "support attributes"
    assert appraise(pki_token(said), both).status is Status.WARNING


def test_an_out_of_date_machine_passes_by_its_very_exception_alone() -> None:
    said = claims(tdx__gcp_attester_tcb_status="OutOfDate")
    other = POLICY.replace("exceptions = []", 'exceptions = ["tcb-configuration-needed"]')
    this = POLICY.replace("exceptions = []", 'exceptions = ["tcb-out-of-date"]')
    assert refused(pki_token(said), other) == "tcb status"
    assert appraise(pki_token(said), this).status is Status.WARNING


def test_an_amd_machine_needs_no_tdx_claims() -> None:
    assert appraise(pki_token(claims(hwmodel="GCP_AMD_SEV", tdx=...))).status is Status.AFFIRMING


def test_tdx_claims_may_be_a_list_of_one() -> None:
    said = claims(tdx=[{"gcp_attester_tcb_status": "UpToDate"}])
    assert appraise(pki_token(said)).status is Status.AFFIRMING


def test_everything_may_be_accepted_in_words() -> None:
    lines = [
        f'{line.split(" = ")[0]} = ["any"]'
        if line.startswith(("args", "cmd_", "env_", "projects"))
        else line
        for line in POLICY.splitlines()
    ]
    said = claims(submods__gce__project_id="p", submods__container__cmd_override=["x"])
    assert appraise(pki_token(said), "\n".join(lines)).status is Status.AFFIRMING


class TestPolicy:
    def test_the_template_reads(self) -> None:
        top = parse(FORMAT.template.encode(), "template")
        table = top.take_table("attestation").take_table("confidential-space")
        read_format_policy(FORMAT, table)

    @pytest.mark.parametrize("key", [line.split(" = ")[0] for line in POLICY.splitlines()])
    def test_every_key_is_needed(self, key: str) -> None:
        lines = [line for line in POLICY.splitlines() if not line.startswith(f"{key} = ")]
        with pytest.raises(ConfigurationError):
            appraise(pki_token(), "\n".join(lines))

    @pytest.mark.parametrize(
        "key",
        [
            "args",
            "cmd_override",
            "env_override",
            "projects",
            "zones",
            "service_accounts",
        ],
    )
    def test_any_among_other_values_is_an_error(self, key: str) -> None:
        lines = [
            f'{key} = ["any", "p"]' if line.startswith(f"{key} =") else line
            for line in POLICY.splitlines()
        ]
        assert f'{key} = ["any", "p"]' in lines
        with pytest.raises(ConfigurationError, match=f"{key} has 'any' among other values"):
            appraise(pki_token(), "\n".join(lines))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("token_types = [", 'token_types = ["LIMITED_AWS", '),
            ('revocation = "none"', 'revocation = "ocsp"'),
            ("image_digests = [", 'image_digests = ["sha256:AB", '),
            ("hardware = [", 'hardware = ["GCP_SHIELDED_VM", '),
            ("support_attributes = [", 'support_attributes = ["EXPERIMENTAL", '),
            ('minimum_swversion = "250800"', 'minimum_swversion = "25"'),
            # Year and month without a number: as year 20 and month 25 it would accept any image.
            ('minimum_swversion = "250800"', 'minimum_swversion = "202508"'),
            ('minimum_swversion = "250800"', 'minimum_swversion = "251300"'),
            ('minimum_swversion = "250800"', 'minimum_swversion = "250000"'),
            ('minimum_swversion = "250800"', 'minimum_swversion = "000100"'),
            ("restart_policies = [", 'restart_policies = ["Sometimes", '),
            ('zones = ["any"]', "zones = []"),
            ("exceptions = []", 'exceptions = ["all"]'),
            ("exceptions = []", "exceptions = []\nmore = 1"),
        ],
    )
    def test_a_wrong_pin_is_refused(self, old: str, new: str) -> None:
        assert old in POLICY
        with pytest.raises(ConfigurationError):
            appraise(pki_token(), POLICY.replace(old, new))


def test_the_binding_fits_a_nonce_of_googles() -> None:
    assert FORMAT.bind(REPORT_DATA) == BOUND
    assert 10 <= len(BOUND) <= 74
    assert refused(pki_token(), bound=FORMAT.bind(bytes(64))) == "report data"


def test_a_file_with_a_token_is_recognised() -> None:
    assert FORMAT.recognise(pki_token() + b"\n") == {TOKEN: pki_token()}
    assert FORMAT.recognise(pki_token(claims(iss="https://sharedeus.eus.attest.azure.net"))) is None
    assert FORMAT.recognise(pki_token(claims(iss=...))) is None


def test_inspection_shows_what_was_not_checked() -> None:
    shown = FORMAT.inspect({TOKEN: sign(CLAIMS, rsa_key("evil"), {"kid": "x"})})
    assert shown["claims"] == CLAIMS
    with pytest.raises(MalformedMessage):
        FORMAT.inspect({TOKEN: b"no token"})


def test_the_shipped_format_pins_googles_root() -> None:
    assert confidential_space.FORMAT.name == "confidential-space"
    with pytest.raises(EvidenceRefused) as caught:
        appraise_parts(
            {TOKEN: pki_token()},
            read_format_policy(confidential_space.FORMAT, parse(POLICY.encode(), "policy")),
            Question(
                bound=BOUND,
                now=NOW,
                freshness_seconds=600,
                collateral=Collateral(),
                collateral_max_age_seconds=DAY,
            ),
        )
    assert caught.value.checks[-1].name == "root certificate"
