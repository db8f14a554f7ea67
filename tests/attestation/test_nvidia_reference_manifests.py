"""NVIDIA's reference manifests: who signed them, what they are for, what they say of a report."""

import importlib

import pytest

from fedenclave.attestation.nvidia import opaque, rim
from fedenclave.attestation.nvidia.format import CERTIFICATES, REPORT
from fedenclave.attestation.result import Status
from tests.attestation import fake_nvidia as fake
from tests.attestation.fake_nvidia import DAY, GPU_OPAQUE, NOW
from tests.attestation.gpu_appraisal import (
    ANY,
    POLICY,
    STRICT,
    appraise,
    everything,
    question,
    refusal,
)


def refused_manifest(text: str = STRICT, **changes: bytes | None) -> tuple[str, str]:
    """Return what is refused when the named manifests of the bundle are others, or none."""
    files: dict[str, bytes | None] = {**everything()}
    for name, data in changes.items():
        files[{"driver": fake.DRIVER_RIM, "vbios": fake.VBIOS_RIM}[name]] = data
    kept = {name: data for name, data in files.items() if data is not None}
    return refusal(text=text, asked=question(kept))


def test_a_policy_that_leaves_manifests_out_must_say_so_twice() -> None:
    text = POLICY.replace('["gpu-reference-manifests-not-compared"]', "[]")
    assert refusal(text=text) == ("measurements", "not compared, as the policy says")


def test_a_missing_manifest_is_refused() -> None:
    assert refused_manifest(driver=None) == ("collateral", "missing")
    assert refused_manifest(vbios=None) == ("collateral", "missing")


def test_a_policy_that_requires_manifests_is_refused_where_nothing_verifies_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(rim.importlib, "import_module", missing)
    name, found = refused_manifest()
    assert (name, "not installed" in found) == ("reference manifests", True)
    assert importlib.import_module is missing  # and nothing else was imported


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (b"<", "not xml"),
        (b"", "not xml"),
        (b"\xff\xfe<", "not xml"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "not xml"),
        (b"<a/>", "no swid tag"),
        (b" " * (rim.MAX_SIZE + 1), "want at most"),
        (fake.rim_xml("", product="GH100", version=fake.DRIVER), "not one signature"),
        (
            fake.rim_xml(
                "",
                product="GH100",
                version=fake.DRIVER,
                head='<!DOCTYPE SoftwareIdentity [<!ENTITY a "b">]>',
            ),
            "document type",
        ),
    ],
)
def test_what_is_no_manifest_is_refused(document: bytes, found: str) -> None:
    name, actual = refused_manifest(driver=document)
    assert name == f"structure of {fake.DRIVER_RIM}"
    assert found in actual


def test_a_manifest_with_attributes_by_the_thousand_is_refused_before_they_are_sorted() -> None:
    """To bring 88,000 attributes into canonical order took ten seconds, for every device."""
    good, place = fake.driver_rim(), b"<ns0:Meta"
    for number in (rim.MAX_ATTRIBUTES + 1, 88_000):
        attributes = b" ".join(b'a%x="1"' % n for n in range(number))
        crowded = good.replace(place, b"<q " + attributes + b"/>" + place, 1)
        assert len(crowded) < rim.MAX_SIZE
        name, found = refused_manifest(driver=crowded)
        assert "more than 80 attributes" in found
        assert name == f"structure of {fake.DRIVER_RIM}"


def test_a_reference_value_may_have_all_the_alternatives_that_there_are() -> None:
    values = fake.golden(fake.DRIVER_INDEXES[1:]) + fake.resource(
        20, [*(bytes(48) for _ in range(63)), fake.MEASUREMENTS[21]]
    )
    crowded = fake.sign_rim(fake.rim_xml(values, product="GH100", version=fake.DRIVER))
    asked = question({**everything(), fake.DRIVER_RIM: crowded})
    assert appraise(text=STRICT, asked=asked).status is Status.AFFIRMING


def test_a_changed_manifest_is_refused() -> None:
    good = fake.driver_rim()
    for old, new in (
        (b'index="20"', b'index="41"'),
        (b'active="True"', b'active="False"'),
        (b"15" * 48, b"16" * 48),
    ):
        assert old in good
        name, _ = refused_manifest(driver=good.replace(old, new, 1))
        assert name == f"signature of {fake.DRIVER_RIM}"


def test_a_manifest_whose_signature_is_not_over_all_of_it_is_refused() -> None:
    good = fake.driver_rim()
    for old, new in (
        (b'URI=""', b'URI="#x"'),
        (b"<ds:Transform Algorithm", b"<ds:Other Algorithm"),
    ):
        name, _ = refused_manifest(driver=good.replace(old, new, 1))
        assert name == f"structure of {fake.DRIVER_RIM}"
    # A second signature, and one that is wrapped into another element.
    head, tail = good.index(b"<ds:Signature"), good.index(b"</SoftwareIdentity>")
    signature = good[head:tail]
    for body in (signature * 2, b"<ns0:x>" + signature + b"</ns0:x>"):
        name, _ = refused_manifest(driver=good[:head] + body + good[tail:])
        assert name == f"structure of {fake.DRIVER_RIM}"


def test_a_manifest_whose_certificates_cannot_be_read_is_refused() -> None:
    good, tag = fake.driver_rim(), b"<ds:X509Certificate>"
    assert tag in good
    for changed, found in (
        (good.replace(tag, tag + b"!", 1), "not base64"),
        (good.replace(tag, tag + b"AAAA", 1), "certificate"),
        (good.replace(b"ds:X509Data", b"ds:Other"), "has 0 certificates"),
    ):
        name, actual = refused_manifest(driver=changed)
        assert name == f"structure of {fake.DRIVER_RIM}"
        assert found in actual


def test_a_manifest_by_a_weaker_algorithm_is_refused() -> None:
    document = fake.rim_xml("", product="GH100", version=fake.DRIVER)
    weak = fake.sign_rim(document, algorithm="ECDSA_SHA256")
    assert refused_manifest(driver=weak)[0] == f"signature of {fake.DRIVER_RIM}"


def test_a_manifest_by_an_unknown_signer_is_refused() -> None:
    document = fake.rim_xml("", product="GH100", version=fake.DRIVER)
    stranger = fake.certificate("stranger", "stranger")
    foreign = fake.sign_rim(document, chain=[stranger], signer="stranger")
    assert refused_manifest(driver=foreign)[0] == f"signer of {fake.DRIVER_RIM}"
    rooted = fake.sign_rim(document, chain=[fake.RIM_ROOT], signer=fake.RIM_ROOT_NAME)
    assert refused_manifest(driver=rooted)[0] == f"structure of {fake.DRIVER_RIM}"


def test_a_manifest_whose_signer_has_expired_is_refused() -> None:
    document = fake.rim_xml("", product="GH100", version=fake.DRIVER)
    chain = fake.rim_chain(last=fake.at(NOW - DAY))
    old = fake.sign_rim(document, chain=chain)
    assert refused_manifest(driver=old)[0] == f"signer of {fake.DRIVER_RIM} validity"


def test_a_manifest_of_another_driver_or_chip_is_refused() -> None:
    name, found = refused_manifest(driver=fake.driver_rim("550.54.15"))
    assert name == f"subject of NV_GPU_DRIVER_GH100_{fake.DRIVER}"
    assert found == "GH100 550.54.15"
    other = fake.sign_rim(fake.rim_xml("", product="GB100", version=fake.DRIVER))
    assert refused_manifest(driver=other)[1] == f"GB100 {fake.DRIVER}"


@pytest.mark.parametrize(
    ("resources", "found"),
    [
        (fake.resource(254, [bytes(48)]), "a kind that is unknown"),
        (fake.resource(1, [bytes(48)]).replace('"Measurement"', '"Opaque"'), "kind"),
        (fake.resource(1, [bytes(48)]).replace("Resource", "Other"), "kind"),
        (fake.resource(1, [bytes(48)], attributes=' minSvn="1"'), "cannot use"),
        (fake.resource(1, [bytes(47)]), "cannot use"),
        (fake.resource(1, [bytes(48)]).replace('"48"', '"32"'), "cannot use"),
        (fake.resource(1, [bytes(48)]).replace('"True"', '"true"'), "cannot use"),
        (fake.resource(1, [bytes(48)]).replace('alternatives="1"', 'alternatives="2"'), "cannot"),
        (fake.resource(1, [bytes(48)] * 2).replace('alternatives="2"', 'alternatives="1"'), "cann"),
        (fake.resource(1, []), "without alternatives"),
        (fake.resource(1, [bytes(48)]) * 2, "reference value 1 twice"),
    ],
)
def test_reference_values_that_are_not_understood_are_refused(resources: str, found: str) -> None:
    document = fake.rim_xml(resources, product="GH100", version=fake.DRIVER)
    name, actual = refused_manifest(driver=fake.sign_rim(document))
    assert name == f"structure of {fake.DRIVER_RIM}"
    assert found in actual


def test_an_index_that_two_manifests_claim_is_refused() -> None:
    document = fake.rim_xml(fake.golden([0]), product="GH100", version=fake.DRIVER)
    name, found = refused_manifest(driver=fake.sign_rim(document))
    assert (name, found) == ("measurements", "two reference manifests have a value for index 0")


def test_a_measurement_that_is_no_alternative_is_refused() -> None:
    wrong = {**fake.MEASUREMENTS, 8: bytes(47) + b"\1", 40: b"\2" * 48}
    asked = question(everything())
    name, found = refusal(fake.parts(measurements=wrong), STRICT, asked)
    assert name == "measurements"
    assert found == "38 of 40 match; not index 7, 39"


def test_a_measurement_that_is_missing_is_refused() -> None:
    fewer = {index: value for index, value in fake.MEASUREMENTS.items() if index != 30}
    name, found = refusal(fake.parts(measurements=fewer), STRICT, question(everything()))
    assert (name, "not index 29" in found) == ("measurements", True)


def test_the_decoders_measurement_counts_only_while_the_decoder_is_on() -> None:
    wrong = {**fake.MEASUREMENTS, 36: b"\6" * 48}
    files = {**everything(), fake.DRIVER_RIM: _rim_with(35, b"\7" * 48)}
    name, found = refusal(fake.parts(measurements=wrong), STRICT, question(files))
    assert (name, "not index 35" in found) == ("measurements", True)
    off = fake.parts(measurements=wrong, fields={**GPU_OPAQUE, opaque.NVDEC0: b"\x55"})
    assert appraise(off, STRICT, question(files)).status is Status.AFFIRMING


def _rim_with(index: int, value: bytes) -> bytes:
    values = fake.golden(fake.DRIVER_INDEXES, {index: value})
    return fake.sign_rim(fake.rim_xml(values, product="GH100", version=fake.DRIVER))


def test_manifests_without_any_value_are_refused() -> None:
    empty = fake.sign_rim(fake.rim_xml("", product="GH100", version=fake.DRIVER))
    bare = fake.sign_rim(fake.rim_xml("", product="GH100", version=fake.VBIOS))
    name, found = refused_manifest(driver=empty, vbios=bare)
    assert (name, found) == ("measurements", "0 of 0 match")


def test_an_nvswitch_is_compared_with_its_own_manifest() -> None:
    parts = {REPORT: fake.switch_report(), CERTIFICATES: fake.pem(fake.device_chain("LS_10"))}
    values = fake.golden(range(10))
    document = fake.rim_xml(values, product="LS10", version="96.10.55.00.01")
    text = ANY.replace('manifests = "none"', 'manifests = "required"')
    result = appraise(parts, text, question({fake.SWITCH_RIM: fake.sign_rim(document)}))
    assert result.status is Status.AFFIRMING
