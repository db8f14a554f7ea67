"""NVIDIA evidence that is not built as NVIDIA builds it: report, opaque data, certificates."""

import base64
import struct
from typing import Any

import pytest
from cryptography import x509

from fedenclave.attestation.nvidia.dice import COMPOSITE_DEVICE_ID, TCB_INFO
from fedenclave.attestation.nvidia.format import CERTIFICATES, REPORT
from tests.attestation import fake_nvidia as fake
from tests.attestation.gpu_appraisal import of_chain, refusal, with_fields


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
