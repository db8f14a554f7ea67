"""The TCB's status, of SGX and TDX platforms: what passes, by which exception, and what never does.

Told with TDX quotes of version 4, and with SGX quotes where those differ.
"""

from __future__ import annotations

import pytest

from fedenclave.attestation.format import Format
from fedenclave.attestation.intel.tcb_status import converge, relaunch
from fedenclave.attestation.result import Status
from tests.attestation import fake_intel as fake
from tests.attestation.fake_intel import level, module, svn_level
from tests.attestation.intel_appraisal import (
    BOUND,
    INTEL,
    SGX,
    TDX,
    first_failure,
    judge,
    policy,
    td,
)


@pytest.mark.parametrize(
    ("status", "exception"),
    [
        ("SWHardeningNeeded", "tcb-sw-hardening-needed"),
        ("ConfigurationNeeded", "tcb-configuration-needed"),
        ("ConfigurationAndSWHardeningNeeded", "tcb-configuration-and-sw-hardening-needed"),
        ("OutOfDate", "tcb-out-of-date"),
        ("OutOfDateConfigurationNeeded", "tcb-out-of-date-configuration-needed"),
    ],
)
@pytest.mark.parametrize("format_", [SGX, TDX], ids=["sgx", "tdx"])
def test_a_platform_that_is_not_up_to_date_needs_that_very_exception(
    format_: Format, status: str, exception: str
) -> None:
    make = INTEL.sgx_quote if format_ is SGX else INTEL.td_quote
    quote = make(report_data=BOUND)
    changes = {"tcb_info": {"tcbLevels": [level(status)]}}
    assert first_failure(format_, quote, collateral=changes) == "tcb status"
    for other in format_.exceptions - {exception}:
        pins = policy(format_, exceptions=[other])
        assert first_failure(format_, quote, collateral=changes, pins=pins) == "tcb status"
    pins = policy(format_, exceptions=[exception])
    assert judge(format_, quote, collateral=changes, pins=pins).status is Status.WARNING


@pytest.mark.parametrize(
    "changes",
    [
        {"tcb_info": {"tcbLevels": [level("Revoked")]}},
        {"qe_identity": {"tcbLevels": [svn_level(4, "Revoked")]}},
        {"tcb_info": {"tdxModuleIdentities": [module([svn_level(4, "Revoked")])]}},
    ],
    ids=["platform", "quoting enclave", "tdx module"],
)
def test_a_revoked_tcb_passes_by_no_exception(changes: dict) -> None:
    pins = policy(TDX, exceptions=sorted(TDX.exceptions))
    assert first_failure(TDX, td(), collateral=changes, pins=pins) == "tcb level"


@pytest.mark.parametrize(
    "needs",
    [
        {"sgx": bytes([6, *fake.CPU_SVN[1:]])},
        {"pce_svn": fake.PCE_SVN + 1},
        {"tdx": bytes([0, 0, 4] + [0] * 13)},
        {"sgx": bytes([*fake.CPU_SVN[:15], 1])},
    ],
    ids=["microcode", "pce", "tdx", "last component"],
)
def test_a_platform_below_every_level_is_refused(needs: dict) -> None:
    changes = {"tcb_info": {"tcbLevels": [level(**needs)]}}
    assert first_failure(TDX, td(), collateral=changes) == "tcb level"


def test_the_highest_level_that_is_reached_counts_however_the_levels_are_sorted() -> None:
    low = level("OutOfDate", sgx=bytes(16), pce_svn=5, tdx=bytes(16))
    for levels in ([level(), low], [low, level()]):
        changes = {"tcb_info": {"tcbLevels": levels}}
        assert judge(TDX, td(), collateral=changes).claims.claims["tcb-status"] == "UpToDate"


@pytest.mark.parametrize(
    "changes",
    [
        {"tcb_info": {"tcbLevels": [level(advisories=["INTEL-SA-00615"])]}},
        {"qe_identity": {"tcbLevels": [svn_level(4, advisories=["INTEL-SA-00615"])]}},
        {
            "tcb_info": {
                "tdxModuleIdentities": [module([svn_level(4, advisories=["INTEL-SA-00615"])])]
            }
        },
    ],
    ids=["platform", "quoting enclave", "tdx module"],
)
def test_an_advisory_that_applies_must_be_listed(changes: dict) -> None:
    assert first_failure(TDX, td(), collateral=changes) == "advisories"
    pins = policy(TDX, advisories=["INTEL-SA-00615"])
    assert judge(TDX, td(), collateral=changes, pins=pins).status is Status.AFFIRMING


def test_an_out_of_date_quoting_enclave_makes_the_platform_out_of_date() -> None:
    changes = {"qe_identity": {"tcbLevels": [svn_level(4, "OutOfDate")]}}
    assert first_failure(TDX, td(), collateral=changes) == "tcb status"


def test_a_quoting_enclave_that_needs_configuration_is_judged_on_its_own() -> None:
    changes = {"qe_identity": {"tcbLevels": [svn_level(4, "ConfigurationNeeded")]}}
    assert first_failure(TDX, td(), collateral=changes) == "qe tcb status"


@pytest.mark.parametrize("document", ["tcb_info", "qe_identity"])
def test_collateral_from_before_a_tcb_recovery_is_refused(document: str) -> None:
    changes = {document: {"tcbEvaluationDataNumber": 16}}
    assert first_failure(TDX, td(), collateral=changes) == "tcb evaluation data number"


@pytest.mark.parametrize("which", [fake.PPID, fake.INSTANCE])
def test_a_machine_is_named_by_either_of_its_ids(which: bytes) -> None:
    pins = policy(TDX, platforms=[which.hex()])
    assert judge(TDX, td(), pins=pins).status is Status.AFFIRMING


def test_a_machine_that_the_policy_does_not_name_is_refused() -> None:
    pins = policy(TDX, platforms=["ff" * 16])
    assert first_failure(TDX, td(), pins=pins) == "platform"


@pytest.mark.parametrize(
    ("platform", "component", "together"),
    [
        ("UpToDate", "UpToDate", "UpToDate"),
        ("UpToDate", "OutOfDate", "OutOfDate"),
        ("SWHardeningNeeded", "OutOfDate", "OutOfDate"),
        ("ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("OutOfDateConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("ConfigurationNeeded", "Revoked", "Revoked"),
        ("SWHardeningNeeded", "ConfigurationNeeded", "SWHardeningNeeded"),
    ],
)
def test_statuses_converge_as_intels_verifier_has_it(
    platform: str, component: str, together: str
) -> None:
    assert converge(platform, component) == together


@pytest.mark.parametrize(
    ("launched", "current", "status"),
    [
        ("UpToDate", "UpToDate", "UpToDate"),
        ("OutOfDate", "UpToDate", "TDRelaunchAdvised"),
        ("OutOfDate", "ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
        (
            "OutOfDateConfigurationNeeded",
            "SWHardeningNeeded",
            "TDRelaunchAdvisedConfigurationNeeded",
        ),
        ("OutOfDate", "OutOfDate", "OutOfDate"),
        ("OutOfDate", "Revoked", "OutOfDate"),
        ("ConfigurationNeeded", "UpToDate", "ConfigurationNeeded"),
    ],
)
def test_a_td_that_was_launched_out_of_date_should_be_launched_again(
    launched: str, current: str, status: str
) -> None:
    assert relaunch(launched, current) == status
