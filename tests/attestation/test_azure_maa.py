"""Tokens of a fake Azure Attestation: each thing that is wrong is refused by its name."""

import base64
import contextlib
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.azure.maa import FORMAT, TOKEN
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import Question, read_format_policy
from fedenclave.attestation.result import Appraisal, EvidenceRefused, Status
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.toml_table import parse
from tests.attestation.fake_azure_attestation import (
    BOUND,
    ISSUER,
    JWKS,
    KID,
    OVER_TDX,
    POLICY,
    REPORT_DATA,
    SGX,
    SNP,
    TDX,
    TYPES,
    VM,
    changed,
    key_set,
    token,
)
from tests.attestation.fake_tokens import (
    DAY,
    NOW,
    certificate,
    encode,
    jwk,
    jwks,
    rsa_key,
    sign_raw,
    x5c,
)

TEE = "x-ms-isolation-tee"


def appraise(
    encoded: bytes,
    policy: str = POLICY,
    *,
    now: int = NOW,
    files: Mapping[str, bytes] | None = None,
    fetched: int = NOW - DAY,
    bound: bytes = BOUND,
) -> Appraisal:
    question = Question(
        bound=bound,
        now=now,
        freshness_seconds=600,
        collateral=from_mapping({JWKS: key_set()} if files is None else files, fetched),
        collateral_max_age_seconds=30 * DAY,
    )
    pins = read_format_policy(FORMAT, parse(policy.encode(), "policy"))
    return appraise_parts({TOKEN: encoded}, pins, question)


def refused(encoded: bytes, policy: str = POLICY, **more: Any) -> str:
    """Return the name of the first check that fails."""
    with pytest.raises(EvidenceRefused) as caught:
        appraise(encoded, policy, **more)
    return next(check.name for check in caught.value.checks if not check.holds)


EXCEPTIONS = 'exceptions = ["unattested-guest"]'
GUEST = "unattested-guest"


def excepting(*names: str) -> str:
    assert EXCEPTIONS in POLICY
    return POLICY.replace(EXCEPTIONS, f"exceptions = {json.dumps(names)}")


def bound_by(rule: str, kind: str, policy: str = POLICY) -> str:
    """Return the policy with another binding for tokens of this type."""
    before, mine, after = policy.partition(f"[{kind}]\n")
    return f"{before}{mine}binding = {json.dumps(rule)}\n" + after.split("\n", 1)[1]


@pytest.mark.parametrize("claims", [*TYPES.values(), OVER_TDX])
def test_a_good_token_is_affirmed_or_a_warning_where_no_guest_is_measured(
    claims: dict[str, Any],
) -> None:
    found = appraise(token(claims))
    excepted = [check.name for check in found.checks if check.excepted]
    if claims["x-ms-attestation-type"] == "azurevm":
        assert (found.status, excepted) == (Status.WARNING, ["guest"])
    else:
        assert (found.status, excepted) == (Status.AFFIRMING, [])
    assert found.claims.identifiers["measurement"][0] in json.dumps(claims)
    assert len(found.claims.identifiers["certificate"]) == 1


def test_a_key_that_is_given_by_its_numbers_verifies() -> None:
    found = appraise(token(SGX, key="other", kid="by numbers"))
    assert found.claims.identifiers["certificate"] == ()


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("iss", "https://evil.weu.attest.azure.net", "issuer"),
        ("iss", ISSUER + "/", "issuer"),
        ("iss", ..., "structure"),
        ("exp", NOW, "token validity"),
        ("nbf", NOW + 1, "token validity"),
        ("iat", NOW + 1, "token validity"),
        ("iat", NOW - 601, "token age"),
        ("nbf", ..., "structure"),
        ("x-ms-ver", "2.0", "token version"),
        ("x-ms-attestation-type", "tpm", "attestation type"),
        ("x-ms-attestation-type", ["sgx"], "structure"),
        ("x-ms-policy-hash", "A" * 43, "policy hash"),
        ("x-ms-policy-hash", ..., "structure"),
        ("x-ms-sgx-mrenclave", "e2" * 32, "mrenclave"),
        ("x-ms-sgx-mrenclave", "e1 " * 32, "structure"),
        ("x-ms-sgx-mrenclave", "zz" * 32, "structure"),
        ("x-ms-sgx-mrenclave", ..., "structure"),
        ("x-ms-sgx-mrsigner", "e2" * 32, "mrsigner"),
        ("x-ms-sgx-product-id", 8, "product id"),
        ("x-ms-sgx-product-id", -1, "structure"),
        ("x-ms-sgx-svn", 2, "svn"),
        ("x-ms-sgx-is-debuggable", True, "x-ms-sgx-is-debuggable"),
        ("x-ms-sgx-is-debuggable", ..., "structure"),
        ("x-ms-sgx-report-data", "00" * 64, "report data"),
    ],
)
def test_an_sgx_token_with_a_wrong_claim_is_refused(name: str, value: object, check: str) -> None:
    assert refused(token(changed(SGX, name, to=value))) == check


@pytest.mark.parametrize("claims", [SNP, VM], ids=["sevsnpvm", "azurevm"])
@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("launchmeasurement", "00" * 48, "launch measurement"),
        ("launchmeasurement", "3e" * 47, "structure"),
        ("hostdata", "00" * 32, "host data"),
        ("vmpl", 1, "vmpl"),
        ("is-debuggable", True, "x-ms-sevsnpvm-is-debuggable"),
        ("migration-allowed", True, "x-ms-sevsnpvm-migration-allowed"),
        ("bootloader-svn", 2, "bootloader svn"),
        ("snpfw-svn", 7, "snpfw svn"),
        ("microcode-svn", 114, "microcode svn"),
        ("guestsvn", 3, "guest svn"),
        ("guestsvn", ..., "structure"),
        ("idkeydigest", ..., "structure"),
    ],
)
def test_an_snp_token_with_a_wrong_claim_is_refused(
    claims: dict[str, Any], name: str, value: object, check: str
) -> None:
    path = [f"x-ms-sevsnpvm-{name}"]
    if claims is VM:
        path = [TEE, *path]
    assert refused(token(changed(claims, *path, to=value))) == check


@pytest.mark.parametrize("claims", [TDX, OVER_TDX], ids=["tdxvm", "azurevm"])
@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("tdx_mrtd", "00" * 48, "mrtd"),
        ("tdx_rtmr2", "00" * 48, "rtmr2"),
        ("tdx_rtmr3", ..., "structure"),
        ("tdx_mrconfigid", "01" * 48, "mrconfigid"),
        ("tdx_mrowner", "01" * 48, "mrowner"),
        ("tdx_mrownerconfig", "01" * 48, "mrownerconfig"),
        ("tdx_mrsignerseam", "01" * 48, "mrsignerseam"),
        ("tdx_td_attributes", "0000001000000000", "td attributes"),
        ("tdx_seamsvn", 2, "seamsvn"),
        ("attester_tcb_status", "OutOfDate", "tcb status"),
        ("attester_tcb_status", "Revoked", "tcb status"),
        ("attester_tcb_status", "Fine", "tcb status"),
        ("dbgstat", "enabled", "debug"),
        ("tdx_td_attributes_debug", True, "debug"),
        ("x-ms-compliance-status", "azure-noncompliant-cvm", "compliance"),
        ("x-ms-compliance-status", ..., "compliance"),
    ],
)
def test_a_tdx_token_with_a_wrong_claim_is_refused(
    claims: dict[str, Any], name: str, value: object, check: str
) -> None:
    path = [name] if claims is TDX else [TEE, name]
    assert refused(token(changed(claims, *path, to=value))) == check


@pytest.mark.parametrize(
    ("path", "value", "check"),
    [
        (["secureboot"], False, "secureboot"),
        (["x-ms-azurevm-bootdebug-enabled"], True, "x-ms-azurevm-bootdebug-enabled"),
        (["x-ms-azurevm-debuggersdisabled"], False, "x-ms-azurevm-debuggersdisabled"),
        (["x-ms-azurevm-dbxvalidated"], ..., "structure"),
        (["x-ms-azurevm-ostype"], "Windows", "os type"),
        (["x-ms-azurevm-vmid"], "other", "vm id"),
        ([TEE, "x-ms-attestation-type"], "none", "isolation tee"),
        ([TEE], ..., "structure"),
        (["x-ms-runtime", "client-payload", "nonce"], "QURFMDEwMQ==", "report data"),
        (["x-ms-runtime", "client-payload", "nonce"], BOUND.decode(), "report data"),
        (["x-ms-runtime", "client-payload", "nonce"], "é", "structure"),
        (["x-ms-runtime", "client-payload", "nonce"], "AAA", "structure"),
        (["x-ms-runtime", "client-payload"], ..., "structure"),
        (["x-ms-runtime"], "client-payload", "structure"),
    ],
)
def test_a_vm_token_with_a_wrong_claim_is_refused(
    path: list[str], value: object, check: str
) -> None:
    assert refused(token(changed(VM, *path, to=value))) == check


@pytest.mark.parametrize(
    ("claims", "path", "value", "exception"),
    [
        (SGX, ["x-ms-sgx-is-debuggable"], True, "debug"),
        (SNP, ["x-ms-sevsnpvm-is-debuggable"], True, "debug"),
        (SNP, ["x-ms-sevsnpvm-migration-allowed"], True, "migration"),
        (TDX, ["dbgstat"], "enabled", "debug"),
        (TDX, ["attester_tcb_status"], "SWHardeningNeeded", "tcb-sw-hardening-needed"),
        (TDX, ["attester_tcb_status"], "TDRelaunchAdvised", "td-relaunch-advised"),
        (VM, ["x-ms-azurevm-kerneldebug-enabled"], True, "debug"),
        (VM, ["x-ms-azurevm-testsigning-enabled"], True, "test-signing"),
        (VM, ["x-ms-azurevm-dbvalidated"], False, "boot-keys"),
    ],
)
def test_an_exception_lets_pass_what_it_names_and_warns(
    claims: dict[str, Any], path: list[str], value: object, exception: str
) -> None:
    encoded = token(changed(claims, *path, to=value))
    others = sorted(FORMAT.exceptions - {exception})
    assert refused(encoded, excepting(*others))
    needed = {exception, GUEST} if claims is VM else {exception}
    assert appraise(encoded, excepting(*needed)).status is Status.WARNING


@pytest.mark.parametrize("claims", [SNP, TDX], ids=["sevsnpvm", "tdxvm"])
def test_a_token_that_any_root_of_any_tenant_can_get_by_the_paravisors_user_data_is_refused(
    claims: dict[str, Any],
) -> None:
    # The report data is of the paravisor's runtime data; the attacker has written the binding to
    # the vTPM of a machine of his own. The paravisor's measurement is the pinned one there too.
    kind = str(claims["x-ms-attestation-type"])
    strict = bound_by("user-data", kind, excepting())
    assert refused(token(claims), strict) == "guest"
    lax = appraise(token(claims), bound_by("user-data", kind, excepting(GUEST)))
    assert lax.status is Status.WARNING
    assert [check.excepted for check in lax.checks if check.excepted] == [GUEST]


@pytest.mark.parametrize("claims", [VM, OVER_TDX], ids=["over sevsnpvm", "over tdxvm"])
def test_a_vm_token_that_any_root_of_any_tenant_can_get_needs_its_exception(
    claims: dict[str, Any],
) -> None:
    assert refused(token(claims), excepting()) == "guest"
    assert appraise(token(claims), excepting(GUEST)).status is Status.WARNING


class TestBinding:
    HASHED = hashlib.sha256(BOUND).digest() + bytes(32)

    @pytest.mark.parametrize(
        ("claims", "field"),
        [
            (SGX, "x-ms-sgx-report-data"),
            (SNP, "x-ms-sevsnpvm-reportdata"),
            (TDX, "tdx_report_data"),
        ],
    )
    @pytest.mark.parametrize("rule", ["report-data", "runtime-data", "user-data"])
    def test_each_rule_accepts_its_own_place_alone(
        self, claims: dict[str, Any], field: str, rule: str
    ) -> None:
        if claims is SGX and rule == "user-data":
            with pytest.raises(ConfigurationError):
                appraise(token(SGX), POLICY.replace('"report-data"', '"user-data"', 1))
            return
        policy = bound_by(rule, claims["x-ms-attestation-type"])
        good = {"report-data": BOUND, "runtime-data": self.HASHED, "user-data": bytes(64)}[rule]
        right = changed(claims, field, to=good.hex())
        user_data = BOUND if rule == "user-data" else bytes(64)
        right["x-ms-runtime"] = {"user-data": user_data.hex()}
        wanted = Status.WARNING if rule == "user-data" else Status.AFFIRMING
        assert appraise(token(right), policy).status is wanted
        wrong = changed(right, field, to=bytes(64).hex())
        wrong["x-ms-runtime"] = {"user-data": bytes(64).hex()}
        assert refused(token(wrong), policy) == "report data"
        assert refused(token(right), policy, bound=BOUND[::-1]) == "report data"

    def test_missing_user_data_is_refused(self) -> None:
        claims = changed(TDX, "x-ms-runtime", to={})
        assert refused(token(claims), bound_by("user-data", "tdxvm")) == "structure"

    def test_a_nonce_of_the_request_binds_nothing(self) -> None:
        claims = changed(SGX, "x-ms-sgx-report-data", to="00" * 64)
        claims["nonce"] = BOUND.decode()
        assert refused(token(claims)) == "report data"

    def test_the_binding_is_text_of_64_bytes(self) -> None:
        assert FORMAT.bind(REPORT_DATA) == BOUND
        assert len(BOUND) == 64
        assert BOUND.isalnum()


class TestKeySet:
    def test_a_missing_set_is_refused(self) -> None:
        assert refused(token(SGX), files={}) == "collateral"

    def test_the_set_of_another_issuer_is_not_asked(self) -> None:
        files = {"azure/maa/other.weu.attest.azure.net/jwks.json": key_set()}
        assert refused(token(SGX), files=files) == "collateral"

    def test_an_old_set_is_refused(self) -> None:
        assert refused(token(SGX), fetched=NOW - 31 * DAY) == f"age of {JWKS}"

    def test_an_unknown_kid_is_refused(self) -> None:
        assert refused(token(SGX, kid="other")) == "signing key"

    def test_a_key_by_another_is_refused(self) -> None:
        assert refused(token(SGX, key="evil")) == "signature"

    def test_a_key_in_the_header_is_not_used(self) -> None:
        header = {"alg": "RS256", "kid": KID, "jwk": jwk(rsa_key("evil"), KID)}
        own = certificate("x", rsa_key("evil"), "x", rsa_key("evil"), ca=False)
        header["x5c"] = x5c(own)
        encoded = sign_raw(json.dumps(header).encode(), json.dumps(SGX).encode(), rsa_key("evil"))
        assert refused(encoded) == "signature"

    @pytest.mark.parametrize("dates", [{"last": NOW - 1}, {"first": NOW + 1}])
    def test_a_certificate_that_is_not_valid_is_refused(self, dates: dict[str, int]) -> None:
        files = {JWKS: key_set(**dates)}
        assert refused(token(SGX), files=files) == "signing certificate validity"

    @pytest.mark.parametrize("chain", [[], ["AAAA"], [3], "AAAA", None])
    def test_what_is_no_certificate_is_refused(self, chain: object) -> None:
        files = {JWKS: jwks({"kty": "RSA", "kid": KID, "x5c": chain})}
        assert refused(token(SGX), files=files) == f"structure of {JWKS}"

    def test_a_certificate_of_a_key_with_a_weak_exponent_is_refused(self) -> None:
        weak = rsa.generate_private_key(public_exponent=3, key_size=2048)
        own = certificate("x", weak, "x", weak, ca=False)
        files = {JWKS: jwks({"kty": "RSA", "kid": KID, "x5c": x5c(own)})}
        with pytest.raises(EvidenceRefused, match="exponent 3, want"):
            appraise(token(SGX), files=files)

    def test_numbers_of_another_key_than_the_certificates_are_refused(self) -> None:
        own = certificate("x", rsa_key("maa"), "x", rsa_key("maa"), ca=False)
        files = {JWKS: jwks({**jwk(rsa_key("other"), KID), "x5c": x5c(own)})}
        assert refused(token(SGX), files=files) == f"structure of {JWKS}"


class TestEncoding:
    def test_the_unsigned_token_of_a_draft_policy_is_refused(self) -> None:
        header = json.dumps({"alg": "none", "kid": KID}).encode()
        encoded = f"{encode(header)}.{encode(json.dumps(SGX).encode())}.".encode()
        assert refused(encoded) == "signature algorithm"

    @pytest.mark.parametrize("claims", [SGX, VM], ids=["sgx", "azurevm"])
    def test_no_token_with_a_changed_byte_is_affirmed(self, claims: dict[str, Any]) -> None:
        encoded = token(claims)
        for place in [*range(0, len(encoded), 23), *range(len(encoded) - 4, len(encoded))]:
            for change in (1, 0x20, 0x80):
                odd = bytearray(encoded)
                odd[place] ^= change
                assert refused(bytes(odd))

    @given(st.binary(max_size=300))
    def test_random_bytes_are_refused_and_nothing_else(self, data: bytes) -> None:
        assert refused(data) == "structure"
        assert FORMAT.recognise(data) is None

    @given(st.sampled_from(sorted(TYPES)), st.data())
    def test_signed_claims_of_any_shape_are_refused_and_nothing_else(
        self, kind: str, data: st.DataObject
    ) -> None:
        values = st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        )
        names = st.sampled_from(sorted(TYPES[kind]))
        changes = data.draw(st.dictionaries(names, values, min_size=1))
        payload = json.dumps({**TYPES[kind], **changes}).encode()
        header = json.dumps({"alg": "RS256", "kid": KID}).encode()
        with contextlib.suppress(EvidenceRefused):
            appraise(sign_raw(header, payload, rsa_key("maa")))


class TestPolicy:
    def test_the_template_reads(self) -> None:
        top = parse(FORMAT.template.encode(), "template")
        read_format_policy(FORMAT, top.take_table("attestation").take_table("azure-maa"))

    def test_every_line_is_needed(self) -> None:
        lines = POLICY.splitlines()
        for number, line in enumerate(lines):
            if " = " not in line:
                continue
            with pytest.raises(ConfigurationError):
                appraise(token(SGX), "\n".join(lines[:number] + lines[number + 1 :]))

    def test_a_type_without_a_table_is_refused(self) -> None:
        policy = POLICY.split("[sevsnpvm]")[0]
        assert appraise(token(SGX), policy).status is Status.AFFIRMING
        assert refused(token(SNP), policy) == "attestation type"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (f'issuers = ["{ISSUER}"]', "issuers = []"),
            (f'issuers = ["{ISSUER}"]', f'issuers = ["{ISSUER}/"]'),
            (f'issuers = ["{ISSUER}"]', 'issuers = ["https://a/../b"]'),
            (f'issuers = ["{ISSUER}"]', 'issuers = ["http://a.attest.azure.net"]'),
            (f'issuers = ["{ISSUER}"]', 'issuers = ["https://A.attest.azure.net"]'),
            ("policy_hashes = [", 'policy_hashes = ["short", '),
            ('binding = "report-data"', 'binding = "nonce"'),
            ("product_id = 7", "product_id = 70000"),
            ("vmpl = 0", "vmpl = 4"),
            ("[azurevm.tdxvm]", '[azurevm.tdxvm]\nbinding = "user-data"'),
            (EXCEPTIONS, 'exceptions = ["revoked"]'),
            (EXCEPTIONS, "exceptions = []\n[tpm]"),
        ],
    )
    def test_a_wrong_pin_is_refused(self, old: str, new: str) -> None:
        assert old in POLICY
        with pytest.raises(ConfigurationError):
            appraise(token(SGX), POLICY.replace(old, new))

    @pytest.mark.parametrize(
        "keys",
        [
            ["mrenclaves", "mrsigners"],
            ["launch_measurements", "id_key_digests"],
        ],
    )
    def test_a_policy_that_accepts_any_code_is_refused(self, keys: list[str]) -> None:
        lines = [
            f'{line.split(" = ")[0]} = ["any"]' if line.split(" = ")[0] in keys else line
            for line in POLICY.splitlines()
        ]
        with pytest.raises(ConfigurationError):
            appraise(token(SGX), "\n".join(lines))

    @pytest.mark.parametrize("kind", ["tdxvm", "azurevm.tdxvm"])
    def test_an_rtmr_that_code_of_any_mrtd_can_fill_is_no_pin_by_itself(self, kind: str) -> None:
        before, table, after = POLICY.partition(f"[{kind}]\n")
        assert 'rtmr2 = ["20' in after
        with pytest.raises(ConfigurationError, match="mrtd"):
            appraise(token(SGX), before + table + after.replace("d7" * 48, "any", 1))

    def test_a_policy_without_types_is_refused(self) -> None:
        with pytest.raises(ConfigurationError):
            appraise(token(SGX), POLICY.split("[sgx]")[0])

    def test_a_vm_without_a_tee_is_refused(self) -> None:
        with pytest.raises(ConfigurationError):
            appraise(token(SGX), POLICY.split("[azurevm.sevsnpvm]")[0])

    def test_threads_of_one_core_are_refused_where_the_policy_says_so(self) -> None:
        policy = POLICY.replace("smt = true", "smt = false")
        assert refused(token(SNP), policy) == "x-ms-sevsnpvm-smt-allowed"


def test_a_file_with_a_token_or_the_services_answer_is_recognised() -> None:
    encoded = token(SGX)
    assert FORMAT.recognise(encoded + b"\n") == {TOKEN: encoded}
    assert FORMAT.recognise(json.dumps({"token": encoded.decode()}).encode()) == {TOKEN: encoded}
    assert FORMAT.recognise(b"{}") is None
    assert FORMAT.recognise(token(changed(SGX, "x-ms-attestation-type", to=...))) is None


def test_inspection_shows_what_was_not_checked() -> None:
    assert FORMAT.inspect({TOKEN: token(VM, key="evil")})["claims"] == VM
    with pytest.raises(MalformedMessage):
        FORMAT.inspect({TOKEN: b"no token"})


def test_the_payloads_nonce_is_base64() -> None:
    nonce = VM["x-ms-runtime"]["client-payload"]["nonce"]
    assert base64.b64decode(nonce) == BOUND
