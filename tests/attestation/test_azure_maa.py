"""Claims of a fake Azure Attestation: each thing that is wrong is refused by its name."""

import json
from typing import Any

import pytest

from fedenclave.attestation.azure.maa import FORMAT
from fedenclave.attestation.result import Status
from tests.attestation.azure_maa_appraisal import GUEST, appraise, excepting, refused
from tests.attestation.fake_azure_attestation import (
    BOUND,
    ISSUER,
    OVER_TDX,
    SGX,
    SNP,
    TDX,
    TYPES,
    VM,
    changed,
    token,
)
from tests.attestation.fake_tokens import (
    NOW,
)

TEE = "x-ms-isolation-tee"


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
