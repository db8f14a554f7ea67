"""NVIDIA GPUs of a fake NVIDIA: each thing that is wrong is refused by its name."""

import base64
import importlib
import json
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.collateral import Collateral, CollateralFile, from_mapping
from fedenclave.attestation.format import Question, read_format_policy
from fedenclave.attestation.nvidia import format as nvidia
from fedenclave.attestation.nvidia import gpu, opaque, policy, rim
from fedenclave.attestation.nvidia.dice import COMPOSITE_DEVICE_ID, TCB_INFO
from fedenclave.attestation.nvidia.format import CERTIFICATES, REPORT
from fedenclave.attestation.nvidia.policy import read_gpu_policy
from fedenclave.attestation.result import Appraisal, Claims, EvidenceRefused, Status
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.toml_table import parse
from tests.attestation import fake_nvidia as fake
from tests.attestation.fake_nvidia import DAY, FORMAT, GPU_OPAQUE, NONCE, NOW, REPORT_DATA

POLICY = """
architectures = ["hopper"]
modes = ["single-gpu"]
minimum_driver = "580.95.05"
drivers = ["any"]
vbios = ["any"]
device_ids = ["any"]
reference_manifests = "none"
revocation = "none"
exceptions = ["gpu-reference-manifests-not-compared"]
"""
STRICT = (
    POLICY.replace('manifests = "none"', 'manifests = "required"')
    .replace('revocation = "none"', 'revocation = "ocsp"')
    .replace('["gpu-reference-manifests-not-compared"]', "[]")
)
ANY = (
    POLICY.replace('["hopper"]', '["hopper", "blackwell", "ls10"]')
    .replace('["single-gpu"]', '["single-gpu", "multi-gpu", "protected-pcie", "not-reported"]')
    .replace('"580.95.05"', '"0.0"')
)


def question(
    files: Mapping[str, bytes] | None = None, *, bound: bytes = NONCE, now: int = NOW, **more: Any
) -> Question:
    values = {
        "freshness_seconds": 600,
        "collateral": from_mapping(files or {}, fetched=NOW - 60),
        "collateral_max_age_seconds": 40 * DAY,
    }
    return Question(bound=bound, now=now, **(values | more))


def appraise(
    parts: Mapping[str, bytes] | None = None,
    text: str = POLICY,
    asked: Question | None = None,
) -> Appraisal:
    chosen = read_format_policy(FORMAT, parse(text.encode(), "policy"))
    return appraise_parts(fake.parts() if parts is None else parts, chosen, asked or question())


def refusal(*args: Any, **more: Any) -> tuple[str, str]:
    """Return name and finding of the first check that fails."""
    with pytest.raises(EvidenceRefused) as refused:
        appraise(*args, **more)
    first = next(check for check in refused.value.checks if not check.holds)
    return first.name, first.found


def with_fields(**changes: Any) -> dict[str, bytes]:
    """Return parts whose opaque data differs in the fields named `f<number>`; None removes one."""
    fields = {**GPU_OPAQUE, **{int(name[1:]): value for name, value in changes.items()}}
    return fake.parts(fields={n: value for n, value in fields.items() if value is not None})


def of_chain(chain: tuple[x509.Certificate, ...], **changes: Any) -> dict[str, bytes]:
    return {REPORT: fake.report(**changes), CERTIFICATES: fake.pem(chain)}


def everything() -> dict[str, bytes]:
    answers = fake.ocsp_files(fake.device_chain()[1:], fake.rim_chain())
    return {**fake.manifests(), **answers}


# What is affirmed.


def test_a_gpu_with_manifests_and_ocsp_is_affirmed() -> None:
    result = appraise(text=STRICT, asked=question(everything()))
    assert result.status is Status.AFFIRMING
    assert result.claims.claims["secboot"] is True
    assert result.claims.claims["dbgstat"] == "disabled"
    # The device's four, its root, the manifests' three, and their root; each in two spellings.
    assert len(result.claims.identifiers["certificate"]) == 18
    assert result.claims.identifiers["device-id"] == ("41e23d711e1c4fbfac",)


def test_a_gpu_without_manifests_is_a_warning_and_claims_no_debug_status() -> None:
    result = appraise()
    assert result.status is Status.WARNING
    assert [check.excepted for check in result.checks if check.excepted] == [policy.NO_MANIFESTS]
    assert not result.claims.claims.keys() & {"secboot", "dbgstat", "measres"}


def test_a_chain_without_its_root_and_with_other_line_ends_is_the_same_chain() -> None:
    whole = fake.pem(fake.device_chain())
    for changed in (
        fake.pem(fake.device_chain()[:-1]),
        whole.replace(b"\n", b"\r\n"),
        whole.rstrip(b"\n"),
    ):
        assert appraise({**fake.parts(), CERTIFICATES: changed}).claims == appraise().claims


def test_blackwell_and_its_dice_extension_are_understood() -> None:
    parts = of_chain(
        fake.device_chain("GB100"),
        signer="GB100 A01 GSP FMC LF",
        fields={
            **GPU_OPAQUE,
            opaque.FEATURE_FLAG: b"\1\0",
            opaque.CHIP_INFO: b"GB100\0",
        },
    )
    claims = appraise(parts, ANY).claims.claims
    assert (claims["architecture"], claims["mode"]) == ("blackwell", "multi-gpu")


def test_an_nvswitch_has_neither_driver_nor_mode() -> None:
    parts = {REPORT: fake.switch_report(), CERTIFICATES: fake.pem(fake.device_chain("LS_10"))}
    claims = appraise(parts, ANY).claims.claims
    assert claims["vbios-version"] == "96.10.55.00.01"
    assert not claims.keys() & {"driver-version", "mode"}


def test_opaque_data_with_a_header_is_understood() -> None:
    fields = {**GPU_OPAQUE, 37: b"\x03\0"}
    del fields[opaque.OPAQUE_VERSION]
    data = fake.versioned_opaque_data(fields, {37: 0x87, opaque.FIRMWARE_ID: 1})
    claims = appraise(fake.parts(data=data)).claims.claims
    named = claims["opaque-data"]
    assert isinstance(named, dict)
    assert named["security-version-37"] == "0300"


# Structure.


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"request": b"\x12\xe0\x01\xff"}, "request version is 0x12"),
        ({"request": b"\x11\xe1\x01\xff"}, "request code"),
        ({"request": b"\x11\xe0\x00\xff"}, "request attributes"),
        ({"request": b"\x11\xe0\x01\x01"}, "request operation"),
        ({"slot": 8}, "slot is 8"),
        ({"slot": 1}, "answer slot is 0x0, want 0x1"),
        ({"answer": b"\x12\x60\x00\x00"}, "answer version"),
        ({"answer": b"\x11\x7f\x00\x00"}, "answer code"),
        ({"answer": b"\x11\x60\x01\x00"}, "answer param1"),
        ({"trailing": b"\0"}, "1 bytes after its end"),
        ({"measurements": {}}, "no measurements"),
        ({"measurements": {2: bytes(48), 1: bytes(48)}}, "comes after"),
        ({"measurements": {0: bytes(48)}}, "comes after"),
        ({"measurements": {1: b""}, "record": struct.pack("<BBHBH", 1, 2, 3, 1, 0)}, "specific"),
        ({"measurements": {1: b""}, "record": struct.pack("<BBHBH", 1, 1, 3, 1, 0)}, "sha-384"),
        (
            {
                "measurements": {1: b""},
                "record": struct.pack("<BBHBH", 1, 1, 51, 0x81, 48) + bytes(48),
            },
            "type 0x81",
        ),
        (
            {
                "measurements": {1: b""},
                "record": struct.pack("<BBHBH", 1, 1, 52, 1, 48) + bytes(49),
            },
            "sha-384",
        ),
    ],
)
def test_a_report_of_another_structure_is_refused(changes: dict[str, Any], found: str) -> None:
    name, actual = refusal(fake.parts(**changes))
    assert name == "structure"
    assert found in actual


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"f26": b"x"}, "field 26, which is unknown"),
        ({"f11": b"\x56"}, "nvdec0 status is 0x56"),
        ({"f11": b"\x55\x55"}, "has 2 bytes, want 1"),
        ({"f21": b"\x00"}, "protected pcie status is 0x0"),
        ({"f36": b"\x03\0"}, "feature flag is 3"),
        ({"f36": b"\x02\0"}, "says mode protected-pcie"),
        ({"f34": b"\x02\0"}, "version 2, want 0 or 1"),
        ({"f20": bytes(47)}, "fwid has 47 bytes"),
        ({"f3": None}, "no driver version"),
        ({"f3": b"../../x\0"}, "driver version is no short text"),
        ({"f3": b"580\x0095\0"}, "driver version is no short text"),
        ({"f6": None}, "no vbios version"),
        ({"f6": bytes.fromhex("009f009601000001")}, "more than 5 bytes"),
    ],
)
def test_opaque_data_that_is_not_understood_is_refused(fields: dict[str, Any], found: str) -> None:
    name, actual = refusal(with_fields(**fields))
    assert name == "structure"
    assert found in actual


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (fake.opaque_data({3: b"1.2\0"}) * 2, "field 3 twice"),
        (b"\x03\x00\xff\xff", "ends early"),
        (fake.versioned_opaque_data({}, header=b"NVDAOD\x01\x00\x02\x00\x00\x00"), "profile 1"),
        (fake.versioned_opaque_data({}, header=b"NVDAOD\x00\x00\x03\x00\x00\x00"), "version 3"),
        (fake.versioned_opaque_data({}, header=b"NVDAOD\x00\x00\x02\x00\x00\x01"), "padding"),
        (fake.versioned_opaque_data({3: b"1.2"}, {3: 0x99}), "value type 0x99"),
        (fake.versioned_opaque_data({37: b"1"}, {37: 0x87}), "no 2-byte security version"),
        (fake.versioned_opaque_data({37: b"12"}), "field 37, which is unknown"),
    ],
)
def test_opaque_data_of_another_layout_is_refused(data: bytes, found: str) -> None:
    name, actual = refusal(fake.parts(data=data))
    assert name == "structure"
    assert found in actual


def test_parts_that_are_too_large_are_refused() -> None:
    for part, found in ((REPORT, "want at most"), (CERTIFICATES, "want 65536")):
        good = fake.parts()
        name, actual = refusal({**good, part: good[part] + bytes(1 << 17)})
        assert (name, found in actual) == ("structure", True)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("020941e23d711e1c4fbfac", "0209c1e23d711e1c4fbfac"),
        ("020941e23d711e1c4fbfac", "0209000000000000000000"),
    ],
)
def test_a_serial_number_that_is_not_positive_is_refused(old: str, new: str) -> None:
    leaf, own, *above = fake.device_chain()
    der = own.public_bytes(fake.Encoding.DER)
    assert bytes.fromhex(old) in der
    changed = der.replace(bytes.fromhex(old), bytes.fromhex(new), 1)
    encoded = base64.encodebytes(changed)
    text = b"".join(encoded.split())
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    armoured = b"-----BEGIN CERTIFICATE-----\n" + b"\n".join(lines)
    armoured += b"\n-----END CERTIFICATE-----\n"
    part = fake.pem([leaf]) + armoured + fake.pem(above)
    assert refusal({**fake.parts(), CERTIFICATES: part})[0] == "structure"


def test_bytes_between_certificates_are_refused() -> None:
    whole = fake.pem(fake.device_chain())
    for changed in (b"hello\n" + whole, whole.replace(b"-----\n-----", b"-----\n \n-----")):
        name, found = refusal({**fake.parts(), CERTIFICATES: changed})
        assert (name, "not plain pem" in found) == ("structure", True)


@pytest.mark.parametrize(
    ("chain", "found"),
    [
        (fake.device_chain()[-1:], "0 below the root"),
        (fake.device_chain()[1:], "which is no device"),
        (fake.device_chain("GR100"), "which is no device"),
        (
            fake.device_chain(extension=(x509.OCSPNoCheck(), False)),
            "0 dice extensions",
        ),
        (
            fake.device_chain(extension=fake.dice(COMPOSITE_DEVICE_ID, b"\x30\x00")),
            "does not decode",
        ),
        (
            fake.device_chain(
                extension=fake.dice(
                    COMPOSITE_DEVICE_ID, fake.composite("GH100 A01 GSP BROM", version=2)
                )
            ),
            "version 2",
        ),
        (
            fake.device_chain(
                extension=fake.dice(COMPOSITE_DEVICE_ID, fake.composite("somebody else"))
            ),
            "another device key",
        ),
        (
            fake.device_chain(extension=fake.dice(TCB_INFO, fake.tcb_info(fwid=bytes(32)))),
            "no sha-384",
        ),
        (fake.device_chain(extension=fake.dice(TCB_INFO, b"\x30\x00")), "no firmware id"),
    ],
)
def test_certificates_that_are_no_devices_are_refused(
    chain: tuple[x509.Certificate, ...], found: str
) -> None:
    name, actual = refusal(of_chain(chain))
    assert name == "structure"
    assert found in actual


# Chain, signature, firmware.


def test_a_device_of_another_vendor_is_refused() -> None:
    forged = fake.certificate("NVIDIA GH100 Identity", "Somebody's Root", serial=4)
    assert refusal(of_chain((*fake.device_chain()[:3], forged)))[0] == "device chain"


def test_a_chain_of_two_devices_is_refused() -> None:
    other = fake.certificate(
        "another provisioner", "NVIDIA GH100 Identity", crl="http://x/crl/l2-gh100.crl"
    )
    chain = fake.device_chain()
    assert refusal(of_chain((*chain[:2], other, *chain[3:])))[0] == "device chain"


def test_a_chain_is_judged_at_the_time_of_the_question() -> None:
    for now in (NOW - 2000 * DAY, 253_402_300_800):
        assert refusal(asked=question(now=now))[0] == "device chain validity"


def test_a_leaf_that_is_a_ca_or_may_not_sign_is_refused() -> None:
    assert refusal(of_chain(fake.device_chain(leaf_ca=True)))[0] == "device key"
    assert refusal(of_chain(fake.device_chain(leaf_signs=False)))[0] == "device key"


def test_a_leaf_with_another_kind_of_key_is_refused() -> None:
    chain = fake.device_chain(leaf="a P-256 leaf")
    assert refusal(of_chain(chain)) == ("device key", "another kind of key")


def test_a_report_signed_by_another_device_is_refused() -> None:
    assert refusal(fake.parts(signer="another leaf"))[0] == "report signature"


def test_a_report_of_another_firmware_than_the_certificate_is_refused() -> None:
    assert refusal(with_fields(f20=bytes(48)))[0] == "firmware id"


def test_a_report_without_a_firmware_id_needs_its_exception() -> None:
    parts = with_fields(f20=None)
    assert refusal(parts) == ("firmware id", "not reported")
    excepted = POLICY.replace("exceptions = [", 'exceptions = ["gpu-firmware-id-not-reported", ')
    assert appraise(parts, excepted).status is Status.WARNING


# Binding.


def test_another_nonce_is_refused() -> None:
    assert refusal(asked=question(bound=bytes(32)))[0] == "report data"


def test_the_nonce_is_derived_from_the_report_data() -> None:
    assert FORMAT.bind(REPORT_DATA) == gpu.gpu_nonce(REPORT_DATA) == NONCE
    assert len(NONCE) == 32
    assert gpu.gpu_nonce(bytes(64)) != NONCE


# Policy.


@pytest.mark.parametrize(
    ("old", "new", "check"),
    [
        ('["hopper"]', '["blackwell"]', "architecture"),
        ('["single-gpu"]', '["multi-gpu"]', "mode"),
        ('"580.95.05"', '"580.95.06"', "minimum driver"),
        ('"580.95.05"', '"581.0"', "minimum driver"),
        ('drivers = ["any"]', 'drivers = ["580.95.06"]', "driver"),
        ('vbios = ["any"]', 'vbios = ["96.00.9F.00.02"]', "vbios"),
        ('device_ids = ["any"]', 'device_ids = ["41e23d711e1c4fbfad"]', "device id"),
    ],
)
def test_what_the_policy_does_not_pin_is_refused(old: str, new: str, check: str) -> None:
    assert refusal(text=POLICY.replace(old, new))[0] == check


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"580.95.05"', '"570.200"'),
        ('drivers = ["any"]', 'drivers = ["1.2", "580.95.05"]'),
        ('vbios = ["any"]', 'vbios = ["96.00.9F.00.01"]'),
        ('device_ids = ["any"]', 'device_ids = ["41e23d711e1c4fbfac"]'),
    ],
)
def test_what_the_policy_pins_is_accepted(old: str, new: str) -> None:
    assert appraise(text=POLICY.replace(old, new)).status is Status.WARNING


def test_a_driver_whose_version_cannot_be_compared_is_refused() -> None:
    assert refusal(with_fields(f3=b"test-build\0"))[0] == "minimum driver"


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ({"f36": None}, "not-reported"),
        ({"f36": None, "f21": None}, "not-reported"),
        ({"f36": None, "f21": b"\xaa"}, "protected-pcie"),
        ({"f36": b"\2\0", "f21": b"\xaa"}, "protected-pcie"),
        ({"f36": b"\1\0"}, "multi-gpu"),
    ],
)
def test_a_mode_that_the_policy_does_not_name_is_refused(fields: dict[str, Any], mode: str) -> None:
    assert refusal(with_fields(**fields)) == ("mode", mode)


@pytest.mark.parametrize(("bit", "word"), [(1, "not secure"), (2, "recovery"), (3, "debug")])
def test_a_debug_mode_that_the_certificate_tells_is_refused(bit: int, word: str) -> None:
    flags = bytes([0x80 >> bit, 0, 0, 1])
    extension = fake.dice(TCB_INFO, fake.tcb_info(flags=flags))
    parts = of_chain(fake.device_chain("GB100", extension=extension), signer="GB100 A01 GSP FMC LF")
    assert refusal(parts, ANY) == ("device state", word)
    excepted = ANY.replace("exceptions = [", 'exceptions = ["gpu-debug-mode", ')
    assert appraise(parts, excepted).status is Status.WARNING


# Reference manifests.


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


# Revocation.


def refused_by(files: Mapping[str, bytes], source: str = "ocsp", **more: Any) -> tuple[str, str]:
    text = POLICY.replace('revocation = "none"', f'revocation = "{source}"')
    return refusal(text=text, asked=question(files, **more))


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


# GPUs beside a CPU.

GPU_POLICY = "[gpu]\ndevices = 1\n" + POLICY.replace('["single-gpu"]', '["single-gpu"]')


def appraise_beside(
    parts: Mapping[str, bytes], text: str = GPU_POLICY, report_data: bytes = REPORT_DATA
) -> Claims:
    chosen = read_gpu_policy(parse(text.encode(), "policy").take_table("gpu"))
    checklist = Checklist(chosen.exceptions)
    asked = replace(question(bound=b"the CPU's"), report_data=report_data)
    claims = gpu.appraise_gpu(parts, chosen, asked, checklist, fake.ROOTS)
    checklist.finish(gpu.ALWAYS)
    return claims


def refused_beside(*args: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(EvidenceRefused) as refused:
        appraise_beside(*args, **more)
    first = next(check for check in refused.value.checks if not check.holds)
    return first.name, first.found


def numbered(*devices: Mapping[str, bytes]) -> dict[str, bytes]:
    return {
        f"gpu-{name}-{number}": data
        for number, device in enumerate(devices)
        for name, data in device.items()
    }


def test_a_gpu_beside_a_cpu_is_appraised() -> None:
    parts = {"gpu-report": fake.report(), "gpu-certificates": fake.pem(fake.device_chain())}
    cpu, mine = gpu.split_gpu_parts({"quote": b"q", **parts})
    assert (set(cpu), set(mine)) == ({"quote"}, set(parts))
    claims = appraise_beside(mine)
    assert claims.identifiers["gpu-device-id"] == ("41e23d711e1c4fbfac",)
    assert claims.identifiers.keys() == gpu.IDENTIFIERS
    assert appraise_beside(numbered(fake.parts())) == claims


def test_a_gpu_for_another_cpus_evidence_is_refused() -> None:
    parts = {"gpu-report": fake.report(), "gpu-certificates": fake.pem(fake.device_chain())}
    assert refused_beside(parts, report_data=bytes(64))[0] == "gpu 0 report data"


@pytest.mark.parametrize("report_data", [b"", bytes(32), bytes(63), bytes(65)])
def test_without_the_cpus_report_data_no_gpu_is_accepted(report_data: bytes) -> None:
    """The nonce of no report data is the same for everybody: a report for it can lie ready."""
    made_for_it = fake.report(nonce=gpu.gpu_nonce(report_data))
    parts = {"gpu-report": made_for_it, "gpu-certificates": fake.pem(fake.device_chain())}
    found = refused_beside(parts, report_data=report_data)
    assert found == ("gpu report data", f"{len(report_data)} bytes")


def test_a_device_that_was_not_asked_everything_is_a_defect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is left out for one of several devices must not hide behind the others' checks."""
    whole = gpu.appraise_device

    def careless(checklist: Checklist, *args: Any, label: str) -> Any:
        return whole(Checklist() if label == "gpu 1 " else checklist, *args, label=label)

    two = ANY.replace("exceptions = [", "devices = 2\nexceptions = [")
    text = "[gpu]\n" + two.replace('manifests = "none"', 'manifests = "required"')
    parts = numbered(fake.parts(), of_chain(fake.device_chain(serial=1000)))
    chosen = read_gpu_policy(parse(text.encode(), "policy").take_table("gpu"))
    asked = replace(question(fake.manifests()), report_data=REPORT_DATA)
    assert gpu.appraise_gpu(parts, chosen, asked, Checklist(chosen.exceptions), fake.ROOTS)
    monkeypatch.setattr(gpu, "appraise_device", careless)
    again = Checklist(chosen.exceptions)
    with pytest.raises(RuntimeError, match="gpu 1 report signature"):
        gpu.appraise_gpu(parts, chosen, asked, again, fake.ROOTS)


def test_the_manifests_of_several_gpus_are_verified_once() -> None:
    text = "[gpu]\ndevices = 2\n" + ANY.replace('manifests = "none"', 'manifests = "required"')
    chosen = read_gpu_policy(parse(text.encode(), "policy").take_table("gpu"))
    parts = numbered(fake.parts(), of_chain(fake.device_chain(serial=1000)))
    asked = replace(question(fake.manifests(), now=NOW + 1), report_data=REPORT_DATA)
    before = rim._signed_manifest.cache_info()
    checklist = Checklist(chosen.exceptions)
    gpu.appraise_gpu(parts, chosen, asked, checklist, fake.ROOTS)
    after = rim._signed_manifest.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (2, 2)
    # The check itself is made for each.
    names = [check.name for check in checklist.checks]
    assert names.count(f"signature of {fake.DRIVER_RIM}") == 2


def test_the_number_of_gpus_is_pinned() -> None:
    two = GPU_POLICY.replace("devices = 1", "devices = 2")
    for parts in ({}, {"gpu-report": b""}, numbered(fake.parts()), {"gpu-other": b""}):
        assert refused_beside(parts, two)[0] == "gpu parts"
    assert refused_beside({})[0] == "gpu parts"
    assert refused_beside(numbered(fake.parts(), fake.parts()))[0] == "gpu parts"


def test_one_gpu_does_not_count_twice() -> None:
    two = GPU_POLICY.replace("devices = 1", "devices = 2")
    assert refused_beside(numbered(fake.parts(), fake.parts()), two)[0] == "gpu devices"


SWITCH_PDI = bytes.fromhex("203eb31ad9ed0008")
GPU_PDIS = [bytes([n]) * 8 for n in (1, 2)]
LINKED = (
    GPU_POLICY.replace("devices = 1", "devices = 3")
    .replace('["hopper"]', '["hopper", "ls10"]')
    .replace('["single-gpu"]', '["protected-pcie", "single-gpu"]')
)


def linked_gpu(serial: int, pdis: bytes = SWITCH_PDI[::-1] * 17 + bytes(8)) -> dict[str, bytes]:
    fields = {
        **GPU_OPAQUE,
        opaque.PROTECTED_PCIE: b"\xaa",
        opaque.FEATURE_FLAG: b"\2\0",
        opaque.SWITCH_PDI: pdis,
    }
    return of_chain(fake.device_chain(serial=serial), fields=fields)


def linked_switch(gpus: int = 2, pdi: bytes = SWITCH_PDI) -> dict[str, bytes]:
    listed = b"".join(GPU_PDIS[:gpus]).ljust(64, b"\0") + b"\xff" * 64
    fields = {**fake.SWITCH_OPAQUE, opaque.DEVICE_PDI: pdi, opaque.SWITCH_GPU_PDIS: listed}
    chain = fake.device_chain("LS_10", serial=99)
    return {REPORT: fake.switch_report(fields=fields), CERTIFICATES: fake.pem(chain)}


def test_protected_pcie_with_its_switches_is_accepted() -> None:
    claims = appraise_beside(numbered(linked_gpu(1000), linked_gpu(2000), linked_switch()), LINKED)
    assert len(claims.identifiers["gpu-device-id"]) == 3


@pytest.mark.parametrize(
    ("devices", "found"),
    [
        ((linked_gpu(1000), linked_gpu(2000), linked_gpu(3000)), "name other NVSwitches"),
        ((linked_gpu(1000), linked_gpu(2000), linked_switch(1)), "see other GPUs"),
        ((linked_gpu(1000), linked_gpu(2000), linked_switch(pdi=bytes(8))), "without an id"),
        (
            (linked_gpu(1000), linked_gpu(2000, pdis=b"12345678"), linked_switch()),
            "name other NVSwitches",
        ),
        ((linked_gpu(1000), of_chain(fake.device_chain(serial=5)), linked_switch(1)), "1 of 2"),
        (
            (
                of_chain(fake.device_chain(serial=5)),
                of_chain(fake.device_chain(serial=6)),
                linked_switch(),
            ),
            "NVSwitches without GPUs",
        ),
    ],
)
def test_protected_pcie_without_all_its_switches_is_refused(
    devices: tuple[dict[str, bytes], ...], found: str
) -> None:
    name, actual = refused_beside(numbered(*devices), LINKED)
    assert name == "gpu topology"
    assert found in actual


def test_a_list_of_links_that_is_no_list_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="no list of device ids"):
        appraise_beside(
            numbered(linked_gpu(1000, pdis=b"1234"), linked_gpu(2000), linked_switch()), LINKED
        )


# How policies are written.


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["hopper"]', "[]", "architectures is empty"),
        ('["hopper"]', '["ampere"]', "architectures names 'ampere'"),
        ('["single-gpu"]', '["cc"]', "modes names 'cc'"),
        ('"580.95.05"', '"latest"', "minimum_driver is 'latest'"),
        ('drivers = ["any"]', 'drivers = ["any", "1.2"]', "drivers has 'any' among"),
        ('vbios = ["any"]', 'vbios = ["96.00.9f.00.01"]', "vbios names"),
        ('device_ids = ["any"]', 'device_ids = ["0X41"]', "device_ids"),
        ('manifests = "none"', 'manifests = "no"', "reference_manifests is 'no'"),
        ('revocation = "none"', 'revocation = "any"', "revocation is 'any'"),
        ('exceptions = ["gpu-r', 'exceptions = ["r', "exceptions names"),
        ("exceptions", "more = 1\nexceptions", "unknown keys: more"),
        ('vbios = ["any"]', "", "vbios"),
    ],
)
def test_a_policy_that_is_not_written_right_is_an_error(old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        appraise(text=POLICY.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=message):
        appraise_beside({}, GPU_POLICY.replace(old, new, 1))


def test_the_number_of_devices_is_required() -> None:
    with pytest.raises(ConfigurationError, match="devices"):
        appraise_beside({}, GPU_POLICY.replace("devices = 1\n", ""))
    with pytest.raises(ConfigurationError, match="devices"):
        appraise_beside({}, GPU_POLICY.replace("devices = 1", "devices = 0"))


def test_the_templates_can_be_read() -> None:
    table = parse(FORMAT.template.encode(), "template").take_table("attestation")
    read_format_policy(FORMAT, table.take_table(FORMAT.name))
    beside = parse(policy.gpu_template("sev-snp").encode(), "template").take_table("attestation")
    assert read_gpu_policy(beside.take_table("sev-snp").take_table("gpu")).devices == 1


# Files and inspection.


def test_evidence_as_nvidias_tool_writes_it_is_recognised() -> None:
    parts = fake.parts()
    entry = {
        "arch": "HOPPER",
        "evidence": base64.b64encode(parts[REPORT]).decode(),
        "certificate": base64.b64encode(parts[CERTIFICATES]).decode(),
    }
    assert nvidia.recognise(json.dumps([entry]).encode()) == parts
    assert nvidia.recognise(json.dumps(entry).encode()) == parts
    for other in (
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"evidence": 5, "certificate": "x"}',
        b'{"evidence": "ABCD", "certificate": "ABCD"}',
        b'{"evidence": "\xff"}',
        json.dumps([entry, entry]).encode(),
    ):
        assert nvidia.recognise(other) is None


def test_a_report_can_be_looked_at_without_any_check() -> None:
    seen = FORMAT.inspect(fake.parts(nonce=bytes(32), signer="nobody"))
    assert seen["driver-version"] == fake.DRIVER
    assert seen["reference-manifests"] == [
        f"NV_GPU_DRIVER_GH100_{fake.DRIVER}",
        "NV_GPU_VBIOS_1010_0200_882_96009F0001",
    ]
    with pytest.raises(MalformedMessage):
        FORMAT.inspect({REPORT: b"", CERTIFICATES: b""})


def test_the_pinned_roots_are_nvidias() -> None:
    roots = gpu.pinned_roots()
    assert "NVIDIA Device Identity CA" in roots.device.subject.rfc4514_string()
    assert "NVIDIA CoRIM signing Root CA" in roots.manifests.subject.rfc4514_string()


# Whatever bytes come in.


@pytest.mark.parametrize("part", [REPORT, CERTIFICATES])
def test_one_changed_byte_is_never_affirmed(part: str) -> None:
    good = fake.parts()
    chosen = read_format_policy(FORMAT, parse(ANY.encode(), "policy"))
    for position in range(0, len(good[part]), 11):
        changed = bytearray(good[part])
        changed[position] ^= 1 << position % 8
        with pytest.raises(EvidenceRefused):
            appraise_parts({**good, part: bytes(changed)}, chosen, question())


@given(st.binary(max_size=600), st.binary(max_size=600))
def test_random_bytes_are_refused_and_nothing_else(report: bytes, certificates: bytes) -> None:
    good = fake.parts()
    for parts in (
        {REPORT: report, CERTIFICATES: good[CERTIFICATES]},
        {REPORT: good[REPORT][:45] + report, CERTIFICATES: good[CERTIFICATES]},
        {REPORT: good[REPORT], CERTIFICATES: certificates},
    ):
        with pytest.raises(EvidenceRefused):
            appraise(parts)
    nvidia.recognise(report)


@given(st.binary(max_size=300))
def test_random_opaque_data_is_refused_and_nothing_else(data: bytes) -> None:
    for prefix in (b"", opaque.MAGIC + b"\0\0\2\0\0\0"):
        with pytest.raises(EvidenceRefused):
            appraise(fake.parts(data=prefix + data))
