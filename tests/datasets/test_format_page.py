"""A reader made from FORMAT.md alone reads what the writer writes: the page is the format."""

import hashlib
import hmac
import struct
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedenclave.datasets.head import read_head
from fedenclave.keys.keyring import Keyring
from fedenclave.keys.provider import WrappedKey
from tests.datasets.conftest import FILES, sealed_at

CHUNK, TAG = 262_144, 16


def nonce(file: int, chunk: int, last: bool) -> bytes:
    return struct.pack(">I", file) + chunk.to_bytes(7, "big") + bytes([last])


def keys_of(head: dict[str, Any], ring: Keyring) -> tuple[AESGCM, AESGCM, bytes]:
    data_key = ring.unwrap(
        WrappedKey(**head["key"]), subject="the page", context=head["dataset"].hex()
    )
    info = b"fedenclave/dataset/v1"
    derived = HKDF(SHA256(), 96, salt=head["dataset"], info=info).derive(data_key)
    return AESGCM(derived[:32]), AESGCM(derived[32:64]), derived[64:]


def pages_of(index: bytes, cipher: AESGCM, dataset: bytes) -> list[dict[str, Any]]:
    assert index[:20] == b"FSI1" + dataset
    sealed, at = [], 20
    while at < len(index):
        (size,) = struct.unpack_from(">I", index, at)
        sealed.append(index[at + 4 : at + 4 + size])
        at += 4 + size
    return [
        cbor2.loads(cipher.decrypt(nonce(0, i, i == len(sealed) - 1), page, dataset))
        for i, page in enumerate(sealed)
    ]


def test_the_page_is_enough_to_read_a_dataset(tmp_path: Path, plain: Path, ring: Keyring) -> None:
    sealed_at(tmp_path / "sealed", plain, ring)
    whole = (tmp_path / "sealed/head").read_bytes()
    assert whole[:4] == b"FSD1"
    outer = cbor2.loads(whole[4:])
    head = cbor2.loads(outer["head"])
    assert head["version"] == 1
    body_cipher, index_cipher, mac_key = keys_of(head, ring)
    signed = b"fedenclave/dataset-head/v1\0" + outer["head"]
    assert hmac.digest(mac_key, signed, hashlib.sha256) == outer["mac"]

    dataset = head["dataset"]
    index = (tmp_path / "sealed" / f"index-{dataset.hex()}").read_bytes()
    body = (tmp_path / "sealed" / f"body-{dataset.hex()}").read_bytes()
    assert (len(index), len(body)) == (head["index_size"], head["body_size"])
    first, *pages = pages_of(index, index_cipher, dataset)
    files = [file for page in pages for file in page["files"]]
    assert len(files) == first["files"]
    assert [file["name"] for file in files] == sorted(FILES, key=str.encode)

    assert body[:20] == b"FSB1" + dataset
    at = 20
    for number, file in enumerate(files, start=1):
        count, data = max(1, -(-file["size"] // CHUNK)), b""
        for chunk in range(count):
            size = min(CHUNK, file["size"] - chunk * CHUNK) + TAG
            last = chunk == count - 1
            data += body_cipher.decrypt(nonce(number, chunk, last), body[at : at + size], dataset)
            at += size
        assert data == FILES[file["name"]]
    assert at == len(body)


def test_the_id_is_in_the_names_and_in_the_head(sealed: Path) -> None:
    head = read_head((sealed / "head").read_bytes(), "").head
    assert sorted(path.name for path in sealed.iterdir()) == [
        f"body-{head.name}",
        "head",
        f"index-{head.name}",
    ]
