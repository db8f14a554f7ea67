"""Keys in Azure Key Vault: exactly what is sent, and what becomes of every answer."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from fedenclave.demo.certificates import make_server_certificate
from fedenclave.keys.audit import AuditLog
from fedenclave.keys.errors import (
    AnswerNotTrusted,
    CannotUnwrap,
    KeyDestroyed,
    KeyExpired,
    KeysRefused,
    NoSuchKey,
    NotAllowed,
    Unreachable,
)
from fedenclave.keys.locations import Access, open_keys
from fedenclave.keys.provider import KeyProvider, KeyState
from fedenclave.keys.stored_keys import StoredKeys
from fedenclave.keys.wrapping import bound_bytes
from fedenclave.protocol.digests import sha256
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

pytest.importorskip("azure.keyvault.keys", reason="not installed: pip install '.[azure]'")
from fedenclave.keys.azure_key_vault import AzureKeyVault

TOKEN = "secret-bearer-token"
OAEP = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=None)
NOW = 1_800_000_000


def url_text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def url_bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


@pytest.fixture(scope="module")
def pair() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)  # smaller than ours: it is made for each run


class Vault:
    """As much of Key Vault as is used, with real RSA-OAEP."""

    def __init__(self, pair: rsa.RSAPrivateKey) -> None:
        self.pair, self.url = pair, ""
        self.keys: dict[str, dict[str, Any]] = {}
        self.deleted: dict[str, dict[str, Any]] = {}
        self.spoil: dict[str, Any] = {}

    def __call__(self, request: Request) -> tuple[int, Any]:
        path = request.path.partition("?")[0]
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return 401, {"error": {"code": "Unauthorized", "message": "no token"}}
        if path == "/keys":
            return 200, {"value": [self.item(name) for name in self.keys]}
        if path == "/deletedkeys":
            gone = [self.item(name) | self.deleted[name] for name in self.deleted]
            return 200, {"value": gone}
        _, _, name, *rest = path.split("/")
        if rest == ["create"]:
            assert {k: request.body[k] for k in ("kty", "key_size", "key_ops")} == {
                "kty": "RSA",
                "key_size": 3072,
                "key_ops": ["wrapKey", "unwrapKey"],
            }
            self.keys[name] = {"created": NOW - 5, **request.body.get("attributes", {})}
            return 200, self.bundle(name)
        if name not in self.keys:
            return 404, {"error": {"code": "KeyNotFound", "message": "no such key"}}
        if request.method == "DELETE":
            self.deleted[name] = {"scheduledPurgeDate": NOW + 90 * 86_400, "deletedDate": NOW}
            self.keys.pop(name)
            return 200, self.bundle(name) | self.deleted[name]
        if rest[-1:] == ["unwrapkey"]:
            assert request.body["alg"] == "RSA-OAEP-256"
            try:
                plain = self.pair.decrypt(url_bytes(request.body["value"]), OAEP)
            except ValueError:
                return 400, {"error": {"code": "BadParameter", "message": "cannot"}}
            return 200, {"kid": self.kid(name), "value": url_text(plain), **self.spoil}
        return 200, self.bundle(name)

    def kid(self, name: str) -> str:
        return f"{self.url}/keys/{name}/{sha256(name.encode()).hex()[:32]}"

    def item(self, name: str) -> dict[str, Any]:
        kid = f"{self.url}/keys/{name}"
        return {
            "kid": kid,
            "attributes": {"enabled": True, "created": NOW - 5, **self.keys.get(name, {})},
        }

    def bundle(self, name: str) -> dict[str, Any]:
        numbers = self.pair.public_key().public_numbers()
        jwk = {
            "kid": self.kid(name),
            "kty": "RSA",
            "key_ops": ["wrapKey", "unwrapKey"],
            "n": url_text(numbers.n.to_bytes(256, "big")),
            "e": url_text(numbers.e.to_bytes(3, "big")),
        }
        return {"key": jwk | self.spoil, "attributes": self.item(name)["attributes"]}


class Credential:
    """Gives one token, as a managed identity does."""

    def get_token(self, *_: str, **__: object) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken(TOKEN, int(time.time()) + 3600)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    files = make_server_certificate(tmp_path_factory.mktemp("tls"), now=datetime.now(UTC))
    return files.ca_certificate, files.certificate, files.private_key


@pytest.fixture
def vault(pair: rsa.RSAPrivateKey, tls: tuple[Path, Path, Path]) -> Iterator[FakeService]:
    fake = FakeService(Vault(pair))
    challenge = 'Bearer authorization="https://login.example/t", resource="https://vault.example"'
    fake.headers["WWW-Authenticate"] = challenge
    with serving(fake, tls[1:]):
        fake.answer.url = fake.url  # type: ignore[attr-defined]
        yield fake


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(
    vault: FakeService, audit: Path, clock: Clock, tls: tuple[Path, Path, Path]
) -> KeyProvider:
    transport: dict[str, Any] = {
        "connection_verify": str(tls[0]),
        "verify_challenge_resource": False,  # the fake is on loopback, and not under the resource
        "retry_total": 0,
        "read_timeout": 0.5,
    }
    store = AzureKeyVault(vault.url, Credential(), clock=clock, **transport)
    return StoredKeys(store, AuditLog(audit, clock), clock=clock)


def test_what_is_sent_is_what_key_vault_documents(
    keys: KeyProvider, vault: FakeService, pair: rsa.RSAPrivateKey
) -> None:
    keys.create("node")
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    assert (wrapped.provider, wrapped.key, wrapped.version) == ("azure-key-vault", "node", 1)
    before = len(vault.requests)
    assert keys.unwrap(wrapped, **USE) == DATA_KEY
    sent = vault.last("/unwrapkey")
    assert sent.headers["authorization"] == f"Bearer {TOKEN}"
    assert sent.body.keys() == {"alg", "value"}
    plain = pair.decrypt(url_bytes(sent.body["value"]), OAEP)
    assert plain == DATA_KEY + sha256(bound_bytes("azure-key-vault", "node", "a"))
    # What was wrapped names the version in the vault, and that one is asked.
    version = vault.answer.kid("node-v1").rpartition("/")[2]  # type: ignore[attr-defined]
    assert sent.path.partition("?")[0] == f"/keys/node-v1/{version}/unwrapkey"
    # Wrapping is done here: the data key itself was never sent.
    paths = [request.path for request in vault.requests[:before]]
    assert not [path for path in paths if "wrapkey" in path or "encrypt" in path]


def test_a_version_is_a_key_of_its_own_and_can_be_deleted(keys: KeyProvider) -> None:
    keys.create("node")
    old = keys.wrap(DATA_KEY, "node", **USE)
    assert keys.rotate("node").version == 2
    assert keys.wrap(DATA_KEY, "node", **USE).version == 2
    assert keys.unwrap(old, **USE) == DATA_KEY
    gone = keys.destroy("node", 1)
    assert (gone.state, gone.destroyed) == (KeyState.SCHEDULED, NOW + 90 * 86_400)
    with pytest.raises(NoSuchKey, match="404 KeyNotFound"):
        keys.unwrap(old, **USE)
    with pytest.raises(KeyDestroyed, match="destroyed already"):
        keys.destroy("node", 1)
    assert [v.state for v in keys.versions()] == [KeyState.SCHEDULED, KeyState.NEWEST]


def test_who_may_not_see_deleted_keys_seals_and_reads(
    keys: KeyProvider, vault: FakeService
) -> None:
    keys.create("node")
    vault.failures["/deletedkeys"] = failed(403, "Forbidden")
    assert keys.unwrap(keys.wrap(DATA_KEY, "node", **USE), **USE) == DATA_KEY
    vault.failures["/keys"] = failed(403, "Forbidden")
    with pytest.raises(NotAllowed, match="cannot list its keys"):
        keys.versions()


def test_an_expiry_is_the_vaults_own(keys: KeyProvider, clock: Clock, vault: FakeService) -> None:
    keys.create("node", expires=NOW + 60)
    assert vault.last("/create").body["attributes"]["exp"] == NOW + 60
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    clock.now += 60
    with pytest.raises(KeyExpired):
        keys.wrap(DATA_KEY, "node", **USE)
    assert keys.unwrap(wrapped, **USE) == DATA_KEY


def test_a_moved_or_changed_wrapped_key_does_not_unwrap(keys: KeyProvider) -> None:
    keys.create("node")
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    with pytest.raises(CannotUnwrap, match="has wrapped this, but not for b"):
        keys.unwrap(wrapped, subject="dataset b", context="b")
    with pytest.raises(CannotUnwrap, match="does not decode"):
        keys.unwrap(replace(wrapped, wrapped=b"x"), **USE)
    moved = replace(wrapped, wrapped=wrapped.wrapped.replace(b"127.0.0.1", b"127.0.0.2"))
    with pytest.raises(CannotUnwrap, match="name the vault") as refused:
        keys.unwrap(moved, **USE)
    assert "127.0.0.2" in refused.value.message
    flipped = bytearray(wrapped.wrapped)
    flipped[20] ^= 1
    with pytest.raises(CannotUnwrap, match="400 BadParameter"):
        keys.unwrap(replace(wrapped, wrapped=bytes(flipped)), **USE)


def test_another_keys_public_key_wraps_nothing(keys: KeyProvider, vault: FakeService) -> None:
    keys.create("node")
    other = vault.answer.kid("mallory-v1")  # type: ignore[attr-defined]
    vault.answer.spoil = {"kid": other}  # type: ignore[attr-defined]
    with pytest.raises(AnswerNotTrusted, match="mallory-v1"):
        keys.wrap(DATA_KEY, "node", **USE)


def failed(status: int, code: str) -> tuple[int, Any]:
    return status, {"error": {"code": code, "message": "said so"}}


ANSWERS: list[tuple[tuple[int, Any] | None, type[FedEnclaveError]]] = [
    (failed(403, "Forbidden"), NotAllowed),
    (failed(404, "KeyNotFound"), NoSuchKey),
    (failed(429, "Throttled"), Unreachable),
    (failed(503, "Busy"), Unreachable),
    (failed(409, "Conflict"), KeysRefused),
    (failed(418, "Tea"), KeysRefused),
    (None, Unreachable),
    (HANG, Unreachable),
    ((200, {}), AnswerNotTrusted),
    ((200, []), AnswerNotTrusted),
]


@pytest.mark.parametrize(("answer", "error"), ANSWERS)
def test_every_answer_but_the_right_one_is_an_error_and_a_hint(
    keys: KeyProvider,
    vault: FakeService,
    audit: Path,
    answer: tuple[int, Any] | None,
    error: type[FedEnclaveError],
) -> None:
    message = refused_unwrapping(keys, vault, ("/unwrapkey", answer), error, audit)
    assert "cannot unwrap with key node-v1" in message
    assert TOKEN not in message
    assert TOKEN not in audit.read_text()


def test_a_name_that_key_vault_does_not_take_is_refused_here(keys: KeyProvider) -> None:
    with pytest.raises(KeysRefused, match="cannot be named 'a_b'"):
        keys.create("a_b")


@pytest.mark.parametrize(
    "url", ["node", "http://a.vault.azure.net/keys/a", "https://a.vault.azure.net/secrets/a"]
)
def test_what_names_no_vault_is_refused(url: str, audit: Path) -> None:
    with pytest.raises(ConfigurationError, match="names no vault"):
        open_keys(f"azure-key-vault:{url}", Access(passphrase=lambda _: b"", audit=audit))


def test_a_vault_is_opened_without_asking_anybody(audit: Path) -> None:
    where = "azure-key-vault:https://st-anna.vault.azure.net/keys/node"
    opened = open_keys(where, Access(passphrase=lambda _: b"", audit=audit))
    assert opened.key == "node"
    assert opened.provider.place == "azure-key-vault:https://st-anna.vault.azure.net"
