"""Keys in Google Cloud KMS: what is sent, every checksum, and what becomes of every answer."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.keys import gcp_kms
from fedenclave.keys.audit import AuditLog
from fedenclave.keys.crc32c import crc32c
from fedenclave.keys.errors import (
    AnswerNotTrusted,
    CannotUnwrap,
    KeyDestroyed,
    KeysRefused,
    NoSuchKey,
    NotAllowed,
    Unreachable,
)
from fedenclave.keys.gcp_kms import GcpKms, kms_library
from fedenclave.keys.locations import Access, open_keys
from fedenclave.keys.provider import KeyProvider, KeyState
from fedenclave.keys.stored_keys import StoredKeys
from fedenclave.keys.wrapping import bound_bytes
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from tests.keys.fake_service import (
    DATA_KEY,
    HANG,
    USE,
    FakeService,
    Request,
    refused_unwrapping,
    serving,
)

pytest.importorskip(
    "google.cloud.kms_v1", reason="google-cloud-kms is not installed: pip install '.[gcp]'"
)

RING = "projects/p/locations/europe-west3/keyRings/r"


def raw(text: str) -> bytes:
    return base64.b64decode(text)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


class CloudKms:
    """As much of Cloud KMS as is used, with real AES-GCM and real checksums."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[int, bytes]] = {}
        self.gone: dict[tuple[str, int], str] = {}
        self.spoil: dict[str, object] = {}

    def __call__(self, request: Request) -> tuple[int, Any]:
        path, _, query = request.path.removeprefix("/v1/").partition("?")
        name, _, step = path.partition(":")
        parts = name.removeprefix(f"{RING}/cryptoKeys").strip("/").split("/")
        key = parts[0]
        if step in ("encrypt", "decrypt"):
            return getattr(self, step)(key, name, request.body)  # type: ignore[no-any-return]
        if step == "destroy":
            self.gone[key, int(parts[2])] = "2033-01-01T00:00:00Z"
            return 200, self.version(key, int(parts[2]))
        if step == "updatePrimaryVersion":
            assert request.body == {"cryptoKeyVersionId": str(max(self.keys[key]))}
            return 200, {"name": name}
        if request.method == "POST" and not key:
            assert request.body == {"purpose": 1}  # ENCRYPT_DECRYPT
            new = query.partition("cryptoKeyId=")[2].partition("&")[0]
            self.keys[new] = {1: os.urandom(32)}
            return 200, {"name": f"{name}/{new}"}
        if request.method == "POST":
            number = max(self.keys[key]) + 1
            self.keys[key][number] = os.urandom(32)
            return 200, self.version(key, number)
        if not key:
            named = [{"name": f"{name}/{k}", "purpose": "ENCRYPT_DECRYPT"} for k in self.keys]
            return 200, {"cryptoKeys": named}
        if key not in self.keys:
            return 404, {"error": {"code": 404, "message": "not found", "status": "NOT_FOUND"}}
        return 200, {"cryptoKeyVersions": [self.version(key, v) for v in self.keys[key]]}

    def version(self, key: str, number: int) -> dict[str, str]:
        told = {
            "name": f"{RING}/cryptoKeys/{key}/cryptoKeyVersions/{number}",
            "state": "ENABLED",
            "createTime": "2026-11-01T00:00:00Z",
        }
        if at := self.gone.get((key, number)):
            return told | {"state": "DESTROY_SCHEDULED", "destroyTime": at}
        return told

    def encrypt(self, key: str, name: str, body: dict[str, Any]) -> tuple[int, Any]:
        plain, aad = raw(body["plaintext"]), raw(body["additionalAuthenticatedData"])
        seen = int(body["plaintextCrc32c"]) == crc32c(plain)
        seen_aad = int(body["additionalAuthenticatedDataCrc32c"]) == crc32c(aad)
        version, nonce = max(self.keys[key]), os.urandom(12)
        sealed = bytes([version]) + nonce
        sealed += AESGCM(self.keys[key][version]).encrypt(nonce, plain, aad)
        return 200, {
            "name": f"{name}/cryptoKeyVersions/{version}",
            "ciphertext": text(sealed),
            "ciphertextCrc32c": str(crc32c(sealed)),
            "verifiedPlaintextCrc32c": seen,
            "verifiedAdditionalAuthenticatedDataCrc32c": seen_aad,
            **self.spoil,
        }

    def decrypt(self, key: str, name: str, body: dict[str, Any]) -> tuple[int, Any]:
        sealed, aad = raw(body["ciphertext"]), raw(body["additionalAuthenticatedData"])
        assert int(body["ciphertextCrc32c"]) == crc32c(sealed)
        assert int(body["additionalAuthenticatedDataCrc32c"]) == crc32c(aad)
        if (key, sealed[0]) in self.gone:
            status = {"code": 400, "message": "not enabled", "status": "FAILED_PRECONDITION"}
            return 400, {"error": status}
        try:
            plain = AESGCM(self.keys[key][sealed[0]]).decrypt(sealed[1:13], sealed[13:], aad)
        except (InvalidTag, KeyError):
            status = {"code": 400, "message": "decryption failed", "status": "INVALID_ARGUMENT"}
            return 400, {"error": status}
        told = {
            "plaintext": text(plain),
            "plaintextCrc32c": str(crc32c(plain)),
            "usedPrimary": True,
        }
        return 200, {**told, **self.spoil}


@pytest.fixture
def cloud() -> CloudKms:
    return CloudKms()


@pytest.fixture
def kms(cloud: CloudKms) -> Iterator[FakeService]:
    with serving(FakeService(cloud)) as fake:
        yield fake


@pytest.fixture
def keys(kms: FakeService, audit: Path) -> KeyProvider:
    library = kms_library()
    from google.auth.credentials import AnonymousCredentials

    rest = library.KeyManagementServiceClient.get_transport_class("rest")
    transport = rest(
        host=kms.url.removeprefix("http://"), url_scheme="http", credentials=AnonymousCredentials()
    )
    client = library.KeyManagementServiceClient(transport=transport)

    def clock() -> float:
        return 1_800_000_000.0

    return StoredKeys(GcpKms(client, RING, clock=clock), AuditLog(audit, clock), clock=clock)


def test_the_checksum_is_crc32c() -> None:
    # RFC 3720, appendix B.4, and the check value of the CRC catalogue.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_what_is_sent_is_what_cloud_kms_documents(keys: KeyProvider, kms: FakeService) -> None:
    keys.create("node")
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    assert (wrapped.provider, wrapped.key, wrapped.version) == ("gcp-kms", "node", 1)
    assert keys.unwrap(wrapped, **USE) == DATA_KEY
    bound = bound_bytes("gcp-kms", "node", "a")
    aad = {
        "additionalAuthenticatedData": text(bound),
        "additionalAuthenticatedDataCrc32c": str(crc32c(bound)),
    }
    encrypt, decrypt = kms.last(":encrypt"), kms.last(":decrypt")
    assert encrypt.path.partition("?")[0] == f"/v1/{RING}/cryptoKeys/node:encrypt"
    assert decrypt.path.partition("?")[0] == f"/v1/{RING}/cryptoKeys/node:decrypt"
    plain = {"plaintext": text(DATA_KEY), "plaintextCrc32c": str(crc32c(DATA_KEY))}
    assert _without_name(encrypt.body) == aad | plain
    sealed = {"ciphertext": text(wrapped.wrapped), "ciphertextCrc32c": str(crc32c(wrapped.wrapped))}
    assert _without_name(decrypt.body) == aad | sealed


def _without_name(body: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) for key, value in body.items() if key != "name"}


def test_a_new_version_becomes_primary_and_the_old_one_reads(
    keys: KeyProvider, kms: FakeService
) -> None:
    keys.create("node")
    old = keys.wrap(DATA_KEY, "node", **USE)
    assert keys.rotate("node").version == 2
    assert kms.last(":updatePrimaryVersion").method == "POST"
    assert keys.wrap(DATA_KEY, "node", **USE).version == 2
    assert keys.unwrap(old, **USE) == DATA_KEY
    gone = keys.destroy("node", 1)
    assert (gone.state, gone.destroyed) == (KeyState.SCHEDULED, 1_988_150_400)
    with pytest.raises(KeyDestroyed, match="not enabled") as refused:
        keys.unwrap(old, **USE)
    assert "its administrator can restore it" in refused.value.hint
    assert [v.state for v in keys.versions()] == [KeyState.SCHEDULED, KeyState.NEWEST]


def test_a_moved_wrapped_key_does_not_unwrap(keys: KeyProvider) -> None:
    keys.create("node")
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    with pytest.raises(CannotUnwrap, match="decryption failed"):
        keys.unwrap(wrapped, subject="dataset b", context="b")
    keys.create("other")
    with pytest.raises(CannotUnwrap):
        keys.unwrap(replace(wrapped, key="other"), **USE)


SPOILED: list[tuple[str, dict[str, object], str]] = [
    ("wrap", {"ciphertextCrc32c": "1"}, "does not have the checksum"),
    ("wrap", {"ciphertext": text(b"other")}, "does not have the checksum"),
    ("wrap", {"verifiedPlaintextCrc32c": False}, "does not say that it has seen"),
    ("wrap", {"verifiedAdditionalAuthenticatedDataCrc32c": False}, "does not say that it has seen"),
    ("wrap", {"name": f"{RING}/cryptoKeys/mallory/cryptoKeyVersions/1"}, "want a version of"),
    ("wrap", {"name": f"{RING}/cryptoKeys/node/cryptoKeyVersions/x"}, "want a version of"),
    ("unwrap", {"plaintextCrc32c": "1"}, "does not have the checksum"),
    ("unwrap", {"plaintext": text(bytes(32))}, "does not have the checksum"),
]


@pytest.mark.parametrize(("step", "spoil", "message"), SPOILED)
def test_a_damaged_or_foreign_answer_is_not_trusted(
    keys: KeyProvider, cloud: CloudKms, step: str, spoil: dict[str, object], message: str
) -> None:
    keys.create("node")
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    cloud.spoil = spoil
    with pytest.raises(AnswerNotTrusted, match=message):
        keys.wrap(DATA_KEY, "node", **USE) if step == "wrap" else keys.unwrap(wrapped, **USE)


def status(code: int, name: str) -> tuple[int, Any]:
    return code, {"error": {"code": code, "message": "said so", "status": name}}


ANSWERS: list[tuple[tuple[int, Any] | None, type[FedEnclaveError]]] = [
    (status(403, "PERMISSION_DENIED"), NotAllowed),
    (status(401, "UNAUTHENTICATED"), NotAllowed),
    (status(404, "NOT_FOUND"), NoSuchKey),
    (status(400, "INVALID_ARGUMENT"), CannotUnwrap),
    (status(429, "RESOURCE_EXHAUSTED"), Unreachable),
    (status(503, "UNAVAILABLE"), Unreachable),
    (status(504, "DEADLINE_EXCEEDED"), Unreachable),
    (status(409, "ALREADY_EXISTS"), KeysRefused),
    ((502, None), Unreachable),
    ((400, {"error": "odd"}), AnswerNotTrusted),
    (None, Unreachable),
]


@pytest.mark.parametrize(("answer", "error"), ANSWERS)
def test_every_answer_but_the_right_one_is_an_error_and_a_hint(
    keys: KeyProvider,
    kms: FakeService,
    audit: Path,
    answer: tuple[int, Any] | None,
    error: type[FedEnclaveError],
) -> None:
    message = refused_unwrapping(keys, kms, (":decrypt", answer), error, audit)
    assert "cannot unwrap with key node version 1" in message


def test_a_service_that_hangs_is_waited_for_no_longer_than_is_said(
    keys: KeyProvider, kms: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.create("node")
    monkeypatch.setitem(gcp_kms._HOW, "timeout", 0.2)
    kms.failures[":encrypt"] = HANG
    with pytest.raises(Unreachable, match="ReadTimeout"):
        keys.wrap(DATA_KEY, "node", **USE)


def test_a_name_that_cloud_kms_does_not_take_is_refused_here(keys: KeyProvider) -> None:
    with pytest.raises(KeysRefused, match=r"cannot be named 'a\.b'"):
        keys.create("a.b")


@pytest.mark.parametrize("resource", ["node", "projects/p", f"{RING}/cryptoKeys/", f"{RING}/x"])
def test_what_names_no_key_ring_is_refused(resource: str, audit: Path) -> None:
    with pytest.raises(ConfigurationError, match="names no key ring"):
        open_keys(f"gcp-kms:{resource}", Access(passphrase=lambda _: b"", audit=audit))


def test_without_credentials_nothing_is_asked(
    audit: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kms_library()
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    def none(*_: object, **__: object) -> None:
        raise DefaultCredentialsError("none")

    monkeypatch.setattr(google.auth, "default", none)
    with pytest.raises(ConfigurationError, match="there are no Google credentials"):
        open_keys(f"gcp-kms:{RING}", Access(passphrase=lambda _: b"", audit=audit))
