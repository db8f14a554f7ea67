"""Confidential Space tokens of a fake Google: each thing that is wrong is refused by its name."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.collateral import Collateral, CollateralFile, from_mapping
from fedenclave.attestation.format import Question, read_format_policy
from fedenclave.attestation.google import confidential_space
from fedenclave.attestation.google.confidential_space import JWKS, ROOT_CRL, TOKEN
from fedenclave.attestation.result import Appraisal, EvidenceRefused, Status
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.toml_table import parse
from tests.attestation.fake_google import (
    BOUND,
    CLAIMS,
    FORMAT,
    IMAGE,
    INTERMEDIATE,
    INTERMEDIATE_NAME,
    LEAF,
    POLICY,
    REPORT_DATA,
    ROOT,
    bundle,
    claims,
    crl,
    oidc_token,
    pki_token,
)
from tests.attestation.fake_tokens import (
    DAY,
    NOW,
    certificate,
    encode,
    jwk,
    jwks,
    rsa_key,
    sign,
    sign_raw,
    x5c,
)


def appraise(
    token: bytes,
    policy: str = POLICY,
    *,
    now: int = NOW,
    files: Mapping[str, bytes] | None = None,
    collateral: Collateral | None = None,
    bound: bytes = BOUND,
) -> Appraisal:
    pins = read_format_policy(FORMAT, parse(policy.encode(), "policy"))
    question = Question(
        bound=bound,
        now=now,
        freshness_seconds=600,
        collateral=collateral or from_mapping(bundle() if files is None else files, NOW - DAY),
        collateral_max_age_seconds=30 * DAY,
    )
    return appraise_parts({TOKEN: token}, pins, question)


def refused(token: bytes, policy: str = POLICY, **more: Any) -> str:
    """Return the name of the first check that fails."""
    with pytest.raises(EvidenceRefused) as caught:
        appraise(token, policy, **more)
    return next(check.name for check in caught.value.checks if not check.holds)


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


class TestChain:
    def test_a_root_of_the_same_name_is_refused(self) -> None:
        name = ROOT.subject.rfc4514_string().removeprefix("CN=")
        other = certificate(name, rsa_key("evil"), name, rsa_key("evil"), ca=True)
        middle = certificate(INTERMEDIATE_NAME, rsa_key("evil"), name, rsa_key("evil"), ca=True)
        leaf = certificate("l", rsa_key("evil"), INTERMEDIATE_NAME, rsa_key("evil"), ca=False)
        token = sign(CLAIMS, rsa_key("evil"), {"x5c": x5c(leaf, middle, other)})
        assert refused(token) == "root certificate"
        token = sign(CLAIMS, rsa_key("evil"), {"x5c": x5c(leaf, middle, ROOT)})
        assert refused(token) == "token chain"

    def test_a_leaf_that_signs_leaves_is_refused(self) -> None:
        leaf = certificate("l", rsa_key("evil"), "Fake leaf", rsa_key("leaf"), ca=False)
        token = sign(CLAIMS, rsa_key("evil"), {"x5c": x5c(leaf, LEAF, ROOT)})
        assert refused(token) == "token chain"

    def test_a_token_by_another_key_than_the_leafs_is_refused(self) -> None:
        header = {"x5c": x5c(LEAF, INTERMEDIATE, ROOT)}
        assert refused(sign(CLAIMS, rsa_key("evil"), header)) == "signature"

    @pytest.mark.parametrize("count", [0, 1, 2, 4])
    def test_a_chain_of_another_length_is_refused(self, count: int) -> None:
        chain = x5c(LEAF, INTERMEDIATE, ROOT, ROOT)[:count]
        assert refused(pki_token(x5c=chain)) == "structure"

    def test_an_expired_leaf_is_refused(self) -> None:
        leaf = certificate(
            "l",
            rsa_key("leaf"),
            INTERMEDIATE_NAME,
            rsa_key("intermediate"),
            ca=False,
            last=NOW - 1,
        )
        assert refused(pki_token(x5c=x5c(leaf, INTERMEDIATE, ROOT))) == "token chain validity"

    def test_a_weak_key_is_refused(self) -> None:
        weak = rsa_key("weak", 1024)
        leaf = certificate("l", weak, INTERMEDIATE_NAME, rsa_key("intermediate"), ca=False)
        with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
            token = sign(CLAIMS, weak, {"x5c": x5c(leaf, INTERMEDIATE, ROOT)})
        assert refused(token) == "structure"

    @pytest.mark.parametrize("odd", ["", "A", "!!!!", "AAAA", "AB=="])
    def test_what_is_no_certificate_is_refused(self, odd: str) -> None:
        chain = [odd, *x5c(INTERMEDIATE, ROOT)]
        assert refused(pki_token(x5c=chain)) == "structure"

    def test_a_certificate_with_line_ends_in_its_base64_is_refused(self) -> None:
        leaf, *others = x5c(LEAF, INTERMEDIATE, ROOT)
        assert refused(pki_token(x5c=[leaf[:60] + "\n" + leaf[60:], *others])) == "structure"


class TestRevocation:
    POLICY = POLICY.replace('revocation = "none"', 'revocation = "crl"')

    def test_a_chain_that_is_not_revoked_is_affirmed(self) -> None:
        assert appraise(pki_token(), self.POLICY).status is Status.AFFIRMING

    def test_a_missing_list_is_refused(self) -> None:
        assert refused(pki_token(), self.POLICY, files={}) == "collateral"

    def test_a_revoked_intermediate_is_refused(self) -> None:
        files = {ROOT_CRL: crl(INTERMEDIATE)}
        name = f"revocation of {INTERMEDIATE_NAME}"
        assert refused(pki_token(), self.POLICY, files=files) == name

    def test_an_old_list_is_refused(self) -> None:
        files = {ROOT_CRL: crl(issued=NOW - 31 * DAY)}
        assert refused(pki_token(), self.POLICY, files=files) == f"age of {ROOT_CRL}"

    def test_last_weeks_list_fetched_again_does_not_hide_what_is_revoked_since(self) -> None:
        # Google's list comes over plain HTTP: anybody on the way can answer with an old one.
        held = Collateral(
            [
                CollateralFile(name=ROOT_CRL, data=crl(INTERMEDIATE), fetched=NOW - DAY),
                CollateralFile(name=ROOT_CRL, data=crl(issued=NOW - 9 * DAY), fetched=NOW - 60),
            ]
        )
        name = f"revocation of {INTERMEDIATE_NAME}"
        assert refused(pki_token(), self.POLICY, collateral=held) == name

    def test_a_list_by_another_is_refused(self) -> None:
        files = {ROOT_CRL: crl(key="evil")}
        assert refused(pki_token(), self.POLICY, files=files) == f"signature of {ROOT_CRL}"

    def test_what_is_no_list_is_refused(self) -> None:
        files = {ROOT_CRL: b"no list"}
        assert refused(pki_token(), self.POLICY, files=files) == f"structure of {ROOT_CRL}"


class TestKeySet:
    def test_a_missing_set_is_refused(self) -> None:
        assert refused(oidc_token(), files={}) == "collateral"

    def test_an_old_set_is_refused(self) -> None:
        old = from_mapping(bundle(), NOW - 31 * DAY)
        assert refused(oidc_token(), collateral=old) == f"age of {JWKS}"

    def test_a_set_from_the_future_is_refused(self) -> None:
        late = from_mapping(bundle(), NOW + 1)
        assert refused(oidc_token(), collateral=late) == f"age of {JWKS}"

    def test_a_later_set_does_not_hide_the_one_of_that_time(self) -> None:
        both = Collateral(
            [
                CollateralFile(name=JWKS, data=bundle()[JWKS], fetched=NOW - DAY),
                CollateralFile(name=JWKS, data=jwks(), fetched=NOW + DAY),
            ]
        )
        assert appraise(oidc_token(), collateral=both).status is Status.AFFIRMING

    def test_a_key_that_was_withdrawn_is_refused(self) -> None:
        both = Collateral(
            [
                CollateralFile(name=JWKS, data=bundle()[JWKS], fetched=NOW - 2 * DAY),
                CollateralFile(name=JWKS, data=jwks(), fetched=NOW - DAY),
            ]
        )
        assert refused(oidc_token(), collateral=both) == "signing key"

    def test_an_unknown_kid_is_refused(self) -> None:
        assert refused(oidc_token(kid="key-9")) == "signing key"

    def test_a_kid_that_is_there_twice_is_refused(self) -> None:
        twice = jwks(jwk(rsa_key("oidc"), "key-1"), jwk(rsa_key("other"), "key-1"))
        assert refused(oidc_token(), files={JWKS: twice}) == "signing key"

    def test_a_token_by_another_key_of_the_set_is_refused(self) -> None:
        assert refused(oidc_token(kid="key-0")) == "signature"

    @pytest.mark.parametrize(
        "change",
        [
            {"kty": "EC"},
            {"e": "Aw"},
            {"n": "AQAB"},
            {"n": "AQ=="},
            {"n": None},
            {"e": "A"},
            {"kty": 3},
        ],
    )
    def test_a_key_that_is_none_is_refused(self, change: dict[str, Any]) -> None:
        files = {JWKS: jwks({**jwk(rsa_key("oidc"), "key-1"), **change})}
        assert refused(oidc_token(), files=files) == f"structure of {JWKS}"

    @pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[1]}'])
    def test_what_is_no_set_is_refused(self, data: bytes) -> None:
        assert refused(oidc_token(), files={JWKS: data}) == f"structure of {JWKS}"


class TestEncoding:
    def test_an_unsigned_token_is_refused(self) -> None:
        header = json.dumps({"alg": "none", "typ": "JWT", "kid": "key-1"}).encode()
        token = f"{encode(header)}.{encode(json.dumps(CLAIMS).encode())}.".encode()
        assert refused(token) == "signature algorithm"

    def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(self) -> None:
        token = jwt.encode(
            CLAIMS, b"public key, taken for a secret: 32 bytes", "HS256", headers={"kid": "key-1"}
        )
        assert refused(token.encode()) == "signature algorithm"

    @pytest.mark.parametrize("algorithm", ["RS384", "PS256", "rs256", "", None, ["RS256"]])
    def test_another_algorithm_is_refused(self, algorithm: object) -> None:
        header = json.dumps({"alg": algorithm, "kid": "key-1"}).encode()
        token = sign_raw(header, json.dumps(CLAIMS).encode(), rsa_key("oidc"))
        assert refused(token) == "signature algorithm"

    @pytest.mark.parametrize(
        "more",
        [{"crit": ["exp"]}, {"crit": []}, {"b64": True}, {"zip": "DEF"}, {"typ": "at+jwt"}],
    )
    def test_a_header_that_asks_for_more_is_refused(self, more: dict[str, Any]) -> None:
        header = json.dumps({"alg": "RS256", "kid": "key-1", **more}).encode()
        token = sign_raw(header, json.dumps(CLAIMS).encode(), rsa_key("oidc"))
        assert refused(token) == "token header"

    @pytest.mark.parametrize(
        "odd",
        [
            b"",
            b"[]",
            b"null",
            b"{",
            b'{"exp":1,"exp":2}',
            b'{"a":{"exp":1,"exp":2}}',
            b'{"exp":NaN}',
            b'{"exp":Infinity}',
            b'{"exp":"\\ud800"}',
            b'{"exp":' + b"9" * 5000 + b"}",
            b'{"exp":' + b"[" * 20000 + b"]" * 20000 + b"}",
            b"\xff\xfe{}",
            b"\xef\xbb\xbf{}",
            b"{} ,",
        ],
    )
    def test_claims_that_are_not_strict_json_are_refused(self, odd: bytes) -> None:
        header = b'{"alg":"RS256","kid":"key-1"}'
        assert refused(sign_raw(header, odd, rsa_key("oidc"))) == "structure"
        assert refused(sign_raw(odd, json.dumps(CLAIMS).encode(), rsa_key("oidc"))) == "structure"

    def test_any_other_spelling_of_the_same_token_is_refused(self) -> None:
        token = pki_token()
        header, payload, signature = token.split(b".")
        for odd in (
            token + b"\n",
            b" " + token,
            token + b"=",
            token + b"==",
            token + b".",
            header + b"=." + payload + b"." + signature,
            header + b".." + payload + b"." + signature,
            token.replace(b"_", b"/"),
            token[:-1] + b"\xff",
            b"",
            b".",
            b"..",
            b"A.A.A",
            token[: 1 << 12] + b"A" * (1 << 16),
        ):
            if odd != token:
                assert refused(odd) == "structure"

    def test_the_bits_after_the_signatures_end_are_no_free_choice(self) -> None:
        """256 bytes leave 4 bits of the last character without a meaning."""
        token = pki_token()
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        last = alphabet.index(token[-1])
        for bits in range(1, 16):
            odd = token[:-1] + alphabet[last ^ bits : (last ^ bits) + 1]
            assert refused(odd) == "structure"

    def test_no_token_with_a_changed_byte_is_affirmed(self) -> None:
        token = pki_token()
        for place in [*range(0, len(token), 61), *range(len(token) - 4, len(token))]:
            for change in (1, 0x20, 0x80):
                odd = bytearray(token)
                odd[place] ^= change
                assert refused(bytes(odd))

    @given(st.binary(max_size=300))
    def test_random_bytes_are_refused_and_nothing_else(self, data: bytes) -> None:
        assert refused(data) == "structure"
        assert FORMAT.recognise(data) is None

    @given(
        st.dictionaries(
            st.sampled_from(sorted(CLAIMS)),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                max_leaves=5,
            ),
            min_size=1,
        )
    )
    def test_signed_claims_of_any_shape_are_accepted_or_refused_and_raise_nothing_else(
        self, changes: dict[str, Any]
    ) -> None:
        payload = json.dumps({**CLAIMS, **changes}).encode()
        header = b'{"alg":"RS256","kid":"key-1"}'
        with contextlib.suppress(EvidenceRefused):
            appraise(sign_raw(header, payload, rsa_key("oidc")))


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
