"""Write vectors.json: `python tests/vectors/make_vectors.py`. See PROVENANCE.md."""

import json
import struct
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedenclave.enclave import fixed_point
from fedenclave.protocol import merkle
from fedenclave.protocol.codec import encode
from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.evidence import Evidence, EvidenceParts, report_data
from fedenclave.protocol.measurement import measured_code
from fedenclave.protocol.model import Model
from fedenclave.protocol.sealed_update import sealed_size
from fedenclave.protocol.sealing import seal_update
from fedenclave.protocol.signing import Signed, public_key, sign
from fedenclave.protocol.statements import Admission, Checkpoint, Suite, UpdateHeader
from fedenclave.protocol.tensors import DType, Schema, TensorSpec
from fedenclave.protocol.training_config import configuration, training_config

FILE = Path(__file__).with_name("vectors.json")
SEED = bytes(range(32))
KEY = Ed25519PrivateKey.from_private_bytes(SEED)
X25519 = bytes(range(100, 132))
MLKEM = bytes(range(64))
DIGESTS = {name: Digest(bytes([i]) * 32) for i, name in enumerate("abcdef", start=0xA0)}

SMALL = Schema(
    tensors=(
        TensorSpec(name="head.bias", dtype=DType.BFLOAT16, shape=(2,)),
        TensorSpec(name="body", dtype=DType.FLOAT32, shape=(3, 1)),
        TensorSpec(name="scale", dtype=DType.FLOAT16, shape=()),
    )
)
LARGE = Schema(tensors=(TensorSpec(name="w", dtype=DType.FLOAT32, shape=(300, 500)),))
PAYLOAD = struct.pack("<3f", 1.0, -2.5, 0.1) + bytes.fromhex("003c") + bytes.fromhex("803f00c0")
PLAIN = [
    0,
    23,
    24,
    2**32,
    2**64 - 1,
    True,
    False,
    "",
    "Zürich",
    [],
    [1, [2, "3"]],
    {},
    {"b": 1, "aa": [], "a": {"z": False}},
]


def pattern(size: int) -> bytes:
    """Return bytes that anybody can make again: byte i is 7 i mod 251."""
    return bytes(7 * i % 251 for i in range(size))


def schema_plain(schema: Schema) -> list[list[object]]:
    return [[s.name, s.dtype.value, list(s.shape)] for s in schema.tensors]


def digests() -> dict[str, object]:
    code = measured_code({"enclave/x.py": b"pass\n"}, {"python": "3.12.0", "numpy": "2.0"})
    models = []
    for schema, payload in ((SMALL, PAYLOAD), (LARGE, pattern(LARGE.payload_size))):
        models.append(
            {
                "tensors": schema_plain(schema),
                "schema": schema.to_bytes().hex(),
                "schema_digest": schema.digest.hex(),
                "chunks": [chunk.size for chunk in schema.chunks],
                "model_digest": Model(schema=schema, payload=payload).digest().hex(),
                "payload": payload.hex() if schema is SMALL else "pattern",
            }
        )
    return {
        "models": models,
        "manifest": {"source": "a = 1\n", "digest": domain_digest("manifest", b"a = 1\n").hex()},
        "measurement": {"code": code.to_bytes().hex(), "digest": code.measurement.hex()},
        "training_config": told(),
        "report_data": report_data(DIGESTS["a"], public_key(KEY), DIGESTS["b"]).hex(),
    }


def evidence() -> dict[str, object]:
    """Return evidence of a format of hardware; its parts are no vendor's."""
    parts = {"report": pattern(300), "certificate-table": pattern(20), "Z": b"", "é": b"1"}
    document = EvidenceParts.of(parts).to_bytes()
    record = Evidence(format="sev-snp", document=document, signing_key=public_key(KEY))
    return {
        "format": "sev-snp",
        "parts": {name: data.hex() for name, data in parts.items()},
        "evidence": record.to_bytes().hex(),
    }


def told() -> dict[str, str]:
    message = configuration({"message": {"lr": 0.5, "steps": -26, "on": True, "x": [b"\x00", "y"]}})
    run = configuration({"run": {}})
    return {
        "message": message.to_bytes().hex(),
        "run": run.to_bytes().hex(),
        "digest": training_config(message=message.digest, run=run.digest).hex(),
    }


def signature() -> dict[str, str]:
    statement = Admission(
        version=1,
        federation="vectors",
        manifest=DIGESTS["a"],
        round=7,
        client="clinic-1",
        update=DIGESTS["b"],
        data=DIGESTS["c"],
    )
    signed = Signed.from_bytes(sign(statement, KEY))
    return {
        "seed": SEED.hex(),
        "key": public_key(KEY).hex(),
        "type": signed.type,
        "payload": signed.payload.hex(),
        "signature": signed.signature.hex(),
        "signed": signed.to_bytes().hex(),
    }


def tree() -> list[dict[str, object]]:
    made = []
    for count in (0, 1, 2, 3, 7, 8):
        leaves = [b"leaf %d" % i for i in range(count)]
        paths = [[step.hex() for step in path] for path in merkle.inclusion_paths(leaves)]
        made.append({"count": count, "root": merkle.root(leaves).hex(), "paths": paths})
    return made


def sealed(suite: Suite) -> dict[str, object]:
    public = X25519PrivateKey.from_private_bytes(X25519).public_key().public_bytes_raw()
    if suite is Suite.HYBRID:
        mlkem = MLKEM768PrivateKey.from_seed_bytes(MLKEM).public_key()
        public = mlkem.public_bytes_raw() + public
    header = UpdateHeader(
        version=1,
        federation="vectors",
        manifest=DIGESTS["a"],
        round=7,
        announcement=DIGESTS["b"],
        base_model=DIGESTS["c"],
        client="clinic-1",
        data=DIGESTS["e"],
        schema=SMALL.digest,
        sealed_size=sealed_size(SMALL),
        checkpoint=Checkpoint(size=12, root=DIGESTS["d"]),
    )
    update = seal_update(
        update=PAYLOAD,
        num_examples=4711,
        schema=SMALL,
        header=header,
        suite=suite,
        round_key=public,
        signing_key=KEY,
    )
    return {
        "suite": suite.value,
        "x25519_private": X25519.hex(),
        "mlkem768_seed": MLKEM.hex() if suite is Suite.HYBRID else None,
        "round_key": public.hex(),
        "client_key": public_key(KEY).hex(),
        "chunks": [chunk.size for chunk in SMALL.chunks],
        "num_examples": 4711,
        "payload": PAYLOAD.hex(),
        "sealed": bytes(update).hex(),
    }


def means() -> list[dict[str, object]]:
    rng = np.random.default_rng(2017)
    made = []
    for clients, max_abs in ((1, 1.0), (3, 1000.0), (40, 0.7)):
        rows = rng.uniform(-0.7, 0.7, (clients, 5)).astype(np.float32)
        weights = [int(w) for w in rng.integers(1, 10**9, clients)]
        bits = fixed_point.scale_bits(max_abs)
        total, work = np.zeros(5, np.int64), np.zeros(5)
        shares = fixed_point.factors(fixed_point.shares(weights), bits)
        for row, share in zip(rows, shares, strict=True):
            fixed_point.add(total, row, share, work)
        fixed_point.settle(total, clients)
        fixed_point.unscale(total, bits, work)
        made.append(
            {
                "max_abs": max_abs,
                "weights": weights,
                "rows": [row.tobytes().hex() for row in rows],
                "mean": work.tobytes().hex(),
            }
        )
    return made


def main() -> None:
    vectors = {
        "encodings": [{"value": value, "bytes": encode(value).hex()} for value in PLAIN],
        "digests": digests(),
        "evidence": evidence(),
        "signature": signature(),
        "merkle": tree(),
        "sealed": [sealed(Suite.X25519), sealed(Suite.HYBRID)],
        "means": means(),
    }
    FILE.write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
