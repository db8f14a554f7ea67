"""The vectors mean to a second implementation, and to ours today, what they meant when made."""

import hashlib
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.protocol.codec import decode, encode
from fedenclave.protocol.sealed_update import read_envelope
from fedenclave.protocol.signing import PublicKey, verify
from fedenclave.protocol.statements import Admission
from tests.vectors import independent, make_vectors

VECTORS = json.loads(make_vectors.FILE.read_text(encoding="utf-8"))
SEALED = pytest.mark.parametrize("vector", VECTORS["sealed"], ids=lambda v: v["suite"])


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def test_what_can_be_made_again_is_made_the_same() -> None:
    today = {
        "encodings": [{"value": v, "bytes": encode(v).hex()} for v in make_vectors.PLAIN],
        "digests": make_vectors.digests(),
        "evidence": make_vectors.evidence(),
        "signature": make_vectors.signature(),
        "merkle": make_vectors.tree(),
        "means": make_vectors.means(),
    }
    assert json.loads(json.dumps(today)) == {k: v for k, v in VECTORS.items() if k != "sealed"}


def test_the_second_implementation_imports_nothing_of_the_first() -> None:
    code = (
        "import sys; import independent;"
        "print([name for name in sys.modules if name.startswith('fedenclave')])"
    )
    folder = Path(independent.__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("vector", VECTORS["encodings"], ids=lambda v: v["bytes"][:16])
def test_encodings(vector: dict) -> None:
    assert independent.cbor(raw(vector["bytes"])) == vector["value"]
    assert decode(raw(vector["bytes"]), max_size=100) == vector["value"]


def test_digests() -> None:
    vectors = VECTORS["digests"]
    for model in vectors["models"]:
        schema = raw(model["schema"])
        plain = independent.cbor(schema)
        assert [[t["name"], t["dtype"], t["shape"]] for t in plain["tensors"]] == model["tensors"]
        assert independent.domain_digest("schema", schema).hex() == model["schema_digest"]
        size = sum(model["chunks"])
        payload = (
            make_vectors.pattern(size) if model["payload"] == "pattern" else raw(model["payload"])
        )
        hashes, position = [], 0
        for chunk in model["chunks"]:
            hashes.append(hashlib.sha256(payload[position : position + chunk]).digest())
            position += chunk
        assert position == len(payload)
        digest = independent.domain_digest("model", raw(model["schema_digest"]), *hashes)
        assert digest.hex() == model["model_digest"]
    source = vectors["manifest"]["source"].encode()
    assert independent.domain_digest("manifest", source).hex() == vectors["manifest"]["digest"]
    code = vectors["measurement"]
    assert independent.domain_digest("measurement", raw(code["code"])).hex() == code["digest"]
    (file,) = independent.cbor(raw(code["code"]))["files"]
    assert file == {"path": "enclave/x.py", "digest": hashlib.sha256(b"pass\n").digest()}


def test_report_data() -> None:
    nonce, manifest = bytes([0xA0]) * 32, bytes([0xA1]) * 32
    key = raw(VECTORS["signature"]["key"])
    bound = independent.report_data(nonce, key, manifest)
    assert bound.hex() == VECTORS["digests"]["report_data"]


def test_evidence_of_hardware() -> None:
    vector = VECTORS["evidence"]
    name, key, parts = independent.evidence_parts(raw(vector["evidence"]))
    assert (name, key) == (vector["format"], raw(VECTORS["signature"]["key"]))
    assert parts == {name: raw(data) for name, data in vector["parts"].items()}
    # Names are sorted by their code points, not by their length as the keys of a map are.
    assert list(parts) == ["Z", "certificate-table", "report", "é"]


def test_training_configuration() -> None:
    vector = VECTORS["digests"]["training_config"]
    parts = [raw(vector[name]) for name in ("message", "run")]
    (table,) = independent.cbor(parts[0])["tables"]
    assert table["name"] == "message"
    assert [
        (entry["key"], entry["many"], [(v["type"], v["data"]) for v in entry["values"]])
        for entry in table["entries"]
    ] == [
        ("lr", False, [("float", struct.pack(">d", 0.5))]),
        ("on", False, [("bool", b"\x01")]),
        ("steps", False, [("int", b"-1a")]),
        ("x", True, [("bytes", b"\x00"), ("text", b"y")]),
    ]
    assert independent.cbor(parts[1]) == {"tables": [{"name": "run", "entries": []}]}
    digests = [independent.domain_digest("configuration", part) for part in parts]
    assert independent.domain_digest("training-config", *digests).hex() == vector["digest"]


def test_signatures() -> None:
    vector = VECTORS["signature"]
    key, payload, signature = (raw(vector[name]) for name in ("key", "payload", "signature"))
    seed = Ed25519PrivateKey.from_private_bytes(raw(vector["seed"]))
    assert seed.public_key().public_bytes_raw() == key
    independent.verify(vector["type"], payload, signature, key)
    with pytest.raises(InvalidSignature):
        independent.verify("rejection", payload, signature, key)
    assert independent.cbor(raw(vector["signed"])) == {
        "type": vector["type"],
        "payload": payload,
        "signature": signature,
    }
    statement = verify(Admission, raw(vector["signed"]), PublicKey(key))
    assert independent.cbor(payload) == statement.to_plain()


@pytest.mark.parametrize("vector", VECTORS["merkle"], ids=lambda v: str(v["count"]))
def test_merkle_trees(vector: dict) -> None:
    leaves = [b"leaf %d" % i for i in range(vector["count"])]
    assert independent.merkle_root(leaves).hex() == vector["root"]
    for index, path in enumerate(vector["paths"]):
        # The path's steps are roots of subtrees without the leaf; the last is the largest.
        if path:
            half = 1 << (len(leaves) - 1).bit_length() - 1
            other = leaves[half:] if index < half else leaves[:half]
            assert independent.merkle_root(other).hex() == path[-1]


@SEALED
def test_a_sealed_update_opens_to_what_was_sealed(vector: dict) -> None:
    sealed = raw(vector["sealed"])
    keys = raw(vector["x25519_private"]), raw(vector["mlkem768_seed"] or "")
    header, signature, num_examples, payload = independent.open_update(
        sealed, vector["chunks"], keys[0], keys[1] or None
    )
    assert payload == raw(vector["payload"])
    assert num_examples == vector["num_examples"]
    assert (header["client"], header["round"], header["federation"]) == ("clinic-1", 7, "vectors")
    assert header["checkpoint"]["size"] == 12
    envelope = read_envelope(sealed)
    signed = independent.signed_payload(envelope.header, envelope.wrapped_key)
    independent.verify("update", signed, signature, raw(vector["client_key"]))
    assert header["sealed_size"] == sum(vector["chunks"]) + 8 + 16 * (len(vector["chunks"]) + 1)


@SEALED
def test_a_sealed_update_opens_under_its_own_header_and_in_its_own_order_only(
    vector: dict,
) -> None:
    sealed = raw(vector["sealed"])
    keys = raw(vector["x25519_private"]), raw(vector["mlkem768_seed"] or "") or None
    size = 8 + int.from_bytes(sealed[4:8], "big")
    last = vector["chunks"][-1] + 16
    cut = sealed[:-last]
    other_header = bytearray(sealed)
    other_header[sealed.index(b"clinic-1")] ^= 1
    for damaged, chunks in (
        (bytes(other_header), vector["chunks"]),
        (cut, vector["chunks"][:-1]),  # the chunk before the last has no last flag
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), vector["chunks"]),
        (sealed[: size + 7] + bytes([sealed[size + 7] ^ 1]) + sealed[size + 8 :], vector["chunks"]),
    ):
        with pytest.raises(InvalidTag):
            independent.open_update(damaged, chunks, *keys)


@pytest.mark.parametrize("vector", VECTORS["means"], ids=lambda v: str(len(v["weights"])))
def test_fixed_point_means(vector: dict) -> None:
    rows = [list(struct.unpack("<5f", raw(row))) for row in vector["rows"]]
    mean = independent.exact_mean(rows, vector["weights"], vector["max_abs"])
    assert struct.pack("<5d", *mean) == raw(vector["mean"])
    plain = np.average(np.array(rows, np.float64), axis=0, weights=vector["weights"])
    assert mean == pytest.approx(plain, rel=1e-8)
