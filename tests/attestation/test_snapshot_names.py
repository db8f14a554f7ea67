"""A genuine, older file in a snapshot with a newer name must not bring back what is taken back.

Whoever may add a folder to a bundle names it; only the dates that vendors sign may count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import ocsp

from fedenclave.attestation.collateral import Collateral, CollateralFile
from fedenclave.attestation.result import EvidenceRefused, Status
from tests.attestation import fake_amd, fake_intel, fake_nvidia, gpu_appraisal
from tests.attestation import intel_appraisal as intel
from tests.attestation import snp_federation as amd
from tests.attestation.fake_intel import DAY, revoke
from tests.attestation.intel_appraisal import INTEL, TDX

HOUR = 3600


def bundle(
    files: Mapping[str, bytes], name: str, now: int, *versions: tuple[bytes, int]
) -> Collateral:
    """Return `files` an hour old, with the file `name` in the versions given as (data, age)."""
    others = [
        CollateralFile(name=other, data=data, fetched=now - HOUR)
        for other, data in files.items()
        if other != name
    ]
    return Collateral(
        [
            *others,
            *(CollateralFile(name=name, data=data, fetched=now - age) for data, age in versions),
        ]
    )


# --- Intel ---

PCK_CRL, ROOT_CRL = "intel/pck-crl-platform.der", "intel/root-ca-crl.der"
TCB_INFO = "intel/tdx/tcb-info/b0c06f000000.json"
QE_IDENTITY = "intel/tdx/qe-identity.json"


def tcb_info(issued: int, **said: Any) -> bytes:
    body = fake_intel.tcb_info("TDX", **fake_intel.dated(issued) | said)
    return INTEL.sign_document("tcbInfo", body)


def qe_identity(issued: int, **said: Any) -> bytes:
    body = fake_intel.qe_identity("TDX", **fake_intel.dated(issued) | said)
    return INTEL.sign_document("enclaveIdentity", body)


def pck_crl(issued: int, *revoked: x509.Certificate) -> bytes:
    return revoke(fake_intel.PLATFORM, INTEL.keys["ca"], revoked, issued=issued)


def root_crl(issued: int, *revoked: x509.Certificate) -> bytes:
    return revoke(fake_intel.ROOT, INTEL.keys["root"], revoked, issued=issued, days=365)


INTEL_NOW = fake_intel.NOW
RECOVERY = {"tcbLevels": [fake_intel.level("OutOfDate")]}
LAST_MONTH, TODAY = INTEL_NOW - 20 * DAY, INTEL_NOW - HOUR
TAKEN_BACK = [
    (PCK_CRL, pck_crl(LAST_MONTH), pck_crl(TODAY, INTEL.leaf), "revocation of "),
    (ROOT_CRL, root_crl(LAST_MONTH), root_crl(TODAY, INTEL.ca), "revocation of "),
    (TCB_INFO, tcb_info(LAST_MONTH), tcb_info(TODAY, **RECOVERY), "tcb status"),
    (
        QE_IDENTITY,
        qe_identity(LAST_MONTH),
        qe_identity(TODAY, tcbLevels=[fake_intel.svn_level(4, "OutOfDate")]),
        "tcb status",
    ),
]


def first_failure(name: str, *versions: tuple[bytes, int]) -> str:
    held = bundle(INTEL.collateral("TDX"), name, INTEL_NOW, *versions)
    quote = INTEL.td_quote(report_data=intel.BOUND)
    return intel.first_failure(TDX, quote, bundle=held)


@pytest.mark.parametrize(("name", "old", "new", "check"), TAKEN_BACK)
def test_intels_older_word_in_a_newer_snapshot_does_not_count(
    name: str, old: bytes, new: bytes, check: str
) -> None:
    assert not first_failure(name, (old, 0))
    assert first_failure(name, (new, HOUR)).startswith(check)
    assert first_failure(name, (old, 0), (new, HOUR)).startswith(check)
    assert first_failure(name, (old, HOUR), (new, 0)).startswith(check)


def test_of_tcb_info_of_one_second_the_later_evaluation_counts() -> None:
    before = tcb_info(TODAY, tcbEvaluationDataNumber=17)
    after = tcb_info(TODAY, tcbEvaluationDataNumber=18, **RECOVERY)
    assert first_failure(TCB_INFO, (before, 0), (after, HOUR)) == "tcb status"


@pytest.mark.parametrize("name", [PCK_CRL, TCB_INFO, QE_IDENTITY])
def test_a_damaged_version_is_refused_and_not_passed_over(name: str) -> None:
    good = INTEL.collateral("TDX")[name]
    for age in (0, 2 * HOUR):
        assert first_failure(name, (b"{}", age), (good, HOUR)) == f"structure of {name}"


def test_a_forged_newer_list_is_refused_and_not_passed_over() -> None:
    forged = revoke(fake_intel.PLATFORM, INTEL.keys["leaf"], issued=TODAY)
    versions = (forged, 0), (pck_crl(LAST_MONTH), HOUR)
    assert first_failure(PCK_CRL, *versions) == f"signature of {PCK_CRL}"


# --- AMD ---

AMD_NOW, VCEK_CRL, VLEK_CRL = fake_amd.NOW, "amd/milan/vcek.crl", "amd/milan/vlek.crl"
ASK = amd.MACHINE.intermediate


def amd_failure(held: Collateral | Mapping[str, bytes], **asked: Any) -> str:
    try:
        amd.appraise(amd.evidence(), bundle=held, **asked)
    except EvidenceRefused as error:
        return next(check.name for check in error.checks if not check.holds)
    return ""


def amd_bundle(*versions: tuple[bytes, int]) -> Collateral:
    return bundle(amd.EVERY_CRL, VCEK_CRL, AMD_NOW, *versions)


def test_amds_older_list_in_a_newer_snapshot_does_not_count() -> None:
    old, new = amd.MACHINE.crl(days=(-300, 60)), amd.MACHINE.crl(ASK, days=(-1, 360))
    assert not amd_failure(amd_bundle((old, 0)))
    assert amd_failure(amd_bundle((old, 0), (new, HOUR))) == "revocation of SEV-Milan"
    assert amd_failure(amd_bundle((old, HOUR), (new, 0))) == "revocation of SEV-Milan"


def test_an_old_list_that_is_fetched_again_does_not_make_the_newer_one_fresh() -> None:
    old, new = amd.MACHINE.crl(days=(-300, 60)), amd.MACHINE.crl(days=(-100, 260))
    fetch = f"fetch of {VCEK_CRL}"
    assert amd_failure(amd_bundle((old, 0), (new, 41 * DAY))) == fetch
    assert not amd_failure(amd_bundle((old, 0), (new, 39 * DAY)))
    # The same list, fetched again, is fresh.
    assert not amd_failure(amd_bundle((new, 0), (new, 41 * DAY)))


def test_what_amd_has_revoked_stays_revoked() -> None:
    revoking, silent = amd.MACHINE.crl(ASK, days=(-300, -10)), amd.MACHINE.crl(days=(-10, 350))
    assert amd_failure(amd_bundle((silent, 0), (revoking, 200 * DAY))) == "revocation of SEV-Milan"
    # One that was signed only after the time in question does not count yet.
    later = amd.MACHINE.crl(ASK, days=(1, 360))
    assert not amd_failure(amd_bundle((silent, 0), (later, -2 * DAY)))


def test_lists_under_each_others_names_are_both_looked_at() -> None:
    """Both kinds' lists are by the ARK: the one for VLEKs passes for the one for VCEKs."""
    for_vceks, for_vleks = amd.MACHINE.crl(ASK), amd.PROVIDERS.crl(days=(-200, 100))
    exchanged = amd.EVERY_CRL | {VCEK_CRL: for_vleks, VLEK_CRL: for_vceks}
    assert amd_failure(exchanged) == "revocation of SEV-Milan"
    assert not amd_failure(amd.EVERY_CRL | {VCEK_CRL: for_vleks})


def test_every_list_of_the_product_line_must_be_by_its_ark() -> None:
    forged = amd.PROVIDERS.crl(signer="mallory", days=(-200, 100))
    assert amd_failure(amd.EVERY_CRL | {VLEK_CRL: forged}).startswith(f"signature of {VLEK_CRL}")
    assert amd_failure(amd.EVERY_CRL | {VLEK_CRL: b"noise"}) == f"structure of {VLEK_CRL}"


VCEK = f"amd/milan/vcek/{fake_amd.CHIP.hex()}-{fake_amd.TCBS[amd.MILAN].hex()}.der"


@pytest.mark.parametrize("in_order", [True, False])
def test_a_machines_certificate_is_chosen_by_its_dates(in_order: bool) -> None:
    """One that has expired must not hide the one that AMD issued after it."""
    old = fake_amd.Machine(leaf_days=(-300, -10)).der
    new = fake_amd.Machine(leaf_days=(-20, 300)).der
    ages = (2 * HOUR, HOUR) if in_order else (HOUR, 2 * HOUR)
    held = bundle(amd.EVERY_CRL, VCEK, fake_amd.NOW, *zip((old, new), ages, strict=True))
    parts = {"report": amd.MACHINE.report()}
    assert amd.appraise(parts, bundle=held).status is Status.AFFIRMING
    # Judged in the old one's time, for which the new one was not issued yet.
    assert amd.refused(parts, bundle=held, now=fake_amd.NOW - 400 * DAY) == "vcek chain validity"
    past = amd.refused(parts, bundle=held, now=fake_amd.NOW - 100 * DAY)
    assert past != "vcek chain validity"


def test_a_damaged_certificate_of_a_machine_is_the_bundles_fault() -> None:
    good = (amd.MACHINE.der, 2 * HOUR)
    held = bundle(amd.EVERY_CRL, VCEK, fake_amd.NOW, good, (b"noise", HOUR))
    with pytest.raises(EvidenceRefused, match="take that snapshot out of the bundle") as refusal:
        amd.appraise({"report": amd.MACHINE.report()}, bundle=held)
    first = next(check for check in refusal.value.checks if not check.holds)
    assert first.name == f"structure of {VCEK}"


# --- NVIDIA ---

NVIDIA_NOW = fake_nvidia.NOW
_LEAF, BROM, PROVISIONER, FAMILY, _ROOT = fake_nvidia.device_chain()


def nvidia_failure(name: str, source: str, *versions: tuple[bytes, int]) -> str:
    files = {**gpu_appraisal.everything(), **fake_nvidia.crl_files()}
    held = bundle(files, name, NVIDIA_NOW, *versions)
    text = gpu_appraisal.STRICT.replace('"ocsp"', f'"{source}"')
    try:
        result = gpu_appraisal.appraise(text=text, asked=gpu_appraisal.question(collateral=held))
    except EvidenceRefused as error:
        return next(check.name for check in error.checks if not check.holds)
    assert result.status is Status.AFFIRMING
    return ""


def test_nvidias_older_answer_in_a_newer_snapshot_does_not_count() -> None:
    name = f"nvidia/ocsp/{BROM.serial_number:x}.der"
    old = fake_nvidia.ocsp_answer(BROM, PROVISIONER, issued=NVIDIA_NOW - 20 * HOUR)
    new = fake_nvidia.ocsp_answer(
        BROM, PROVISIONER, issued=NVIDIA_NOW - HOUR, status=ocsp.OCSPCertStatus.REVOKED
    )
    assert not nvidia_failure(name, "ocsp", (old, 0))
    for versions in (((old, 0), (new, HOUR)), ((old, HOUR), (new, 0))):
        assert nvidia_failure(name, "ocsp", *versions) == "revocation of GH100 A01 GSP BROM"


def test_nvidias_older_list_in_a_newer_snapshot_does_not_count() -> None:
    name, issuer = "nvidia/crl/l2-gh100.crl", "NVIDIA GH100 Identity"
    old = fake_nvidia.crl(issuer, issued=NVIDIA_NOW - 30 * DAY)
    new = fake_nvidia.crl(issuer, [PROVISIONER.serial_number], issued=NVIDIA_NOW - DAY)
    assert not nvidia_failure(name, "crl", (old, 0))
    for versions in (((old, 0), (new, HOUR)), ((old, HOUR), (new, 0))):
        assert nvidia_failure(name, "crl", *versions) == "revocation of NVIDIA GH100 Provisioner"


def manifest(first: int, last: int, value: bytes = b"") -> bytes:
    """Return the driver's manifest, signed by a signer who is valid from `first` to `last`."""
    changes = {25: value} if value else {}
    values = fake_nvidia.golden(fake_nvidia.DRIVER_INDEXES, changes)
    document = fake_nvidia.rim_xml(values, product="GH100", version=fake_nvidia.DRIVER)
    middle, ca, root = fake_nvidia.rim_chain()[1:]
    leaf = fake_nvidia.certificate(
        "Fake L4 Signer",
        "Fake Reference Value L3",
        ca=False,
        serial=0xA3,
        first=first,
        last=fake_nvidia.at(last),
    )
    return fake_nvidia.sign_rim(document, chain=(leaf, middle, ca, root))


def test_a_manifest_by_nvidias_earlier_signer_in_a_newer_snapshot_does_not_count() -> None:
    name, now = fake_nvidia.DRIVER_RIM, NVIDIA_NOW
    old = manifest(now - 500 * DAY, now + DAY)
    corrected = manifest(now - 10 * DAY, now + 500 * DAY, b"\x01" * 48)
    expired = manifest(now - 500 * DAY, now - DAY)
    assert not nvidia_failure(name, "crl", (old, 0))
    assert nvidia_failure(name, "crl", (old, 0), (corrected, HOUR)) == "measurements"
    # An expired one in a newer snapshot is not taken either: here it would be refused.
    assert not nvidia_failure(name, "crl", (expired, 0), (old, HOUR))
