"""Parse and verify COSE_Sign1: one payload, one signature, one algorithm that is signed along.

Not here: who the key belongs to. A signature that verifies says nothing until its key is pinned, or
its certificate chains to a pinned root.

Rules:
  * ES256, ES384, ES512 only, each on its own curve (P-256, P-384, P-521); the signature is r and s,
    each as long as the curve's coordinates.
  * The protected header holds the algorithm; a content type, a type and a key id may be beside it.
    A critical header is refused (none is understood), as is every other header.
  * Nothing signs the unprotected header, so it is empty, or holds a key id alone, where a format
    allows one. `verify_sign1` then compares that with what is known of the key; so it cannot be
    changed without a refusal either.
  * The payload is inside, and not empty.

Source: RFC 9052 (sections 3.1, 4.2, 4.4, 7.1), RFC 9053 (sections 2.1, 7.1.1), RFC 9596 (type).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fedenclave.attestation.cbor import decode, decode_tagged
from fedenclave.attestation.checklist import Checklist
from fedenclave.attestation.result import Trust
from fedenclave.protocol.errors import MalformedMessage

MAC0_TAG, SIGN1_TAG = 17, 18
_ALGORITHM, _CRITICAL, _CONTENT_TYPE, _KEY_ID, _TYPE = 1, 2, 3, 4, 16
_KEY_TYPE, _KEY_ALGORITHM, _CURVE, _X, _Y = 1, 3, -1, -2, -3
_EC2 = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """An ECDSA algorithm; `size` is the length of a coordinate, and of r and s, in bytes."""

    name: str
    label: int
    curve_label: int
    curve: ec.EllipticCurve
    size: int
    hash: hashes.HashAlgorithm


ALGORITHMS = (
    Algorithm(
        name="ES256", label=-7, curve_label=1, curve=ec.SECP256R1(), size=32, hash=hashes.SHA256()
    ),
    Algorithm(
        name="ES384", label=-35, curve_label=2, curve=ec.SECP384R1(), size=48, hash=hashes.SHA384()
    ),
    Algorithm(
        name="ES512", label=-36, curve_label=3, curve=ec.SECP521R1(), size=66, hash=hashes.SHA512()
    ),
)
_BY_LABEL = {algorithm.label: algorithm for algorithm in ALGORITHMS}
_BY_CURVE = {algorithm.curve_label: algorithm for algorithm in ALGORITHMS}
CURVES = {algorithm.curve.name: algorithm for algorithm in ALGORITHMS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign1:
    """A COSE_Sign1 message, parsed and not verified; `protected` is the header as it was signed."""

    algorithm: Algorithm
    protected: bytes
    key_id: bytes | None
    payload: bytes
    signature: bytes


def parse_sign1(
    data: bytes, what: str, *, max_size: int, tags: Collection[int | None], key_id: bool
) -> Sign1:
    """Return the message that `data` encodes.

    Args:
        data: the encoding, whole.
        what: names it in messages.
        max_size: bytes above which nothing is looked at.
        tags: SIGN1_TAG, None (untagged), or both.
        key_id: whether a key id may be there.

    Raises:
        MalformedMessage: it is no COSE_Sign1, or breaks a rule of this module.
    """
    tag, value = decode_tagged(data, what, max_size=max_size, tags=(None, SIGN1_TAG, MAC0_TAG))
    if tag == MAC0_TAG:
        raise MalformedMessage(
            f"{what} is a cose_mac0, want cose_sign1: whoever can check a symmetric key can forge"
        )
    if tag not in tags or type(value) is not list or len(value) != 4:
        tagged = f"tag {SIGN1_TAG}, " if None not in tags else ""
        raise MalformedMessage(f"{what} is no cose_sign1: want {tagged}an array of 4")
    protected, unprotected, payload, signature = value
    if type(protected) is not bytes or type(unprotected) is not dict:
        raise MalformedMessage(f"{what} has headers of a wrong type, want a byte string and a map")
    if type(payload) is not bytes or not payload:
        raise MalformedMessage(f"{what} has no payload inside")
    header = decode(protected, f"protected header of {what}", max_size=1024)
    if type(header) is not dict:
        raise MalformedMessage(f"{what} has a protected header that is no map")
    algorithm = _read_header(header, what)
    if type(signature) is not bytes or len(signature) != 2 * algorithm.size:
        raise MalformedMessage(
            f"{what} has a signature of a wrong type or length, want {2 * algorithm.size} bytes"
        )
    return Sign1(
        algorithm=algorithm,
        protected=protected,
        key_id=_read_key_id(header, unprotected, what, allowed=key_id),
        payload=payload,
        signature=signature,
    )


def _read_header(header: dict[Any, Any], what: str) -> Algorithm:
    if _CRITICAL in header:
        raise MalformedMessage(f"{what} has critical headers, and none is understood")
    unknown = set(header) - {_ALGORITHM, _CONTENT_TYPE, _KEY_ID, _TYPE}
    if unknown:
        raise MalformedMessage(f"{what} has unknown protected headers: {_labels(unknown)}")
    for label in (_CONTENT_TYPE, _TYPE):
        if label in header and type(header[label]) not in (int, str):
            raise MalformedMessage(f"{what} has a header {label} of a wrong type")
    found = header.get(_ALGORITHM)
    algorithm = _BY_LABEL.get(found) if type(found) is int else None
    if algorithm is None:
        raise MalformedMessage(
            f"{what} has algorithm {str(found)[:40]}, want -7 (ES256), -35 (ES384) or -36 (ES512)"
        )
    return algorithm


def _read_key_id(
    header: dict[Any, Any], unprotected: dict[Any, Any], what: str, *, allowed: bool
) -> bytes | None:
    unsigned = set(unprotected) - ({_KEY_ID} if allowed else set())
    if unsigned:
        raise MalformedMessage(f"{what} has headers that nothing signs: {_labels(unsigned)}")
    if _KEY_ID in header and (_KEY_ID in unprotected or not allowed):
        raise MalformedMessage(f"{what} has a key id twice, or where there must be none")
    found = header.get(_KEY_ID, unprotected.get(_KEY_ID, b""))
    if type(found) is not bytes:
        raise MalformedMessage(f"{what} has a key id that is no byte string")
    return found if _KEY_ID in header or _KEY_ID in unprotected else None


def _labels(labels: Collection[object]) -> str:
    return ", ".join(sorted(map(str, labels)))[:100]


def verify_sign1(
    checklist: Checklist,
    message: Sign1,
    key: ec.EllipticCurvePublicKey,
    *,
    name: str,
    known_ids: Collection[bytes] = (),
) -> None:
    """Verify the signature with a key that the caller trusts, or will bind to one it trusts.

    Checks, in this order: 1. the key's curve is the algorithm's; 2. the signature verifies; 3. the
    key id, if there is one, is a known name of this key.

    Args:
        checklist: where the checks go.
        message: what `parse_sign1` returned.
        key: the public key.
        name: the check's name.
        known_ids: what a key id may be, besides the hashes of the key.

    Raises:
        EvidenceRefused: a check does not hold.
    """
    algorithm = message.algorithm
    verifies = key.curve.name == algorithm.curve.name and _verifies(message, key)
    checklist.must(
        name,
        holds=verifies,
        found="verifies" if verifies else f"does not verify ({key.curve.name} key)",
        wanted=f"{algorithm.name} by the key that must have signed",
        trust=Trust.INSTANCE_IDENTITY,
        hint="it was damaged or changed on its way, or another key signed it; nothing was sent",
    )
    if message.key_id is not None:
        checklist.must(
            f"key id of {name}",
            holds=message.key_id in (*known_ids, *_key_hashes(key)),
            found=message.key_id,
            wanted="the instance id, or a sha-256 of the key",
            trust=Trust.INSTANCE_IDENTITY,
            hint="nothing signs a key id; it was changed on its way, or names another key",
        )


def _verifies(message: Sign1, key: ec.EllipticCurvePublicKey) -> bool:
    # RFC 9052, section 4.4: context, protected header, external data (none), payload.
    signed = cbor2.dumps(["Signature1", message.protected, b"", message.payload])
    size = message.algorithm.size
    r = int.from_bytes(message.signature[:size], "big")
    s = int.from_bytes(message.signature[size:], "big")
    try:
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(message.algorithm.hash))
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _key_hashes(key: ec.EllipticCurvePublicKey) -> tuple[bytes, ...]:
    """Return SHA-256 of the key as SubjectPublicKeyInfo, as a point, and as the shortest COSE_Key.

    Trusted Firmware-M uses the last two.
    """
    algorithm = CURVES[key.curve.name]
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    x, y = point[1 : 1 + algorithm.size], point[1 + algorithm.size :]
    cose = cbor2.dumps({_KEY_TYPE: _EC2, _CURVE: algorithm.curve_label, _X: x, _Y: y})
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return tuple(hashlib.sha256(encoded).digest() for encoded in (info, point, cose))


def key_of_point(point: bytes, algorithm: Algorithm, what: str) -> ec.EllipticCurvePublicKey:
    """Return the public key of an uncompressed point (SEC 1, section 2.3.3: 0x04, x, y).

    Raises:
        MalformedMessage: it is no point of the algorithm's curve.
    """
    if len(point) != 1 + 2 * algorithm.size or point[0] != 0x04:
        raise MalformedMessage(
            f"{what} has {len(point)} bytes, want an uncompressed point of "
            f"{1 + 2 * algorithm.size} bytes"
        )
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(algorithm.curve, point)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise MalformedMessage(f"{what} is no point of {algorithm.curve.name}") from error


def key_of_cose_key(data: bytes, what: str) -> ec.EllipticCurvePublicKey:
    """Return the public key of an encoded COSE_Key of type EC2 with both coordinates.

    Raises:
        MalformedMessage: it is another, or has labels that are not understood.
    """
    value = decode(data, what, max_size=1024)
    if type(value) is not dict or not {_KEY_TYPE, _CURVE, _X, _Y} <= set(value):
        raise MalformedMessage(f"{what} is no cose key with type, curve, x and y")
    unknown = set(value) - {_KEY_TYPE, _KEY_ALGORITHM, _CURVE, _X, _Y}
    if unknown:
        raise MalformedMessage(f"{what} has unknown labels: {_labels(unknown)}")
    curve = value[_CURVE]
    algorithm = _BY_CURVE.get(curve) if type(curve) is int else None
    if value[_KEY_TYPE] != _EC2 or algorithm is None:
        raise MalformedMessage(f"{what} is not on curve P-256, P-384 or P-521")
    if value.get(_KEY_ALGORITHM, algorithm.label) != algorithm.label:
        raise MalformedMessage(f"{what} is for another algorithm than its curve's")
    x, y = value[_X], value[_Y]
    if not all(type(c) is bytes and len(c) == algorithm.size for c in (x, y)):
        raise MalformedMessage(f"{what} has coordinates that are not {algorithm.size} bytes each")
    return key_of_point(b"\x04" + x + y, algorithm, what)
