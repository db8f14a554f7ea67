"""Revocation of NVIDIA's certificates, by OCSP answers and by revocation lists."""

from typing import Any

import pytest
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from fedenclave.attestation.collateral import Collateral, CollateralFile
from fedenclave.attestation.result import EvidenceRefused, Status
from tests.attestation import fake_nvidia as fake
from tests.attestation.fake_nvidia import DAY, NOW
from tests.attestation.gpu_appraisal import (
    POLICY,
    STRICT,
    appraise,
    everything,
    question,
    refusal,
    refused_by,
)

BROM, PROVISIONER = fake.device_chain()[1:3]
BROM_ANSWER = f"nvidia/ocsp/{BROM.serial_number:x}.der"


def answers(**changes: Any) -> dict[str, bytes]:
    """Return a bundle in which the answer about the device's own certificate is changed."""
    return {
        **fake.ocsp_files(fake.device_chain()[1:]),
        BROM_ANSWER: fake.ocsp_answer(BROM, PROVISIONER, **changes),
    }


def test_a_missing_ocsp_answer_is_refused() -> None:
    for name in fake.ocsp_files(fake.device_chain()[1:]):
        files = answers()
        del files[name]
        assert refused_by(files) == ("collateral", "missing")


def test_a_revoked_or_unknown_device_is_refused() -> None:
    revoked = answers(status=ocsp.OCSPCertStatus.REVOKED)
    assert refused_by(revoked) == ("revocation of GH100 A01 GSP BROM", "revoked")
    unknown = answers(status=ocsp.OCSPCertStatus.UNKNOWN)
    assert refused_by(unknown) == ("revocation of GH100 A01 GSP BROM", "unknown")


def test_a_revoked_signer_of_a_manifest_is_refused() -> None:
    leaf, issuer = fake.rim_chain()[:2]
    name = f"nvidia/ocsp/{leaf.serial_number:x}.der"
    answer = fake.ocsp_answer(leaf, issuer, status=ocsp.OCSPCertStatus.REVOKED)
    found = refusal(text=STRICT, asked=question({**everything(), name: answer}))
    assert found == ("revocation of Fake L4 Signer", "revoked")


def test_an_ocsp_answer_about_another_certificate_is_refused() -> None:
    other = fake.ocsp_answer(PROVISIONER, fake.device_chain()[3])
    assert refused_by({**answers(), BROM_ANSWER: other})[0] == f"subject of {BROM_ANSWER}"
    # The same serial number by another issuer.
    twin = fake.certificate("x", "y", serial=BROM.serial_number)
    same = fake.ocsp_answer(twin, fake.certificate("y", "y"))
    assert refused_by({**answers(), BROM_ANSWER: same})[0] == f"subject of {BROM_ANSWER}"


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"responder": "stranger", "issuer_name": "stranger's CA"}, "responder of "),
        ({"responder": "client", "usage": ExtendedKeyUsageOID.CLIENT_AUTH}, "signature of "),
        ({"issued": NOW + 60}, "age of "),
        ({"issued": NOW - 2 * DAY}, "age of "),
    ],
)
def test_an_ocsp_answer_by_another_or_of_another_time_is_refused(
    changes: dict[str, Any], check: str
) -> None:
    assert refused_by(answers(**changes))[0] == check + BROM_ANSWER


def test_an_ocsp_answer_by_the_issuer_itself_is_accepted() -> None:
    text = POLICY.replace('revocation = "none"', 'revocation = "ocsp"')
    files = answers(signer="NVIDIA GH100 Provisioner")
    assert appraise(text=text, asked=question(files)).status is Status.WARNING


def test_what_is_no_ocsp_answer_is_refused() -> None:
    error = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)
    for data in (
        b"",
        b"\x30\x00",
        error.public_bytes(fake.Encoding.DER),
        answers()[BROM_ANSWER][:-1],
    ):
        refused = refused_by({**answers(), BROM_ANSWER: data})
        assert refused[0] == f"structure of {BROM_ANSWER}"


def test_a_changed_ocsp_answer_is_refused() -> None:
    good = answers()[BROM_ANSWER]
    for position in range(0, len(good), 29):
        changed = bytearray(good)
        changed[position] ^= 1 << position % 8
        with pytest.raises(EvidenceRefused):
            appraise(
                text=POLICY.replace('revocation = "none"', 'revocation = "ocsp"'),
                asked=question({**answers(), BROM_ANSWER: bytes(changed)}),
            )


def test_the_version_of_the_time_of_the_question_counts() -> None:
    old, new = answers(issued=NOW - 10 * DAY), answers()
    files = [
        CollateralFile(name=name, data=data, fetched=fetched)
        for fetched, bundle in ((NOW - 10 * DAY + 60, old), (NOW - 60, new))
        for name, data in {**bundle, **_all_at(fetched)}.items()
    ]
    text = POLICY.replace('revocation = "none"', 'revocation = "ocsp"')
    for now in (NOW - 10 * DAY + 3600, NOW):
        asked = question(now=now, collateral=Collateral(files))
        assert appraise(text=text, asked=asked).status is Status.WARNING


def _all_at(fetched: int) -> dict[str, bytes]:
    return fake.ocsp_files(fake.device_chain()[1:], issued=fetched - 60)


def test_revocation_lists_are_checked_where_certificates_name_them() -> None:
    text = STRICT.replace('"ocsp"', '"crl"')
    files = {**fake.manifests(), **fake.crl_files()}
    assert appraise(text=text, asked=question(files)).status is Status.AFFIRMING
    for name in fake.crl_files():
        fewer = {key: data for key, data in files.items() if key != name}
        assert refusal(text=text, asked=question(fewer)) == ("collateral", "missing")
    revoked = fake.crl_files(revoked=[PROVISIONER.serial_number])
    assert refused_by(revoked, "crl") == ("revocation of NVIDIA GH100 Provisioner", "revoked")
    old = fake.crl_files(issued=NOW - 61 * DAY)
    assert refused_by(old, "crl", collateral_max_age_seconds=400 * DAY)[0] == (
        "age of nvidia/crl/l2-gh100.crl"
    )
