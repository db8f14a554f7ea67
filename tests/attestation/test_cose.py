"""COSE_Sign1 and the CBOR below it: what is read, what is refused, what verifies."""

from __future__ import annotations

import hashlib
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.cbor import decode, decode_tagged
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.cose import (
    ALGORITHMS,
    SIGN1_TAG,
    Algorithm,
    Sign1,
    key_of_cose_key,
    key_of_point,
    parse_sign1,
    verify_sign1,
)
from fedenclave.attestation.result import EvidenceRefused
from fedenclave.protocol.errors import MalformedMessage
from tests.attestation.fake_cose import ES256, ES384, cose_key, new_key, point, sign1

KEY = new_key(ES256)
PAYLOAD = b"\xa1\x01\x02"


def parse(data: bytes, *, tagged: bool = True, key_id: bool = True) -> Sign1:
    tags = (SIGN1_TAG,) if tagged else (None, SIGN1_TAG)
    return parse_sign1(data, "token", max_size=4096, tags=tags, key_id=key_id)


def verify(message: Sign1, key: ec.EllipticCurvePublicKey, *known: bytes) -> Checklist:
    checklist = Checklist()
    verify_sign1(checklist, message, key, name="signature", known_ids=known)
    return checklist


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_a_signature_of_each_algorithm_verifies(algorithm: Algorithm) -> None:
    key = new_key(algorithm)
    message = parse(sign1(PAYLOAD, key))
    assert message.algorithm is algorithm
    assert message.payload == PAYLOAD
    assert [check.holds for check in verify(message, key.public_key()).checks] == [True]


def test_a_signature_by_another_key_is_refused() -> None:
    with pytest.raises(EvidenceRefused, match="signature"):
        verify(parse(sign1(PAYLOAD, KEY)), new_key(ES256).public_key())


@pytest.mark.parametrize(("label", "size", "curve"), [(-7, 64, ES384), (-35, 96, ES256)])
def test_an_algorithm_with_a_key_of_another_curve_is_refused(
    label: int, size: int, curve: Algorithm
) -> None:
    key = new_key(curve)
    parts = cbor2.loads(sign1(PAYLOAD, key, protected={1: label}, tag=None))
    message = [*parts[:3], (parts[3] * 2)[:size]]
    with pytest.raises(EvidenceRefused, match="signature"):
        verify(parse(cbor2.dumps(cbor2.CBORTag(18, message))), key.public_key())


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(32) + b"\1" * 32])
def test_a_signature_out_of_range_is_refused_and_no_error(signature: bytes) -> None:
    data = cbor2.loads(sign1(PAYLOAD, KEY)).value
    message = parse(cbor2.dumps(cbor2.CBORTag(18, [*data[:3], signature])))
    with pytest.raises(EvidenceRefused):
        verify(message, KEY.public_key())


def test_the_protected_header_is_signed() -> None:
    tag = cbor2.loads(sign1(PAYLOAD, KEY))
    header = cbor2.dumps({1: -7, 3: "application/eat+cwt"})
    message = parse(cbor2.dumps(cbor2.CBORTag(18, [header, *tag.value[1:]])))
    with pytest.raises(EvidenceRefused):
        verify(message, KEY.public_key())


def test_content_type_and_type_may_be_in_the_signed_header() -> None:
    header = {1: -7, 3: 263, 16: "application/eat+cwt"}
    verify(parse(sign1(PAYLOAD, KEY, protected=header)), KEY.public_key())


def key_names(key: ec.EllipticCurvePublicKey) -> dict[str, bytes]:
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    encodings = {"info": info, "point": point(key), "cose": cose_key(key)}
    return {name: hashlib.sha256(encoded).digest() for name, encoded in encodings.items()}


@pytest.mark.parametrize("name", ["info", "point", "cose", "known"])
@pytest.mark.parametrize("where", ["protected", "unprotected"])
def test_a_key_id_must_name_the_key_that_signed(name: str, where: str) -> None:
    key_id = (key_names(KEY.public_key()) | {"known": b"instance"})[name]
    header: dict[str, Any] = (
        {"protected": {1: -7, 4: key_id}} if where == "protected" else {"unprotected": {4: key_id}}
    )
    data = sign1(PAYLOAD, KEY, **header)
    checks = verify(parse(data), KEY.public_key(), b"instance").checks
    assert [check.name for check in checks] == ["signature", "key id of signature"]
    other = sign1(PAYLOAD, KEY, unprotected={4: key_id[:-1] + b"\0"})
    with pytest.raises(EvidenceRefused, match="key id of signature"):
        verify(parse(other), KEY.public_key(), b"instance")
    with pytest.raises(MalformedMessage, match=r"key id|nothing signs"):
        parse(data, key_id=False)


def test_an_empty_key_id_is_a_key_id() -> None:
    with pytest.raises(EvidenceRefused, match="key id of signature"):
        verify(parse(sign1(PAYLOAD, KEY, unprotected={4: b""})), KEY.public_key())


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({}, "algorithm None"),
        ({1: None}, "algorithm None"),
        ({1: "ES256"}, "algorithm ES256"),
        ({1: -8}, "algorithm -8"),
        ({1: -37}, "algorithm -37"),
        ({1: 5}, "algorithm 5"),
        ({1: True}, "algorithm True"),
        ({1: -7, 2: [1]}, "critical"),
        ({1: -7, 2: []}, "critical"),
        ({1: -7, 33: b"x"}, "unknown protected headers: 33"),
        ({1: -7, "x": 1}, "unknown protected headers: x"),
        ({1: -7, 3: b"x"}, "header 3"),
        ({1: -7, 16: []}, "header 16"),
        ({1: -7, 4: "x"}, "key id"),
        ([1, -7], "no map"),
    ],
)
def test_a_protected_header_that_is_not_understood_is_refused(header: Any, reason: str) -> None:
    with pytest.raises(MalformedMessage, match=reason):
        parse(sign1(PAYLOAD, KEY, protected=header))


@pytest.mark.parametrize("header", [{1: -7}, {33: b"x5chain"}, {4: b"id", 5: b"iv"}, {"x": 1}])
def test_a_header_that_nothing_signs_is_refused(header: dict[Any, Any]) -> None:
    with pytest.raises(MalformedMessage, match="nothing signs"):
        parse(sign1(PAYLOAD, KEY, unprotected=header))


def test_a_key_id_in_both_headers_is_refused() -> None:
    with pytest.raises(MalformedMessage, match="key id twice"):
        parse(sign1(PAYLOAD, KEY, protected={1: -7, 4: b"a"}, unprotected={4: b"a"}))


def wrong_messages() -> dict[str, Any]:
    header, empty, payload, signature = cbor2.loads(sign1(PAYLOAD, KEY, tag=None))
    return {
        "three": [header, empty, payload],
        "five": [header, empty, payload, signature, b""],
        "map": {1: header},
        "bytes": b"x",
        "header as a map": [{1: -7}, empty, payload, signature],
        "header empty": [b"", empty, payload, signature],
        "unprotected as a list": [header, [], payload, signature],
        "unprotected null": [header, None, payload, signature],
        "payload null": [header, empty, None, signature],
        "payload empty": [header, empty, b"", signature],
        "payload text": [header, empty, "x", signature],
        "signature short": [header, empty, payload, signature[:-1]],
        "signature long": [header, empty, payload, signature + b"\0"],
        "signature text": [header, empty, payload, "x" * 64],
        "signature null": [header, empty, payload, None],
    }


@pytest.mark.parametrize("what", wrong_messages())
def test_what_is_no_cose_sign1_is_refused(what: str) -> None:
    with pytest.raises(MalformedMessage):
        parse(cbor2.dumps(cbor2.CBORTag(18, wrong_messages()[what])))


def test_only_the_named_tags_are_accepted() -> None:
    untagged = sign1(PAYLOAD, KEY, tag=None)
    parse(untagged, tagged=False)
    parse(sign1(PAYLOAD, KEY), tagged=False)
    with pytest.raises(MalformedMessage, match="want tag 18"):
        parse(untagged)
    for tag in (16, 61, 96, 98):
        with pytest.raises(MalformedMessage, match="tag"):
            parse(sign1(PAYLOAD, KEY, tag=tag))
    with pytest.raises(MalformedMessage, match="symmetric"):
        parse(sign1(PAYLOAD, KEY, tag=17))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("01", ""),
        ("", "not valid cbor"),
        ("0102", "1 bytes after its end"),
        ("a201020103", "Duplicate"),
        ("a2010281f500", "map key of type tuple"),
        ("a1f500", "bool"),
        ("a1f93c0000", "float"),
        ("a14000", "map key of type bytes"),
        ("a18000", "map key"),
        ("fb3ff0000000000000", "float"),
        ("f7", "Undefined"),
        ("f8ff", "SimpleValue"),
        ("e0", "SimpleValue"),
        ("c11a00000000", "not valid cbor"),
        ("c24101", "not valid cbor"),
        ("d81c80", "not valid cbor"),
        ("d9d9f701", "not valid cbor"),
        ("d901028101", "not valid cbor"),
        ("81c24101", "not valid cbor"),
        ("81d21801", "CBORTag"),
        ("d201", "tag 18"),
        ("9fff", "indefinite"),
        ("bfff", "indefinite"),
        ("5f4101ff", "indefinite"),
        ("61ff", "not valid cbor"),
        ("81" * 13 + "01", "depth"),
        ("9bffffffffffffffff", "not valid cbor"),
        ("5bffffffffffffffff", "not valid cbor"),
        ("1c", "not valid cbor"),
        ("00" * 65, "at most 64"),
    ],
)
def test_cbor_is_plain_values_and_nothing_else(data: str, reason: str) -> None:
    if not reason:
        assert decode(bytes.fromhex(data), "value", max_size=64) == 1
        return
    with pytest.raises(MalformedMessage, match=reason):
        decode(bytes.fromhex(data), "value", max_size=64)


def test_below_a_tag_values_are_the_same() -> None:
    value = {1: [b"x", {"y": None, -1: [True, "z"]}]}
    data = cbor2.dumps(cbor2.CBORTag(399, value))
    assert decode_tagged(data, "value", max_size=64, tags=(399,)) == (399, value)
    assert decode(b"\xbf\x01\x9f\x02\xff\xff", "value", max_size=64, indefinite=True) == {1: [2]}
    doubled = b"\xd9\x01\x8f\xa2\x01\x02\x01\x03"
    with pytest.raises(MalformedMessage, match="Duplicate"):
        decode_tagged(doubled, "value", max_size=64, tags=(399,))


@given(st.binary(max_size=64))
def test_whatever_bytes_come_they_decode_or_are_malformed(data: bytes) -> None:
    for read in (
        lambda: decode(data, "value", max_size=64, indefinite=True),
        lambda: parse(data, tagged=False),
        lambda: key_of_cose_key(data, "key"),
        lambda: key_of_point(data, ES256, "key"),
    ):
        try:
            read()
        except MalformedMessage:
            continue


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
def test_a_cose_key_and_a_point_are_the_same_key(algorithm: Algorithm) -> None:
    key = new_key(algorithm).public_key()
    assert key_of_cose_key(cose_key(key), "key") == key
    assert key_of_cose_key(cose_key(key, l_3=algorithm.label), "key") == key
    assert key_of_point(point(key), algorithm, "key") == key


@pytest.mark.parametrize(
    "changes",
    [
        {"l_1": 1},
        {"l_1": None},
        {"l_minus_1": 4},
        {"l_minus_1": True},
        {"l_minus_1": 2},
        {"l_minus_2": bytes(31)},
        {"l_minus_2": bytes(32)},
        {"l_minus_3": True},
        {"l_minus_3": None},
        {"l_3": -35},
        {"l_4": [2]},
        {"l_minus_4": bytes(32)},
    ],
)
def test_a_wrong_cose_key_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        key_of_cose_key(cose_key(KEY.public_key(), **changes), "key")


@pytest.mark.parametrize("data", [b"", b"\4" + bytes(64), b"\2" + bytes(32), b"\4" + bytes(63)])
def test_a_wrong_point_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        key_of_point(data, ES256, "key")
