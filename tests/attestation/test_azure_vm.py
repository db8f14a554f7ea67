"""Azure confidential VMs, made up: what is affirmed, what is pinned, and bytes of any kind.

The other test_azure_vm_*.py are about the virtual TPM, the report that names its key, and the
hardware below.
"""

import contextlib
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.azure import confidential_vm
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import Question, read_format_policy
from fedenclave.attestation.result import EvidenceRefused, Status
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.toml_table import Table
from tests.attestation import fake_amd
from tests.attestation.azure_vm_appraisal import (
    BUNDLE,
    DAY,
    SNP,
    TDX,
    appraise,
    policy_table,
    refused,
)
from tests.attestation.fake_azure import (
    BOUND,
    FORMAT,
    MEASUREMENT,
    PCRS,
    VM_ID,
    runtime_claims,
    signature,
    snp_parts,
    tdx_parts,
    vtpm_parts,
)


def test_a_good_snp_machine_is_affirmed() -> None:
    found = appraise(SNP)
    assert found.status is Status.AFFIRMING
    assert found.claims.identifiers["measurement"] == (MEASUREMENT.hex(), "aa" * 48)
    assert found.claims.identifiers["vm-id"] == (VM_ID,)
    assert found.claims.identifiers["chip-id"] == (fake_amd.CHIP.hex(),)
    assert len(found.claims.identifiers["certificate"]) == 3
    assert found.claims.levels["milan.snp"] == 24


def test_a_good_tdx_machine_is_a_warning_because_of_azures_attributes() -> None:
    found = appraise(TDX)
    assert found.status is Status.WARNING
    assert [check.name for check in found.checks if check.excepted] == ["sept ve disable"]
    assert found.claims.identifiers["measurement"][:2] == (MEASUREMENT.hex(), "44" * 48)


def test_a_tdx_machine_whose_quote_has_the_newer_report_is_taken() -> None:
    assert appraise(tdx_parts(version=5)).status is Status.WARNING


def test_a_vcek_may_lie_in_the_bundle() -> None:
    parts = {name: data for name, data in SNP.items() if name != "certificates"}
    assert appraise(parts).status is Status.AFFIRMING
    assert refused(parts, bundle={}) == "certificates"


class TestMachine:
    def test_another_vm_is_refused(self) -> None:
        assert refused(SNP, table=policy_table(vm_ids=["other"])) == "vm id"
        assert appraise(SNP, table=policy_table(vm_ids=["any"])).status is Status.AFFIRMING

    @pytest.mark.parametrize("flag", ["secure-boot", "tpm-enabled", "tpm-persisted"])
    def test_a_flag_with_another_value_is_refused(self, flag: str) -> None:
        claims = runtime_claims()
        claims["vm-configuration"][flag] = False
        assert refused(snp_parts(claims)) == f"vm-configuration {flag}"

    def test_a_flag_that_the_policy_does_not_know_is_refused(self) -> None:
        claims = runtime_claims()
        claims["vm-configuration"]["new-flag"] = False
        assert refused(snp_parts(claims)) == "vm-configuration new-flag"

    def test_a_flag_that_is_missing_is_refused(self) -> None:
        claims = runtime_claims()
        del claims["vm-configuration"]["console-enabled"]
        assert refused(snp_parts(claims)) == "vm-configuration console-enabled"


class TestBytes:
    @pytest.mark.parametrize(
        ("good", "part", "step"),
        [
            (SNP, "hcl-report", 13),
            (SNP, "tpm-quote", 3),
            (SNP, "tpm-signature", 13),
            (SNP, "tpm-pcrs", 5),
            (SNP, "certificates", 29),
            (TDX, "hcl-report", 13),
            (TDX, "td-quote", 97),
        ],
    )
    def test_no_evidence_with_a_changed_byte_is_affirmed(
        self, good: dict[str, bytes], part: str, step: int
    ) -> None:
        for number, place in enumerate(range(0, len(good[part]), step)):
            odd = bytearray(good[part])
            odd[place] ^= 1 << number % 8
            assert refused({**good, part: bytes(odd)})

    @pytest.mark.parametrize("part", sorted({*SNP, *TDX}))
    @given(data=st.binary(max_size=200))
    def test_random_bytes_are_refused_and_nothing_else(self, part: str, data: bytes) -> None:
        good = SNP if part in SNP else TDX
        assert refused({**good, part: data})
        assert FORMAT.recognise(data) is None

    @given(cut=st.integers(0, 2600), part=st.sampled_from(sorted(TDX)))
    def test_evidence_that_is_cut_is_refused_and_nothing_else(self, cut: int, part: str) -> None:
        with contextlib.suppress(EvidenceRefused):
            # A report's zeros, and a quote's, may be cut without harm.
            assert appraise({**TDX, part: TDX[part][:cut]}).status is Status.WARNING


class TestPolicy:
    def test_the_template_reads(self) -> None:
        table = tomllib.loads(FORMAT.template)["attestation"]["azure-vm"]
        read_format_policy(FORMAT, Table(table, "policy"))

    @pytest.mark.parametrize(
        "key",
        ["hcl_version", "vm_ids", "measurements", "exceptions", "pcrs", "vm-configuration"],
    )
    def test_every_key_is_needed(self, key: str) -> None:
        with pytest.raises(ConfigurationError):
            appraise(SNP, table=policy_table(**{key: ...}))

    @pytest.mark.parametrize(
        "changes",
        [
            {"hcl_version": 3},
            {"vm_ids": []},
            {"measurements": []},
            {"measurements": ["00"]},
            {"measurements": ["none"], "pcrs": {"4": ["any"]}},
            # What software alone can bring about pins nothing, a measurement in PCR 11 or not.
            {"pcrs": {"4": ["any"], "7": ["any"]}},
            {"pcrs": {"8": ["00" * 32], "9": ["00" * 32], "11": ["00" * 32]}},
            {"pcrs__16": ["00" * 32]},
            {"pcrs__23": ["00" * 32]},
            {"pcrs": {}},
            {"pcrs": {"24": ["any"]}},
            {"pcrs": {"x": ["any"]}},
            {"pcrs": {"04": ["any"]}},
            {"vm-configuration": {}},
            {"vm-configuration": {"secure-boot": True}},
            {"vm-configuration__console-enabled": ...},
            {"vm-configuration__tpm-enabled": ...},
            {"vm-configuration__secure-boot": ...},
            {"vm-configuration__secure-boot": "yes"},
            {"vm-configuration__secure-boot": 1},
            {"exceptions": ["all"]},
            {"_SNP__more": 1},
            {"tdx__exceptions": []},
            {"tdx__rtmr1": ["events"], "tdx__events": ["rtmr1:" + "00" * 48]},
            {"_SNP": ..., "tdx": ...},
            {"more": 1},
        ],
    )
    def test_a_wrong_pin_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError):
            appraise(SNP, table=policy_table(**changes))


def test_inspection_shows_what_was_not_checked() -> None:
    shown = FORMAT.inspect({**SNP, **vtpm_parts(key="evil")})
    assert shown["vm-id"] == VM_ID
    assert shown["measurement"] == "aa" * 48
    assert shown["pcrs"] == {str(index): value.hex() for index, value in PCRS.items()}
    assert FORMAT.inspect(TDX)["mrtd"] == "44" * 48
    with pytest.raises(MalformedMessage):
        FORMAT.inspect({**SNP, "hcl-report": b""})


def test_the_shipped_format_pins_the_vendors() -> None:
    policy = read_format_policy(confidential_vm.FORMAT, Table(policy_table(), "policy"))
    question = Question(
        bound=BOUND,
        now=fake_amd.NOW,
        freshness_seconds=600,
        collateral=from_mapping(BUNDLE, fake_amd.NOW),
        collateral_max_age_seconds=DAY,
    )
    with pytest.raises(EvidenceRefused) as caught:
        appraise_parts(SNP, policy, question)
    assert caught.value.checks[-1].name in ("certificates", "vcek chain")


def test_a_signature_of_the_fake_is_bare_bytes() -> None:
    assert len(signature(SNP["tpm-quote"])) == 256
