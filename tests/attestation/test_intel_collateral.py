"""Intel's collateral for SGX and TDX: who signed it, when it holds, and how it is written.

Told with TDX quotes of version 4, and with SGX quotes where those differ.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509

from fedenclave.attestation.collateral import Collateral, CollateralFile, from_mapping
from fedenclave.attestation.intel.bundle import issuer_name
from fedenclave.attestation.intel.signed_json import parse_signed_json
from fedenclave.attestation.intel.tcb_info import read_qe_identity, read_tcb_info
from fedenclave.attestation.result import EvidenceRefused, Status
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation import fake_intel as fake
from tests.attestation.fake_intel import (
    DAY,
    NOW,
    PLATFORM,
    ROOT,
    FakeIntel,
    level,
    module,
    pem,
    qe_identity,
    revoke,
    svn_level,
    tcb_info,
)
from tests.attestation.intel_appraisal import (
    INTEL,
    PCK_CRL,
    QE_IDENTITY,
    ROOT_CRL,
    TCB_INFO,
    TDX,
    first_failure,
    judge,
    policy,
    td,
)


@pytest.mark.parametrize(
    "name", [ROOT_CRL, PCK_CRL, TCB_INFO, QE_IDENTITY, *map(issuer_name, (TCB_INFO, QE_IDENTITY))]
)
def test_every_file_of_the_collateral_is_needed(name: str) -> None:
    files = INTEL.collateral("TDX")
    del files[name]
    assert first_failure(TDX, td(), bundle=from_mapping(files, NOW)) == "collateral"


@pytest.mark.parametrize("name", list(INTEL.collateral("TDX")))
def test_collateral_that_cannot_be_read_is_refused(name: str) -> None:
    assert first_failure(TDX, td(), collateral={name: b"{}"}) == f"structure of {name}"


def test_a_revoked_pck_certificate_is_refused() -> None:
    crl = revoke(PLATFORM, INTEL.keys["ca"], [INTEL.leaf])
    assert first_failure(TDX, td(), collateral={PCK_CRL: crl}) == f"revocation of {fake.LEAF}"


@pytest.mark.parametrize("which", ["ca", "signer", "root"])
def test_a_revoked_certificate_by_the_root_is_refused(which: str) -> None:
    certificate: x509.Certificate = getattr(INTEL, which)
    crl = revoke(ROOT, INTEL.keys["root"], [certificate], days=365)
    assert first_failure(TDX, td(), collateral={ROOT_CRL: crl}).startswith("revocation of Intel")


@pytest.mark.parametrize(
    ("name", "crl"),
    [
        (PCK_CRL, revoke(PLATFORM, INTEL.keys["root"])),
        (PCK_CRL, revoke(fake.PROCESSOR, INTEL.keys["ca"])),
        (ROOT_CRL, revoke(ROOT, INTEL.keys["ca"])),
    ],
)
def test_a_revocation_list_by_another_is_refused(name: str, crl: bytes) -> None:
    assert first_failure(TDX, td(), collateral={name: crl}) == f"signature of {name}"


def stale(name: str, issued: int) -> bytes:
    """The file `name`, issued then; a list of the PCK CA promises the next after 300 days."""
    if name == PCK_CRL:
        return revoke(PLATFORM, INTEL.keys["ca"], issued=issued, days=300)
    if name == ROOT_CRL:
        return revoke(ROOT, INTEL.keys["root"], issued=issued, days=365)
    said = {"issueDate": fake.stamp(issued), "nextUpdate": fake.stamp(issued + 300 * DAY)}
    if name == TCB_INFO:
        return INTEL.sign_document("tcbInfo", tcb_info("TDX", **said))
    return INTEL.sign_document("enclaveIdentity", qe_identity("TDX", **said))


@pytest.mark.parametrize("name", [PCK_CRL, TCB_INFO, QE_IDENTITY])
@pytest.mark.parametrize("days", [41, 301, -1], ids=["older than the policy", "past", "future"])
def test_collateral_that_is_not_current_is_refused(name: str, days: int) -> None:
    files = {name: stale(name, NOW - days * DAY)}
    assert first_failure(TDX, td(), collateral=files) == f"age of {name}"


def test_the_roots_list_is_judged_by_its_next_update_alone() -> None:
    files = {ROOT_CRL: stale(ROOT_CRL, NOW - 300 * DAY)}
    assert judge(TDX, td(), collateral=files).status is Status.AFFIRMING
    files = {ROOT_CRL: stale(ROOT_CRL, NOW - 366 * DAY)}
    assert first_failure(TDX, td(), collateral=files) == f"age of {ROOT_CRL}"


def test_the_newest_version_that_is_valid_at_the_time_is_taken() -> None:
    earlier = NOW - 100 * DAY
    files = []
    for fetched in (earlier, NOW):
        names = (PCK_CRL, TCB_INFO, QE_IDENTITY)
        snapshot = INTEL.collateral("TDX") | {
            ROOT_CRL: stale(ROOT_CRL, earlier - DAY),
            **{name: stale(name, fetched - DAY) for name in names},
        }
        files += [
            CollateralFile(name=name, data=data, fetched=fetched) for name, data in snapshot.items()
        ]
    bundle = Collateral(files)
    assert judge(TDX, td(), bundle=bundle).status is Status.AFFIRMING
    assert judge(TDX, td(), bundle=bundle, now=earlier).status is Status.AFFIRMING
    assert first_failure(TDX, td(), bundle=bundle, now=earlier - 2 * DAY).startswith("age of ")


def test_a_document_that_tcb_signing_did_not_sign_is_refused() -> None:
    other = INTEL.collateral("TDX", by="leaf")
    for name in (TCB_INFO, QE_IDENTITY):
        assert first_failure(TDX, td(), collateral={name: other[name]}) == f"signature of {name}"


def test_a_document_may_be_written_with_white_space() -> None:
    pretty = json.dumps(json.loads(INTEL.collateral("TDX")[TCB_INFO]), indent=2).encode()
    files = INTEL.collateral("TDX") | {TCB_INFO: pretty}
    # The signature is over the document without white space, and that is what json says again.
    assert judge(TDX, td(), bundle=from_mapping(files, NOW)).status is Status.AFFIRMING


def test_a_platforms_own_certificate_cannot_sign_collateral() -> None:
    files = INTEL.collateral("TDX", by="leaf")
    for name in (TCB_INFO, QE_IDENTITY):
        files[issuer_name(name)] = pem(INTEL.leaf, INTEL.ca, INTEL.root)
    refused = first_failure(TDX, td(), bundle=from_mapping(files, NOW))
    assert refused == "tcb signing certificate"


def test_a_tcb_signing_chain_by_another_root_is_refused() -> None:
    other = FakeIntel()
    files = {issuer_name(TCB_INFO): pem(other.signer, other.root)}
    assert first_failure(TDX, td(), collateral=files) == "tcb signing chain"


@pytest.mark.parametrize("said", [{"fmspc": "00" * 6}, {"pceId": "0001"}])
def test_tcb_info_for_another_platform_is_refused(said: dict) -> None:
    assert first_failure(TDX, td(), collateral={"tcb_info": said}) == "tcb info platform"


@pytest.mark.parametrize(
    "said",
    [
        {"version": 2},
        {"version": True},
        {"id": "SGX"},
        {"tcbType": 1},
        {"issueDate": "yesterday"},
        {"issueDate": "2025-13-01T00:00:00Z"},
        {"nextUpdate": None},
        {"tcbEvaluationDataNumber": 1.5},
        {"tcbEvaluationDataNumber": -1},
        {"fmspc": "b0c06f00000"},
        {"tcbLevels": [level("Splendid")]},
        {"tcbLevels": [level("TDRelaunchAdvised")]},
        {"tcbLevels": [level(sgx=bytes(15))]},
        {"tcbLevels": [level(tdx=bytes(17))]},
        {"tcbLevels": [level(pce_svn=2**16)]},
        {"tdxModuleIdentities": [module([svn_level(4, "ConfigurationNeeded")])]},
        {"tdxModuleIdentities": [module([svn_level(4)])] * 2},
        {"tdxModuleIdentities": [module([svn_level(4)], id="TDX_00")]},
        {"tdxModuleIdentities": [module([svn_level(4)], id="TDX_zz")]},
        {"tdxModuleIdentities": [module([svn_level(4)], tcbLevels=[])]},
    ],
    ids=str,
)
def test_tcb_info_of_an_unknown_form_is_refused(said: dict) -> None:
    assert first_failure(TDX, td(), collateral={"tcb_info": said}) == f"structure of {TCB_INFO}"


@pytest.mark.parametrize(
    "said",
    [
        {"version": 4},
        {"id": "QE"},
        {"tcbLevels": []},
        {"tcbLevels": [svn_level(4, "SWHardeningNeeded")]},
        {"mrsigner": "00"},
    ],
    ids=str,
)
def test_an_identity_of_an_unknown_form_is_refused(said: dict) -> None:
    refused = first_failure(TDX, td(), collateral={"qe_identity": said})
    assert refused == f"structure of {QE_IDENTITY}"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"tcbInfo":{},"signature":"00","tcbInfo":{}}',
        b'{"tcbInfo":{"version":' + b"9" * 5000 + b'},"signature":""}',
        b'{"tcbInfo":[],"signature":""}',
        b'{"tcbInfo":{"version":"\\ud800"},"signature":"' + b"00" * 64 + b'"}',
    ],
    ids=range(8),
)
def test_a_document_that_is_no_strict_json_is_malformed(text: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_tcb_info(parse_signed_json(text, "tcbInfo", "it"), "TDX")


# Open Enclave's broken identities: what one of them lacks is what it is refused for.

NEGATIVES = Path(__file__).parents[3] / "shared/evidence/sgx/openenclave/collateral-negative"


@pytest.mark.skipif(not NEGATIVES.is_dir(), reason="../shared/evidence is absent")
def test_each_broken_identity_of_open_enclave_is_malformed() -> None:
    def read(path: Path) -> object:
        return read_qe_identity(
            parse_signed_json(path.read_bytes(), "enclaveIdentity", "it"), "SGX"
        )

    assert read(NEGATIVES / "qe_identity_ok.json")
    assert read(NEGATIVES / "qe_identity_with_advisoryids.json")
    broken = sorted(NEGATIVES.glob("qe_identity_missing_*.json"))
    assert len(broken) == 17
    for path in broken:
        with pytest.raises(MalformedMessage):
            read(path)


def test_a_refusal_says_what_was_found_and_wanted() -> None:
    with pytest.raises(EvidenceRefused, match="platform is 0001") as caught:
        judge(TDX, td(), pins=policy(TDX, platforms=["ff" * 16]))
    assert "ff" * 16 in caught.value.message
