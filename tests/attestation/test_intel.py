"""What SGX and TDX evidence share: chain, quoting enclave, collateral, TCB status, the library.

Told with TDX quotes of version 4, and with SGX quotes where those differ.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import Collateral, CollateralFile, from_mapping
from fedenclave.attestation.format import Format
from fedenclave.attestation.intel import agreement, dcap, tdx
from fedenclave.attestation.intel.bundle import issuer_name
from fedenclave.attestation.intel.import_collateral import split_collateral
from fedenclave.attestation.intel.signed_json import parse_signed_json
from fedenclave.attestation.intel.tcb_info import read_qe_identity, read_tcb_info
from fedenclave.attestation.intel.tcb_status import converge, relaunch
from fedenclave.attestation.result import EvidenceRefused, Status
from fedenclave.attestation.roots import pinned
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
    BOUND,
    INTEL,
    SGX,
    TDX,
    first_failure,
    judge,
    policy,
    question,
)

ROOT_CRL, PCK_CRL = "intel/root-ca-crl.der", "intel/pck-crl-platform.der"
TCB_INFO = "intel/tdx/tcb-info/b0c06f000000.json"
QE_IDENTITY = "intel/tdx/qe-identity.json"


def td(**quoted: object) -> bytes:
    return INTEL.td_quote(report_data=BOUND, quoted=quoted)


# The chain in the quote


def test_the_pinned_root_is_intels() -> None:
    (root,) = pinned("intel-sgx")
    fingerprint = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"
    assert root.subject == root.issuer
    assert hashlib.sha256(root.public_bytes(Encoding.DER)).hexdigest() == fingerprint


def test_a_quote_by_another_root_is_refused() -> None:
    other = FakeIntel()
    assert first_failure(TDX, other.td_quote(report_data=BOUND)) == "pck chain"


def test_a_chain_that_ends_in_the_pinned_root_but_is_not_signed_by_it_is_refused() -> None:
    other = FakeIntel()
    chain = pem(other.leaf, other.ca, INTEL.root)
    quote = other.td_quote(report_data=BOUND, quoted={"chain": chain})
    assert first_failure(TDX, quote) == "pck chain"


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 6, 7])
def test_a_quote_without_the_pck_chain_in_it_is_refused(kind: int) -> None:
    assert first_failure(TDX, td(certification_type=kind)) == "pck chain"


GOOD = pem(INTEL.leaf, INTEL.ca, INTEL.root)


@pytest.mark.parametrize("text", [GOOD, GOOD + b"\x00", GOOD[:-1], GOOD[:-1] + b"\x00"])
def test_the_chain_may_end_as_quoting_libraries_end_it(text: bytes) -> None:
    assert judge(TDX, td(chain=text)).status is Status.AFFIRMING


@pytest.mark.parametrize(
    "text",
    [
        b"",
        GOOD + b"\n",
        GOOD + b"\x00\x00",
        b"\n" + GOOD,
        b"a comment\n" + GOOD,
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"-----END CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n\n", 1),
        GOOD + pem(INTEL.signer),
        pem(INTEL.leaf, INTEL.ca),
        pem(INTEL.leaf),
        INTEL.leaf.public_bytes(Encoding.DER),
        GOOD[:-40],
    ],
    ids=range(12),
)
def test_a_chain_with_bytes_that_nothing_signs_is_refused(text: bytes) -> None:
    assert first_failure(TDX, td(chain=text)) == "structure"


def vendor(**leaf: object) -> FakeIntel:
    """The fake Intel again, with another PCK certificate."""
    again = FakeIntel(keys=dict(INTEL.keys))
    again.root, again.ca, again.signer = INTEL.root, INTEL.ca, INTEL.signer
    again.certify_leaf(**leaf)
    return again


def quoted_by(by: FakeIntel, **given_: object) -> str:
    return first_failure(TDX, by.td_quote(report_data=BOUND), vendor=by, **given_)


@pytest.mark.parametrize("window", [{"first": NOW + 1}, {"last": NOW - 1}])
def test_a_pck_certificate_that_is_not_valid_at_the_time_is_refused(window: dict) -> None:
    assert quoted_by(vendor(window=window)) == "pck chain validity"


def test_a_certificate_for_something_else_cannot_be_a_pck_certificate() -> None:
    assert quoted_by(vendor(subject="Intel SGX TCB Signing")) == "pck certificate"


@pytest.mark.parametrize(
    "said",
    [{"ppid": bytes(15)}, {"pce_id": bytes(3)}, {"instance": bytes(15)}, {"sgx_type": 3}],
)
def test_a_platform_of_an_unknown_form_is_refused(said: dict) -> None:
    assert quoted_by(vendor(**said)) == "structure"


def test_a_certificate_without_intels_extension_is_refused() -> None:
    again = vendor()
    again.leaf = fake.certify(fake.LEAF, INTEL.keys["leaf"], PLATFORM, INTEL.keys["ca"])
    assert quoted_by(again) == "structure"


def test_a_pck_ca_that_is_neither_processor_nor_platform_is_refused() -> None:
    again = vendor()
    again.certify_ca("Intel SGX PCK Other CA")
    assert quoted_by(again) == "structure"


def test_a_single_package_platform_has_the_processor_cas_list() -> None:
    again = vendor()
    again.certify_ca(fake.PROCESSOR, instance=None)
    name = "intel/pck-crl-processor.der"
    assert quoted_by(again) == "collateral"
    crl = revoke(fake.PROCESSOR, INTEL.keys["ca"])
    result = judge(TDX, again.td_quote(report_data=BOUND), vendor=again, collateral={name: crl})
    assert result.claims.claims["pck-ca"] == "processor"
    assert "platform-instance-id" not in result.claims.identifiers


# The quoting enclave


def test_a_quoting_enclave_that_the_platform_did_not_sign_is_refused() -> None:
    forged = fake.sign(INTEL.keys["attestation"], b"another report")
    assert first_failure(TDX, td(qe_signature=forged)) == "qe report signature"


def test_an_attestation_key_that_the_quoting_enclave_did_not_vouch_for_is_refused() -> None:
    assert first_failure(TDX, td(qe={"report_data": b"\x01" * 64})) == "qe report data"


def test_a_body_that_the_attestation_key_did_not_sign_is_refused() -> None:
    forged = fake.sign(INTEL.keys["leaf"], b"another body")
    assert first_failure(TDX, td(signature=forged)) == "quote signature"


def test_zeros_are_no_signature() -> None:
    assert first_failure(TDX, td(signature=bytes(64))) == "quote signature"


def test_an_attestation_key_that_is_no_point_is_refused() -> None:
    quote = bytearray(td())
    at = 48 + 584 + 4 + 64
    key = bytes(64)
    report = fake.enclave_report(
        flags=0x11,
        mrsigner=fake.QE_SIGNER,
        isv_prod_id=2,
        isv_svn=fake.QE_SVN,
        report_data=hashlib.sha256(key + bytes(range(32))).digest() + bytes(32),
    )
    quote[at : at + 64] = key
    quote[at + 70 : at + 70 + 384] = report
    quote[at + 454 : at + 518] = fake.sign(INTEL.keys["leaf"], report)
    assert first_failure(TDX, bytes(quote)) == "structure"


def test_a_platform_key_on_another_curve_is_refused() -> None:
    by = vendor()
    by.keys["leaf"] = ec.generate_private_key(ec.SECP384R1())
    by.certify_leaf()
    signed = fake.sign(INTEL.keys["leaf"], b"")
    quote = by.td_quote(report_data=BOUND, quoted={"qe_signature": signed})
    assert first_failure(TDX, quote) == "qe report signature"


@pytest.mark.parametrize(
    "qe",
    [
        {"mrsigner": bytes(32)},
        {"isv_prod_id": 1},
        {"flags": 0x13},
        {"misc_select": b"\x01\x00\x00\x00"},
    ],
    ids=["signer", "product", "debug", "misc select"],
)
def test_a_quoting_enclave_that_is_not_intels_is_refused(qe: dict) -> None:
    assert first_failure(TDX, td(qe=qe)) == "qe identity"


def test_a_quoting_enclave_below_every_level_is_refused() -> None:
    assert first_failure(TDX, td(qe={"isv_svn": 3})) == "tcb level"


# The structure of a quote


@pytest.mark.parametrize(
    "change",
    [
        (0, 3, "version"),
        (0, 6, "version"),
        (2, 3, "key type"),
        (4, 0, "tee type"),
        (8, 1, "reserved"),
        (12, 0, "vendor"),
    ],
    ids=lambda change: change[2],
)
def test_a_header_of_another_kind_is_refused(change: tuple[int, int, str]) -> None:
    quote = bytearray(td())
    quote[change[0]] = change[1]
    assert first_failure(TDX, bytes(quote)) == "structure"


def test_a_reserved_field_of_the_quoting_enclaves_report_must_be_zero() -> None:
    assert first_failure(TDX, td(qe={"reserved": b"\x01" + bytes(11)})) == "structure"


def test_zeros_after_a_quote_are_the_rest_of_a_buffer() -> None:
    assert judge(TDX, td(after=bytes(3065))).status is Status.AFFIRMING


@pytest.mark.parametrize("change", [{"after": bytes(9) + b"x"}, {"section_after": b"\x00"}])
def test_anything_else_after_a_quote_or_its_signatures_is_refused(change: dict) -> None:
    assert first_failure(TDX, td(**change)) == "structure"


def test_a_quote_that_ends_early_is_refused() -> None:
    quote = td()
    for size in (0, 1, 47, 48, 431, 632, 636, 800, len(quote) - 1):
        assert first_failure(TDX, quote[:size]) == "structure"


@pytest.mark.parametrize("format_", [SGX, TDX], ids=["sgx", "tdx"])
def test_one_changed_byte_is_never_affirmed(format_: Format) -> None:
    make = INTEL.sgx_quote if format_ is SGX else INTEL.td_quote
    quote = make(report_data=BOUND, quoted={"after": bytes(2)})
    pins = policy(format_)
    bundle = from_mapping(INTEL.collateral(format_.name.upper()), NOW)
    for at in range(len(quote)):
        changed = bytearray(quote)
        changed[at] ^= 1 << at % 8
        assert first_failure(format_, bytes(changed), pins=pins, bundle=bundle), at


@given(data=st.binary(max_size=1200))
def test_whatever_bytes_come_in_there_is_one_error(data: bytes) -> None:
    for format_, start in ((SGX, b"\x03\x00\x02\x00"), (TDX, b"\x04\x00\x02\x00\x81\x00\x00\x00")):
        assert first_failure(format_, data) == "structure"
        assert first_failure(format_, start + data) == "structure"


# The collateral


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


# The TCB's status


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


# The library


def test_every_difference_to_the_librarys_claims_is_found() -> None:
    bundle = from_mapping(INTEL.collateral("TDX"), NOW)
    verified = tdx.verify_td_quote(Checklist(), td(), question(bundle), INTEL.root)
    arguments = verified.endorsements.arguments
    root = INTEL.root.public_bytes(Encoding.DER)
    claims = dcap.verify_by_library(verified.quote.raw, arguments, NOW, root)
    assert agreement.differences(claims, verified) == []
    for found, changed in (
        ("status", {"tcb": claims["tcb"] | {"status": "OutOfDate"}}),
        ("advisories", {"tcb": claims["tcb"] | {"advisory_ids": ["INTEL-SA-00615"]}}),
        ("evaluation number", {"tcb": claims["tcb"] | {"eval_data_number": 18}}),
        ("report data", {"report": {"TD10": claims["report"]["TD10"] | {"report_data": ""}}}),
        ("measurement", {"report": {"TD10": claims["report"]["TD10"] | {"mr_td": ""}}}),
        ("form of its claims", {"report": {}}),
        ("form of its claims", {"tcb": None}),
    ):
        assert agreement.differences({**claims, **changed}, verified) == [found]


def test_authentication_data_of_a_length_that_the_library_does_not_know_is_refused() -> None:
    assert first_failure(TDX, td(auth_data=b"")) == "dcap-qvl"


def test_a_panic_of_the_library_is_a_refusal() -> None:
    panic = type("PanicException", (BaseException,), {})

    def panics() -> None:
        raise panic

    with pytest.raises(dcap.LibraryRefused):
        dcap._guarded(panics)


def test_an_interrupt_is_not_taken_for_a_refusal() -> None:
    def interrupts() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dcap._guarded(interrupts)


@pytest.mark.parametrize("now", [-1, 0, 2**40, 2**70])
def test_a_time_out_of_range_is_a_refusal(now: int) -> None:
    assert first_failure(TDX, td(), now=now)


# Collateral as dcap-qvl keeps it


def one_object(tee: str = "TDX") -> dict[str, str]:
    files = INTEL.collateral(tee)
    found = {"pck_crl_issuer_chain": pem(INTEL.ca, INTEL.root).decode()}
    for key, end, outer in (
        ("tcb_info", "b0c06f000000", "tcbInfo"),
        ("qe_identity", "qe-identity", "enclaveIdentity"),
    ):
        document = next(data for name, data in files.items() if name.endswith(f"{end}.json"))
        chain = next(data for name, data in files.items() if name.endswith(f"{end}.pem"))
        found[key] = json.dumps(json.loads(document)[outer], separators=(",", ":"))
        found[f"{key}_signature"] = json.loads(document)["signature"]
        found[f"{key}_issuer_chain"] = chain.decode()
    return found | {"root_ca_crl": files[ROOT_CRL].hex(), "pck_crl": files[PCK_CRL].hex()}


@pytest.mark.parametrize("tee", ["SGX", "TDX"])
def test_collateral_in_one_object_is_split_into_the_bundles_files(tee: str) -> None:
    assert split_collateral(json.dumps(one_object(tee)).encode()).keys() == (
        INTEL.collateral(tee).keys()
    )


def test_collateral_that_was_split_can_be_judged_with() -> None:
    files = split_collateral(json.dumps(one_object()).encode())
    assert judge(TDX, td(), bundle=from_mapping(files, NOW)).status is Status.AFFIRMING


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tcb_info", "{}"),
        ("tcb_info", "no json"),
        ("tcb_info", json.dumps({"id": "SEV"})),
        ("tcb_info_signature", "zz"),
        ("qe_identity", json.dumps(qe_identity("SGX"))),
        ("pck_crl", "00"),
        ("pck_crl", revoke("Somebody", INTEL.keys["ca"]).hex()),
        ("root_ca_crl", "00"),
        ("tcb_info_issuer_chain", None),
    ],
)
def test_an_object_that_is_no_collateral_is_malformed(key: str, value: object) -> None:
    with pytest.raises(MalformedMessage):
        split_collateral(json.dumps(one_object() | {key: value}).encode())


@given(data=st.binary(max_size=300))
def test_whatever_is_imported_there_is_one_error(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        split_collateral(data)


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
