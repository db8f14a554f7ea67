"""Azure confidential VMs, made up: the SEV-SNP report and the TDX quote below the virtual TPM."""

from typing import Any

import pytest

from fedenclave.attestation.azure.td_report import without_mac
from fedenclave.attestation.result import Status
from tests.attestation import fake_amd, fake_intel
from tests.attestation.azure_vm_appraisal import (
    JSON_OF_SNP,
    SNP,
    TDX,
    appraise,
    policy_table,
    refused,
)
from tests.attestation.fake_azure import runtime_hash, snp_parts, tdx_parts


class TestSevSnp:
    @pytest.mark.parametrize(
        ("report", "check"),
        [
            ({"measurement": bytes(48)}, "measurement"),
            ({"policy": 0x30000 | 1 << 19}, "debug"),
            ({"policy": 0x30000 | 1 << 18}, "migration agent"),
            ({"vmpl": 1}, "vmpl"),
            ({"current_tcb": bytes(8)}, "current tcb"),
        ],
    )
    def test_a_report_that_the_policy_refuses_is_refused(
        self, report: dict[str, Any], check: str
    ) -> None:
        assert refused(snp_parts(report=report)) == check

    def test_a_debug_guest_needs_its_exception(self) -> None:
        parts = snp_parts(report={"policy": 0x30000 | 1 << 19})
        table = policy_table(exceptions=["debug"])
        assert appraise(parts, table=table).status is Status.WARNING

    def test_a_changed_report_is_refused(self) -> None:
        report = bytearray(SNP["hcl-report"])
        report[32 + 0x90] ^= 1
        assert refused({**SNP, "hcl-report": bytes(report)}) == "report signature"

    def test_another_machines_certificate_is_refused(self) -> None:
        other = fake_amd.Machine(chip_id=bytes(64)).pem()
        assert refused({**SNP, "certificates": other}) == "certificate chip"

    def test_a_missing_revocation_list_is_refused(self) -> None:
        assert refused(SNP, bundle={}) == "collateral"

    def test_a_td_quote_beside_it_is_refused(self) -> None:
        assert refused({**SNP, "td-quote": TDX["td-quote"]}) == "structure"

    def test_it_is_refused_where_only_tdx_is_pinned(self) -> None:
        assert refused(SNP, table=policy_table(_SNP=...)) == "hardware"


class TestTdx:
    @pytest.mark.parametrize(
        ("both", "check"),
        [
            ({"mrtd": bytes(48)}, "mrtd"),
            ({"rtmr1": bytes(48)}, "rtmr1"),
            ({"mrconfigid": b"\1" * 48}, "mrconfigid"),
            ({"xfam": bytes(8)}, "xfam"),
            ({"td_attributes": b"\1" + bytes(7)}, "debug"),
            ({"td_attributes": bytes(3) + b"\x20" + bytes(4)}, "migratable"),
            ({"report_data": bytes(64)}, "runtime data"),
        ],
    )
    def test_a_td_that_the_policy_refuses_is_refused(
        self, both: dict[str, bytes], check: str
    ) -> None:
        assert refused(tdx_parts(structure=both, quoted=both)) == check

    @pytest.mark.parametrize(
        "one_side",
        [
            {"mrtd": bytes(48)},
            {"mrseam": bytes(48)},
            {"rtmr3": b"\1" * 48},
            {"mrowner": b"\1" * 48},
            {"mrownerconfig": b"\1" * 48},
            {"td_attributes": bytes(3) + b"\x10" + bytes(4)},
            {"tee_tcb_svn": bytes(16)},
            {"tee_tcb_svn2": bytes(16)},
            {"mrservicetd": b"\1" * 48},
            {"cpu_svn": bytes(16)},
        ],
    )
    def test_a_tdreport_that_differs_from_the_quote_is_refused(
        self, one_side: dict[str, bytes]
    ) -> None:
        assert refused(tdx_parts(structure=one_side)) == "tdreport"

    def test_a_quote_of_another_td_is_refused(self) -> None:
        assert refused(tdx_parts(quoted={"report_data": bytes(64)})) == "tdreport"
        assert refused(tdx_parts(quoted={"mrtd": bytes(48)})) == "tdreport"

    def test_the_quote_is_verified_before_it_is_compared(self) -> None:
        other = fake_intel.FakeIntel().td_quote(mrtd=bytes(48))
        assert refused({**TDX, "td-quote": other}) == "pck chain"

    def test_a_mac_that_nobody_can_check_must_be_blanked_or_excepted(self) -> None:
        parts = tdx_parts(structure={"mac": b"\x5a" * 32})
        assert refused(parts) == "tdreport mac"
        table = policy_table(exceptions=["sept-ve", "unchecked-mac"])
        assert appraise(parts, table=table).status is Status.WARNING
        blanked = without_mac(parts["hcl-report"], 32)
        assert appraise({**parts, "hcl-report": blanked}).status is Status.WARNING

    def test_a_td_without_septve_disable_needs_its_exception(self) -> None:
        assert refused(TDX, table=policy_table(exceptions=[])) == "sept ve disable"

    def test_missing_collateral_is_refused(self) -> None:
        assert refused(TDX, bundle={}) == "collateral"

    def test_a_quote_that_another_made_is_refused(self) -> None:
        other = fake_intel.FakeIntel().td_quote(
            report_data=runtime_hash(JSON_OF_SNP), td_attributes=bytes(8)
        )
        assert refused({**TDX, "td-quote": other}) == "pck chain"

    def test_a_missing_quote_or_a_needless_certificate_is_refused(self) -> None:
        assert refused({**TDX, "certificates": SNP["certificates"]}) == "structure"
        parts = {name: data for name, data in TDX.items() if name != "td-quote"}
        assert refused(parts) == "structure"

    def test_it_is_refused_where_only_snp_is_pinned(self) -> None:
        assert refused(TDX, table=policy_table(tdx=...)) == "hardware"

    @pytest.mark.parametrize("place", [0, 1, 2, 3, 40, 90, 200, 256, 500, 530, 1000, 1100])
    def test_a_changed_tdreport_is_refused(self, place: int) -> None:
        report = bytearray(TDX["hcl-report"])
        report[32 + place] ^= 0x40
        assert refused({**TDX, "hcl-report": bytes(report)})
