"""SPEC.md's worked examples are what the code computes."""

import re
import struct

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedenclave.enclave import fixed_point
from fedenclave.protocol import merkle
from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.codec import encode
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.evidence import report_data
from fedenclave.protocol.model import Model
from fedenclave.protocol.sealing import seal_update
from fedenclave.protocol.signing import Signed, public_key, sign, signing_input, statement_digest
from fedenclave.protocol.statements import Approval, Checkpoint, Suite, UpdateHeader
from fedenclave.protocol.tensors import DType, Schema, TensorSpec
from tests.protocol.specification import rows, section

EXAMPLES = {row[0]: row[1].strip("`") for row in rows(section("17")) if len(row) == 2}
SCHEMA = Schema(
    tensors=(
        TensorSpec(name="b", dtype=DType.FLOAT16, shape=(2,)),
        TensorSpec(name="w", dtype=DType.FLOAT32, shape=(2,)),
    )
)
MODEL = Model(
    schema=SCHEMA, payload=struct.pack("<2f", 1.0, -2.5) + np.array([0.5, 1], "<f2").tobytes()
)
MANIFEST = Digest(bytes([3]) * 32)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NONCES = [bytes([i]) * 32 for i in (1, 2, 3)]
APPROVAL = Approval(version=1, federation="demo", manifest=MANIFEST, member="st-anna")
HEADER = UpdateHeader(
    version=1,
    federation="demo",
    manifest=MANIFEST,
    round=1,
    announcement=Digest(bytes([4]) * 32),
    base_model=MODEL.digest(),
    client="anna-1",
    data=Digest(bytes([6]) * 32),
    schema=SCHEMA.digest,
    sealed_size=layout.sealed_size(SCHEMA),
    checkpoint=Checkpoint(size=1, root=Digest(bytes([5]) * 32)),
)


def sealed() -> bytes:
    return bytes(
        seal_update(
            update=MODEL.payload,
            num_examples=5,
            schema=SCHEMA,
            header=HEADER,
            suite=Suite.X25519,
            round_key=X25519PrivateKey.generate().public_key().public_bytes_raw(),
            signing_key=KEY,
        )
    )


def mean() -> bytes:
    bits = fixed_point.scale_bits(1000.0)
    total, work = np.zeros(1, np.int64), np.zeros(1)
    factors = fixed_point.factors(fixed_point.shares([1, 3]), bits)
    for value, factor in zip((0.1, 0.3), factors, strict=True):
        fixed_point.add(total, np.array([value], np.float32), factor, work)
    fixed_point.settle(total, 2)
    fixed_point.unscale(total, bits, work)
    return work.astype("<f8").tobytes()


def test_the_worked_examples_are_what_the_code_computes() -> None:
    signed = sign(APPROVAL, KEY)
    assert {name: bytes.fromhex(text) for name, text in EXAMPLES.items()} == {
        "encoding": encode({"b": 1, "aa": [], "a": {"z": False}}),
        "schema": SCHEMA.to_bytes(),
        "schema digest": SCHEMA.digest,
        "payload": MODEL.payload,
        "model digest": MODEL.digest(),
        "model file": MODEL.to_bytes(),
        "nonce root": merkle.root(NONCES),
        "path of the third": b"".join(merkle.inclusion_paths(NONCES)[2]),
        "report data": report_data(bytes([1]) * 32, bytes([2]) * 32, MANIFEST),
        "public key": public_key(KEY),
        "approval": APPROVAL.to_bytes(),
        "before the payload": signing_input("approval", b""),
        "signature": Signed.from_bytes(signed).signature,
        "statement digest": statement_digest(signed),
        "header": HEADER.to_bytes(),
        "first 8 bytes": sealed()[:8],
        "nonce of chunk 0": layout.chunk_nonce(0, last=False),
        "nonce of chunk 1": layout.chunk_nonce(1, last=False),
        "nonce of chunk 2": layout.chunk_nonce(2, last=True),
        "m, float64 little-endian": mean(),
    }


def test_the_sealed_updates_parts_lie_where_the_example_says() -> None:
    update = sealed()
    envelope = layout.envelope_size(update[: layout.HEAD_SIZE])
    start = layout.HEAD_SIZE + envelope
    offsets = [start + offset for offset in layout.chunk_offsets(SCHEMA)]
    table = re.search(r"^\| part .*\n\|[-|]+\n((?:\|.*\n)*)", section("17"), re.MULTILINE)
    assert table is not None
    said = [line.strip("| ").split(" | ") for line in table.group(1).splitlines()]
    ends = [layout.HEAD_SIZE, start, *offsets[1:], len(update)]
    begins = [0, layout.HEAD_SIZE, *offsets]
    assert [int(row[1]) for row in said] == [*begins, len(update)]
    sizes = [end - begin for begin, end in zip(begins, ends, strict=True)]
    assert [int(row[2]) for row in said[:-1]] == sizes
    parts = layout.read_envelope(update)
    lengths = len(parts.header), len(parts.wrapped_key), len(parts.signature)
    assert [int(n) for n in re.findall(r" (\d+)[,$]?", said[1][0] + ",")] == list(lengths)
    assert said[-1][0].endswith(f"sealed_size is {layout.sealed_size(SCHEMA)}")
