"""Azure confidential VMs, made up: the HCL report and its runtime data, and recordings of them."""

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from fedenclave.attestation.result import Status
from tests.attestation.azure_vm_appraisal import (
    JSON_OF_SNP,
    SNP,
    TDX,
    appraise,
    policy_table,
    refused,
)
from tests.attestation.fake_azure import (
    FORMAT,
    MACHINE,
    PCRS,
    hcl_report,
    runtime_claims,
    runtime_hash,
    snp_parts,
    vtpm_parts,
)
from tests.attestation.fake_tokens import jwk, rsa_key


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
