"""Azure confidential VMs, made up: each thing that is wrong is refused by its name."""

import base64
import contextlib
import copy
import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.azure import confidential_vm
from fedenclave.attestation.azure.td_report import without_mac
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.format import Parts, Question, read_format_policy
from fedenclave.attestation.result import Appraisal, EvidenceRefused, Status
from fedenclave.attestation.revocations import Revocations
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.toml_table import Table
from tests.attestation import fake_amd, fake_intel, fake_tpm
from tests.attestation.fake_azure import (
    BOUND,
    FORMAT,
    MACHINE,
    MEASUREMENT,
    PCRS,
    REPORT_DATA,
    VM_ID,
    amd_bundle,
    hcl_report,
    intel_bundle,
    quote,
    runtime_claims,
    runtime_hash,
    signature,
    snp_parts,
    tdx_parts,
    vtpm_parts,
)
from tests.attestation.fake_tokens import jwk, rsa_key
from tests.attestation.second_spelling import revoking

DAY = 24 * 3600
BUNDLE = {**intel_bundle(), **amd_bundle()}
SNP, TDX = snp_parts(), tdx_parts()
JSON_OF_SNP = json.dumps(runtime_claims()).encode()


def policy_table(**changes: Any) -> dict[str, Any]:
    """Return the template's table with the pins that fit, changed; `a__b` is `b` in table `a`."""
    whole: dict[str, Any] = tomllib.loads(FORMAT.template)["attestation"]["azure-vm"]
    table = copy.deepcopy(whole)
    table |= {
        "vm_ids": [VM_ID],
        "measurements": [MEASUREMENT.hex()],
        "exceptions": ["sept-ve"],
        "pcrs": {"4": [PCRS[4].hex()], "7": [PCRS[7].hex()], "11": ["any"]},
        "vm-configuration": {
            "console-enabled": "any",
            "secure-boot": True,
            "tpm-enabled": True,
            "tpm-persisted": True,
        },
    }
    table["sev-snp"] |= {"measurements": ["aa" * 48]}
    table["tdx"] |= {
        "mrtd": ["44" * 48],
        "rtmr0": ["50" * 48],
        "rtmr1": ["51" * 48],
        "rtmr2": ["52" * 48],
        "td_attributes": ["00" * 8],
    }
    for path, value in changes.items():
        *names, last = path.replace("_SNP", "sev-snp").split("__")
        inner = table
        for name in names:
            inner = inner[name]
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    return table


def appraise(
    parts: Parts,
    *,
    table: dict[str, Any] | None = None,
    bundle: Mapping[str, bytes] | None = None,
    bound: bytes = BOUND,
    revocations: Revocations | None = None,
) -> Appraisal:
    # Each fake vendor has a time of its own.
    now = fake_intel.NOW if "td-quote" in parts else fake_amd.NOW
    policy = read_format_policy(FORMAT, Table(table or policy_table(), "policy"))
    question = Question(
        bound=bound,
        now=now,
        freshness_seconds=600,
        collateral=from_mapping(BUNDLE if bundle is None else bundle, now),
        collateral_max_age_seconds=400 * DAY,
    )
    return appraise_parts(parts, policy, question, revocations)


def refused(parts: Parts, **more: Any) -> str:
    """Return the name of the first check that fails."""
    with pytest.raises(EvidenceRefused) as caught:
        appraise(parts, **more)
    return next(check.name for check in caught.value.checks if not check.holds)


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


def quoting(values: dict[int, bytes]) -> dict[str, bytes]:
    """Return the SEV-SNP machine's evidence with a quote of these registers."""
    registers = b"".join(values[index] for index in sorted(values))
    return {**SNP, **vtpm_parts(quote(pcrs=values)), "tpm-pcrs": registers}


class TestVirtualTpm:
    def test_a_signature_may_be_a_tpms_own_structure(self) -> None:
        wrapped = fake_tpm.signature_of(rsa_key("ak"), SNP["tpm-quote"])
        assert appraise({**SNP, "tpm-signature": wrapped}).status is Status.AFFIRMING

    @pytest.mark.parametrize(
        ("scheme", "hash_"), [(fake_tpm.RSAPSS, "sha256"), (fake_tpm.RSASSA, "sha384")]
    )
    def test_another_scheme_or_hash_is_refused(self, scheme: int, hash_: str) -> None:
        other = fake_tpm.signature_of(rsa_key("ak"), SNP["tpm-quote"], scheme=scheme, hash_=hash_)
        assert refused({**SNP, "tpm-signature": other}) == "vtpm signature"

    def test_a_quote_by_another_machines_vtpm_is_refused(self) -> None:
        assert refused({**SNP, **vtpm_parts(key="other")}) == "vtpm signature"

    def test_the_encryption_key_signs_nothing(self) -> None:
        claims = runtime_claims()
        claims["keys"][0], claims["keys"][1] = (
            {**claims["keys"][1], "kid": "HCLAkPub"},
            {**claims["keys"][0], "kid": "HCLEkPub"},
        )
        assert refused(snp_parts(claims)) == "structure"

    def test_a_quote_for_another_nonce_is_refused(self) -> None:
        assert refused(SNP, bound=bytes(32)) == "report data"
        assert refused({**SNP, **vtpm_parts(quote(bound=BOUND + b"\0"))}) == "report data"

    def test_the_binding_fits_into_a_quote(self) -> None:
        assert FORMAT.bind(REPORT_DATA) == BOUND
        assert len(BOUND) == 32

    def test_other_registers_than_the_quoted_ones_are_refused(self) -> None:
        parts = dict(SNP)
        parts["tpm-pcrs"] = parts["tpm-pcrs"][:-1] + b"\0"
        assert refused(parts) == "pcr digest"

    @pytest.mark.parametrize("size", [0, 32, 95, 97, 128])
    def test_registers_of_another_number_are_refused(self, size: int) -> None:
        assert refused({**SNP, "tpm-pcrs": bytes(size)}) == "structure"

    def test_a_quote_over_another_bank_is_refused(self) -> None:
        values = {index: value[:20] for index, value in PCRS.items()}
        other = vtpm_parts(quote(pcrs=values, bank="sha1"))
        assert refused({**SNP, **other, "tpm-pcrs": b"".join(values.values())}) == "structure"

    def test_what_is_no_quote_is_refused(self) -> None:
        certified = fake_tpm.attest(0x8017, fake_tpm.sized(b"\0\x0b" + bytes(32)) * 2, extra=BOUND)
        assert refused({**SNP, **vtpm_parts(certified)}) == "structure"

    @pytest.mark.parametrize("index", [4, 7])
    def test_another_boot_is_refused(self, index: int) -> None:
        values = {**PCRS, index: bytes(32)}
        parts = {**SNP, **vtpm_parts(quote(pcrs=values))}
        parts["tpm-pcrs"] = b"".join(values[i] for i in sorted(values))
        assert refused(parts) == f"pcr {index}"

    def test_a_register_that_is_pinned_must_be_quoted(self) -> None:
        assert refused(SNP, table=policy_table(pcrs__9=["any"])) == "pcr 9"

    @pytest.mark.parametrize("index", [2, 3, 6])
    def test_operator_booting_his_own_where_a_separator_alone_is_pinned_is_refused(
        self, index: int
    ) -> None:
        # Nothing but a separator is in that register of any machine, whatever it boots.
        separator = hashlib.sha256(bytes(32) + hashlib.sha256(bytes(4)).digest()).digest()
        parts = quoting({**PCRS, 4: b"\x66" * 32, index: separator})
        pins = {str(index): [separator.hex()], "4": ["any"]}
        table = policy_table(pcrs=pins)
        assert refused(parts, table=table) == "measured boot"
        del pins["4"]
        assert refused(parts, table=policy_table(pcrs=pins)) == "measured boot"
        excepted = appraise(parts, table=table | {"exceptions": ["unmeasured-boot"]})
        assert excepted.status is Status.WARNING
        assert [check.name for check in excepted.checks if check.excepted] == ["measured boot"]

    @pytest.mark.parametrize("index", [4, 7])
    def test_a_machine_whose_firmware_measures_nothing_is_refused(self, index: int) -> None:
        table = policy_table(**{f"pcrs__{index}": ["00" * 32]})
        assert refused(quoting({**PCRS, index: bytes(32)}), table=table) == "measured boot"

    def test_other_code_in_pcr_11_is_refused(self) -> None:
        assert refused(SNP, table=policy_table(measurements=["00" * 32])) == "measurement"

    def test_code_may_be_pinned_by_registers_alone(self) -> None:
        found = appraise(SNP, table=policy_table(measurements=["none"]))
        pinned = hashlib.sha256(PCRS[4] + PCRS[7]).hexdigest()
        assert found.claims.identifiers["measurement"][0] == pinned

    @pytest.mark.parametrize("added", [{16: b"\x16" * 32}, {23: bytes(32)}, {11: b"\x99" * 32}])
    def test_a_revoked_measurement_stays_revoked_whatever_else_the_operator_has_quoted(
        self, added: dict[int, bytes]
    ) -> None:
        pinned = {index: PCRS[index] for index in (4, 7)}
        pins = {str(index): [value.hex()] for index, value in pinned.items()}
        table = policy_table(measurements=["none"], pcrs=pins)
        reported = appraise(quoting(pinned), table=table).claims.identifiers["measurement"][0]
        parts = quoting(pinned | added)
        assert appraise(parts, table=table).status is Status.AFFIRMING
        listed = revoking("azure-vm", "measurement", reported)
        assert refused(parts, table=table, revocations=listed) == "revoked measurement"


class TestHclReport:
    def good(self) -> bytes:
        return MACHINE.report(report_data=runtime_hash(JSON_OF_SNP))

    @pytest.mark.parametrize(
        "layout",
        [
            {"version": 3},
            {"request": 1},
            {"status": 1},
            {"reserved": bytes(11) + b"\1"},
            {"kind": 3},
            {"hash_type": 0},
            {"hash_type": 4},
            {"runtime_version": 2},
            {"size": 5},
            {"claims_size": 5},
            {"claims_size": 1 << 31},
            {"total": 5},
            {"tail": bytes(99) + b"\1"},
            {"tail": bytes(17 << 10)},
        ],
    )
    def test_a_header_that_is_not_known_is_refused(self, layout: dict[str, Any]) -> None:
        report = hcl_report(self.good(), JSON_OF_SNP, **layout)
        assert refused({**SNP, "hcl-report": report}) == "structure"

    def test_a_header_of_the_other_version_is_refused(self) -> None:
        parts = snp_parts(version=1)
        assert refused(parts) == "hcl version"
        assert appraise(parts, table=policy_table(hcl_version=1)).status is Status.AFFIRMING

    @pytest.mark.parametrize(("number", "name"), [(2, "sha384"), (3, "sha512")])
    def test_longer_hashes_are_known(self, number: int, name: str) -> None:
        report = {"report_data": runtime_hash(JSON_OF_SNP, name)}
        assert appraise(snp_parts(report=report, hash_type=number)).status is Status.AFFIRMING
        assert refused(snp_parts(hash_type=number)) == "runtime data"

    def test_an_nv_index_may_be_cut_or_longer(self) -> None:
        for tail in (b"", bytes(5000)):
            report = hcl_report(self.good(), JSON_OF_SNP, tail=tail)
            assert appraise({**SNP, "hcl-report": report}).status is Status.AFFIRMING

    def test_runtime_data_that_the_hardware_does_not_vouch_for_is_refused(self) -> None:
        evil = runtime_claims()
        evil["keys"][0]["n"] = jwk(rsa_key("evil"), "x")["n"]
        report = hcl_report(self.good(), json.dumps(evil).encode())
        parts = {**SNP, "hcl-report": report, **vtpm_parts(key="evil")}
        assert refused(parts) == "runtime data"

    def test_report_data_with_something_after_the_hash_is_refused(self) -> None:
        odd = {"report_data": runtime_hash(JSON_OF_SNP)[:32] + bytes(31) + b"\1"}
        assert refused(snp_parts(report=odd)) == "runtime data"

    @pytest.mark.parametrize(
        "changes",
        [
            {"keys": ...},
            {"keys": []},
            {"keys": [runtime_claims()["keys"][0]] * 2},
            {"keys": [{**runtime_claims()["keys"][0], "key_ops": ["sign", "encrypt"]}]},
            {"keys": [{**runtime_claims()["keys"][0], "kty": "EC"}]},
            {"keys": [{**runtime_claims()["keys"][0], "e": "Aw"}]},
            {"keys": [{**runtime_claims()["keys"][0], "n": "AQAB"}]},
            {"vm-configuration": ...},
            {"vm-configuration": {}},
            {"user-data": "00"},
        ],
    )
    def test_runtime_data_of_another_shape_is_refused(self, changes: dict[str, Any]) -> None:
        assert refused(snp_parts(runtime_claims(**changes))) == "structure"

    def test_runtime_data_without_user_data_is_taken(self) -> None:
        parts = snp_parts(runtime_claims(**{"user-data": ...}))
        assert appraise(parts).claims.claims["user-data"] == "00" * 64


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


def _numbers(data: bytes) -> object:
    return list(data)


def _hex(data: bytes) -> object:
    return data.hex()


def _base64(data: bytes) -> object:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TestRecordings:
    def recording(
        self, parts: Mapping[str, bytes], encoded: Callable[[bytes], object], old: bool
    ) -> dict[str, Any]:
        registers = [encoded(PCRS.get(index, b"\xee" * 32)) for index in range(24)]
        said: dict[str, Any] = {
            "quote" if old else "tpm_quote": {
                "message": encoded(parts["tpm-quote"]),
                "signature": encoded(parts["tpm-signature"]),
                "pcrs": registers,
            },
            "report" if old else "hcl_report": encoded(parts["hcl-report"]),
        }
        if "certificates" in parts:
            said["vcek"] = parts["certificates"].decode()
        if "td-quote" in parts:
            said["td_quote"] = encoded(parts["td-quote"])
        return said

    @pytest.mark.parametrize("encoded", [_numbers, _hex, _base64])
    @pytest.mark.parametrize("parts", [SNP, TDX])
    @pytest.mark.parametrize("old", [False, True])
    def test_every_version_of_the_json_is_recognised(
        self, parts: Mapping[str, bytes], encoded: Callable[[bytes], object], old: bool
    ) -> None:
        said = json.dumps(self.recording(parts, encoded, old)).encode()
        assert FORMAT.recognise(said) == parts

    def test_a_report_alone_is_recognised(self) -> None:
        report = SNP["hcl-report"]
        assert FORMAT.recognise(report) == {"hcl-report": report}
        assert FORMAT.recognise(report[:100]) is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"hcl_report": "!"},
            {"hcl_report": [256]},
            {"hcl_report": 5},
            {"tpm_quote": []},
            {"tpm_quote": {"message": "00", "signature": "00", "pcrs": []}},
            {"vcek": "no certificate at all!"},
        ],
    )
    def test_json_of_another_kind_is_not_recognised(self, changes: dict[str, Any]) -> None:
        said = {**self.recording(SNP, _hex, False), **changes}
        assert FORMAT.recognise(json.dumps(said).encode()) is None


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
