"""The chain in an SGX or TDX quote: to Intel's root, and of the platform that it is about.

Told with TDX quotes of version 4, and with SGX quotes where those differ.
"""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.result import Status
from fedenclave.attestation.roots import pinned
from tests.attestation import fake_intel as fake
from tests.attestation.fake_intel import NOW, PLATFORM, FakeIntel, pem, revoke
from tests.attestation.intel_appraisal import BOUND, INTEL, TDX, first_failure, judge, td


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


def test_a_platform_key_on_another_curve_is_refused() -> None:
    by = vendor()
    by.keys["leaf"] = ec.generate_private_key(ec.SECP384R1())
    by.certify_leaf()
    signed = fake.sign(INTEL.keys["leaf"], b"")
    quote = by.td_quote(report_data=BOUND, quoted={"qe_signature": signed})
    assert first_failure(TDX, quote) == "qe report signature"
