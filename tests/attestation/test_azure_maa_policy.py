"""What a policy for Azure Attestation must pin, and what it must not leave open."""

import pytest

from fedenclave.attestation.azure.maa import FORMAT
from fedenclave.attestation.format import read_format_policy
from fedenclave.attestation.result import Status
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.toml_table import parse
from tests.attestation.azure_maa_appraisal import EXCEPTIONS, appraise, refused
from tests.attestation.fake_azure_attestation import (
    ISSUER,
    POLICY,
    SGX,
    SNP,
    token,
)


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
