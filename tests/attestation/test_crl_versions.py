"""Dates and numbers of vendors' revocation lists, and dates of OCSP answers.

What is damaged here nobody signs anew: it must be refused for its form, before its signature is
looked at, and never end in another error.
"""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import Collateral, CollateralFile
from fedenclave.attestation.crl import check_revocation, parse_crl
from fedenclave.attestation.crl_versions import dated_crl, need_crl
from fedenclave.attestation.result import EvidenceRefused
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation import fake_intel, fake_nvidia
from tests.attestation import snp_federation as amd
from tests.attestation.gpu_appraisal import refused_by
from tests.attestation.intel_appraisal import BOUND, INTEL, TDX, first_failure

AMD_LIST = "amd/milan/vcek.crl"
YEAR_0, GOOD = b"00000101000000Z", b"20260101000000Z"


def children(der: bytes) -> list[bytes]:
    """Return the encodings of what is in a SEQUENCE."""
    found, at = [], 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    while at < len(der):
        size, head = der[at + 1], 2
        if size & 0x80:
            head += size & 0x7F
            size = int.from_bytes(der[at + 2 : at + head], "big")
        found.append(der[at : at + head + size])
        at += head + size
    return found


def redated(der: bytes, *dates: bytes) -> bytes:
    """Return a list with other dates: this update and, if it is given, the next."""
    tbs, *signature = children(der)
    fields = children(tbs)
    at = next(n for n, field in enumerate(fields) if field[0] in (0x17, 0x18))
    fields[at : at + 2] = [fake_intel.tlv(0x18, date) for date in dates]
    body = fake_intel.tlv(0x30, b"".join(fields))
    return fake_intel.tlv(0x30, b"".join((body, *signature)))


@pytest.mark.parametrize("dates", [(YEAR_0, GOOD), (GOOD, YEAR_0)])
def test_a_list_of_the_year_zero_is_malformed(dates: tuple[bytes, bytes]) -> None:
    good = amd.EVERY_CRL[AMD_LIST]
    assert parse_crl(redated(good, GOOD, GOOD), "list").next_update_utc is not None
    with pytest.raises(MalformedMessage, match="not a revocation list"):
        parse_crl(redated(good, *dates), "list")
    bundle = amd.EVERY_CRL | {AMD_LIST: redated(good, *dates)}
    assert amd.refused(amd.evidence(), bundle=bundle) == f"structure of {AMD_LIST}"
    for name in ("intel/root-ca-crl.der", "intel/pck-crl-platform.der"):
        damaged = {name: redated(INTEL.collateral("TDX")[name], *dates)}
        quote = INTEL.td_quote(report_data=BOUND)
        assert first_failure(TDX, quote, collateral=damaged) == f"structure of {name}"
    lists = fake_nvidia.crl_files()
    for name, data in lists.items():
        if "corim" not in name:
            refused = refused_by(lists | {name: redated(data, *dates)}, "crl")
            assert refused[0] == f"structure of {name}"


def test_an_ocsp_answer_of_the_year_zero_is_malformed() -> None:
    answers = fake_nvidia.ocsp_files(fake_nvidia.device_chain()[1:])
    issued = fake_nvidia.at(fake_nvidia.NOW - 3600).strftime("%Y%m%d%H%M%SZ").encode()
    for name, data in answers.items():
        assert issued in data
        refused = refused_by(answers | {name: data.replace(issued, YEAR_0)})
        assert refused[0] == f"structure of {name}"


def test_a_list_that_promises_no_next_one_would_be_good_for_ever() -> None:
    endless = redated(amd.EVERY_CRL[AMD_LIST], GOOD)
    assert parse_crl(endless, "list").next_update_utc is None
    with pytest.raises(MalformedMessage, match="promises no next update"):
        dated_crl(CollateralFile(name="x", data=endless, fetched=0), "x")
    bundle = amd.EVERY_CRL | {AMD_LIST: endless}
    assert amd.refused(amd.evidence(), bundle=bundle) == f"structure of {AMD_LIST}"


@pytest.mark.parametrize(("allowed", "found"), [(True, ""), (False, "signature of x"), (None, "")])
def test_a_list_by_a_certificate_that_is_not_for_lists_is_refused(
    allowed: bool | None, found: str
) -> None:
    """RFC 5280, section 6.3.3 (f); certificates without key usage may sign anything."""
    key = INTEL.keys["ca"]
    builder = (
        x509.CertificateBuilder()
        .subject_name(fake_intel.named("ca"))
        .issuer_name(fake_intel.named("ca"))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(fake_intel.when(fake_intel.NOW - 60))
        .not_valid_after(fake_intel.when(fake_intel.NOW + 60))
    )
    if allowed is not None:
        builder = builder.add_extension(
            x509.KeyUsage(True, False, False, False, False, True, allowed, False, False),
            critical=True,
        )
    issuer, checklist = builder.sign(key, hashes.SHA256()), Checklist()
    file = CollateralFile(name="x", data=fake_intel.revoke("ca", key), fetched=fake_intel.NOW)
    try:
        check_revocation(
            checklist,
            [],
            dated_crl(file, "x"),
            issuer,
            name="x",
            now=fake_intel.NOW,
            max_age_seconds=2 * fake_intel.DAY,
        )
    except EvidenceRefused as refusal:
        failed = [check.name for check in refusal.checks if not check.holds]
        assert failed == [found]
    else:
        assert not found


def test_of_lists_of_one_second_the_higher_number_counts() -> None:
    def numbered(number: int) -> CollateralFile:
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(fake_intel.named("x"))
            .last_update(fake_intel.when(fake_intel.NOW - 60))
            .next_update(fake_intel.when(fake_intel.NOW + 60))
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        data = builder.sign(INTEL.keys["ca"], hashes.SHA256()).public_bytes(Encoding.DER)
        return CollateralFile(name="x", data=data, fetched=-number)

    versions = [numbered(number) for number in (1, 2, 3)]
    assert need_crl(Checklist(), Collateral(versions), "x", fake_intel.NOW).rank == 3
