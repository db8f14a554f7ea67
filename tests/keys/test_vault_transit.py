"""Keys in Vault: exactly what is sent, and what becomes of every answer."""

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

from fedenclave.keys.errors import (
    AnswerNotTrusted,
    CannotUnwrap,
    KeyDestroyed,
    KeysRefused,
    NoSuchKey,
    NotAllowed,
    Unreachable,
)
from fedenclave.keys.locations import Access, open_keys
from fedenclave.keys.provider import KeyProvider, KeyState
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

pytest.importorskip("hvac", reason="hvac is not installed: pip install '.[vault]'")

TOKEN = "s.secret-token"


class Transit:
    """As much of Vault's transit engine as is used, with real AES-GCM."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[int, bytes]] = {}
        self.least: dict[str, int] = {}
        self.encrypts: dict[str, int] = {}
        self.facts: dict[str, object] = {}

    def __call__(self, request: Request) -> tuple[int, Any]:
        if request.headers.get("x-vault-token") != TOKEN:
            return 403, {"errors": ["permission denied"]}
        parts = request.path.removeprefix("/v1/transit/").split("/")
        step, name, *rest = [*parts, ""]
        if step == "keys" and request.method == "LIST":
            return 200, {"data": {"keys": sorted(self.keys)}}
        if step == "keys" and request.method == "GET":
            return self._told(name)
        if step == "keys" and rest == [""]:
            assert request.body["type"] == "aes256-gcm96"
            self.keys[name] = {1: os.urandom(32)}
            self.least[name] = 1
            return 204, None
        if step == "keys":
            return self._changed(name, rest[0], request.body)
        aad = base64.b64decode(request.body["associated_data"])
        return self._used(step, name, request.body, aad)

    def _told(self, name: str) -> tuple[int, Any]:
        if name not in self.keys:
            return 404, {"errors": []}
        facts = {"exportable": False, "allow_plaintext_backup": False, "derived": False}
        versions = {str(version): 1_700_000_000 + version for version in self.keys[name]}
        told = {"type": "aes256-gcm96", "latest_version": max(self.keys[name]), "keys": versions}
        least = {"min_decryption_version": self.least[name]}
        return 200, {"data": {**facts, **told, **least, **self.facts}}

    def _changed(self, name: str, what: str, body: dict[str, Any]) -> tuple[int, Any]:
        if what == "rotate":
            self.keys[name][max(self.keys[name]) + 1] = os.urandom(32)
        elif what == "config":
            encrypts = self.encrypts.get(name, 0)
            self.encrypts[name] = body.get("min_encryption_version", encrypts)
            self.least[name] = body.get("min_decryption_version", self.least[name])
            assert self.encrypts[name] >= self.least[name]
        else:
            least = body["min_available_version"]
            assert least <= min(self.least[name], self.encrypts[name]), "vault refuses to trim it"
            for version in [v for v in self.keys[name] if v < least]:
                del self.keys[name][version]
        return 204, None

    def _used(self, step: str, name: str, body: dict[str, Any], aad: bytes) -> tuple[int, Any]:
        if step == "encrypt":
            version, nonce = max(self.keys[name]), os.urandom(12)
            key = AESGCM(self.keys[name][version])
            sealed = key.encrypt(nonce, base64.b64decode(body["plaintext"]), aad)
            text = base64.b64encode(nonce + sealed).decode()
            return 200, {"data": {"ciphertext": f"vault:v{version}:{text}"}}
        _, number, text = body["ciphertext"].split(":")
        version, raw = int(number[1:]), base64.b64decode(text)
        if version < self.least[name]:
            return 400, {"errors": ["ciphertext or signature version is disallowed by policy"]}
        try:
            plain = AESGCM(self.keys[name][version]).decrypt(raw[:12], raw[12:], aad)
        except (KeyError, InvalidTag):
            return 400, {"errors": ["cipher: message authentication failed"]}
        return 200, {"data": {"plaintext": base64.b64encode(plain).decode()}}


@pytest.fixture
def transit() -> Transit:
    return Transit()


@pytest.fixture
def vault(transit: Transit, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeService]:
    monkeypatch.setenv("VAULT_TOKEN", TOKEN)
    with serving(FakeService(transit)) as fake:
        yield fake


@pytest.fixture
def keys(vault: FakeService, audit: Path) -> KeyProvider:
    access = Access(passphrase=lambda _: b"", audit=audit)
    opened = open_keys(f"vault:{vault.url}#transit/node", access)
    assert opened.key == "node"
    return opened.provider


def test_what_is_sent_is_what_vault_documents(keys: KeyProvider, vault: FakeService) -> None:
    keys.create("node")
    sent = next(r for r in vault.requests if r.method == "POST")
    assert (sent.method, sent.path) == ("POST", "/v1/transit/keys/node")
    assert sent.headers["x-vault-token"] == TOKEN
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    sent = vault.last("/encrypt/node")
    assert sent.body == {
        "plaintext": base64.b64encode(DATA_KEY).decode(),
        "associated_data": base64.b64encode(bound_bytes("vault", "node", "a")).decode(),
    }
    assert (wrapped.provider, wrapped.key, wrapped.version) == ("vault", "node", 1)
    assert wrapped.wrapped.startswith(b"vault:v1:")
    assert keys.unwrap(wrapped, **USE) == DATA_KEY
    assert vault.last("/decrypt/node").body == {
        "ciphertext": wrapped.wrapped.decode(),
        "associated_data": sent.body["associated_data"],
    }


def test_versions_go_from_the_oldest_on(keys: KeyProvider, vault: FakeService) -> None:
    keys.create("node")
    old = keys.wrap(DATA_KEY, "node", **USE)
    assert keys.rotate("node").version == 2
    assert keys.rotate("node").version == 3
    new = keys.wrap(DATA_KEY, "node", **USE)
    assert new.version == 3
    assert keys.unwrap(old, **USE) == DATA_KEY
    before = len(vault.requests)
    with pytest.raises(KeysRefused, match="destroys the oldest version of key node alone"):
        keys.destroy("node", 2)
    assert {request.method for request in vault.requests[before:]} == {"GET"}
    assert keys.destroy("node", 1).state is KeyState.DESTROYED
    with pytest.raises(KeyDestroyed, match="version is disallowed"):
        keys.unwrap(old, **USE)
    assert [(v.version, v.state) for v in keys.versions()] == [
        (2, KeyState.READABLE),
        (3, KeyState.NEWEST),
    ]
    assert keys.unwrap(new, **USE) == DATA_KEY


def test_a_destruction_that_was_broken_off_can_be_called_again(
    keys: KeyProvider, vault: FakeService, transit: Transit
) -> None:
    keys.create("node")
    keys.rotate("node")
    vault.failures["/trim"] = (503, {"errors": ["sealed"]})
    with pytest.raises(Unreachable):
        keys.destroy("node", 1)
    assert [v.state for v in keys.versions()] == [KeyState.SCHEDULED, KeyState.NEWEST]
    vault.failures.clear()
    keys.destroy("node", 1)
    assert sorted(transit.keys["node"]) == [2]


def test_a_changed_or_moved_wrapped_key_does_not_unwrap(keys: KeyProvider) -> None:
    keys.create("node")
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    with pytest.raises(CannotUnwrap, match="message authentication failed"):
        keys.unwrap(wrapped, subject="dataset b", context="b")
    for changed in (b"", b"vault:v2:" + wrapped.wrapped[9:], b"vault:v1:###", b"\xff"):
        with pytest.raises(CannotUnwrap, match="want vault:v1:"):
            keys.unwrap(replace(wrapped, wrapped=changed), **USE)


@pytest.mark.parametrize("fact", ["exportable", "allow_plaintext_backup", "derived", "type"])
def test_a_key_that_can_leave_vault_wraps_nothing(
    keys: KeyProvider, transit: Transit, vault: FakeService, fact: str
) -> None:
    keys.create("node")
    transit.facts = {fact: "chacha20-poly1305" if fact == "type" else True}
    with pytest.raises(NotAllowed, match="neither exportable nor derived"):
        keys.wrap(DATA_KEY, "node", **USE)
    assert not [r for r in vault.requests if "/encrypt/" in r.path]


def test_vault_is_never_made_to_invent_a_key(keys: KeyProvider, vault: FakeService) -> None:
    with pytest.raises(NoSuchKey):
        keys.wrap(DATA_KEY, "node", **USE)
    with pytest.raises(NoSuchKey):
        keys.rotate("node")
    assert {request.method for request in vault.requests} == {"GET"}


ANSWERS: list[tuple[tuple[int, Any] | None, type[FedEnclaveError], str]] = [
    ((403, {"errors": ["permission denied"]}), NotAllowed, "Forbidden: permission denied"),
    ((404, {"errors": []}), NoSuchKey, "InvalidPath"),
    ((429, {"errors": ["slow down"]}), Unreachable, "RateLimitExceeded: slow down"),
    ((503, {"errors": ["Vault is sealed"]}), Unreachable, "Vault is sealed"),
    ((400, {"errors": ["encryption key not found"]}), NoSuchKey, "not found"),
    ((418, {"errors": ["tea"]}), KeysRefused, "tea"),
    (None, Unreachable, "no answer"),
]


@pytest.mark.parametrize(("answer", "error", "message"), ANSWERS)
def test_every_answer_but_the_right_one_is_an_error_and_a_hint(
    keys: KeyProvider,
    vault: FakeService,
    audit: Path,
    answer: tuple[int, Any] | None,
    error: type[FedEnclaveError],
    message: str,
) -> None:
    said = refused_unwrapping(keys, vault, ("/decrypt/node", answer), error, audit)
    assert message in said
    assert TOKEN not in said
    assert TOKEN not in audit.read_text()


def test_a_vault_that_hangs_is_waited_for_no_longer_than_is_said(
    vault: FakeService, audit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedenclave.keys.vault_transit._SECONDS", 0.2)
    keys = open_keys(f"vault:{vault.url}#transit", Access(passphrase=lambda _: b"", audit=audit))
    keys.provider.create("node")
    vault.failures["/encrypt/node"] = HANG
    with pytest.raises(Unreachable, match="ReadTimeout"):
        keys.provider.wrap(DATA_KEY, "node", **USE)


def test_an_answer_that_is_no_wrapped_key_is_not_kept(
    keys: KeyProvider, vault: FakeService
) -> None:
    keys.create("node")
    for odd in ({}, {"data": {}}, None):
        vault.failures["/encrypt/node"] = (200, odd)
        with pytest.raises(FedEnclaveError, match="answers without ciphertext"):
            keys.wrap(DATA_KEY, "node", **USE)
    for text in ("vault:v0:AAAA", "AAAA", "vault:v1:"):
        vault.failures["/encrypt/node"] = (200, {"data": {"ciphertext": text}})
        with pytest.raises(AnswerNotTrusted, match="no wrapped key"):
            keys.wrap(DATA_KEY, "node", **USE)


@pytest.mark.parametrize("odd", [{}, {"data": None}, {"data": {}}, [], {"data": {"keys": []}}])
def test_an_answer_of_another_shape_is_an_error(
    keys: KeyProvider, vault: FakeService, odd: object
) -> None:
    keys.create("node")
    vault.failures["/keys/node"] = (200, odd)
    for call in (keys.versions, lambda: keys.wrap(DATA_KEY, "node", **USE)):
        with pytest.raises(AnswerNotTrusted, match="the answer is none of Vault's"):
            call()


def test_a_short_key_is_no_data_key(keys: KeyProvider, vault: FakeService) -> None:
    keys.create("node")
    wrapped = keys.wrap(DATA_KEY, "node", **USE)
    short = {"data": {"plaintext": base64.b64encode(b"short").decode()}}
    vault.failures["/decrypt/node"] = (200, short)
    with pytest.raises(CannotUnwrap, match="unwraps to 5 bytes, want 32"):
        keys.unwrap(wrapped, **USE)
    vault.failures["/decrypt/node"] = (200, {"data": {"plaintext": "#"}})
    with pytest.raises(AnswerNotTrusted, match="no plaintext"):
        keys.unwrap(wrapped, **USE)


def test_an_expiry_that_nobody_would_keep_is_refused(keys: KeyProvider, vault: FakeService) -> None:
    with pytest.raises(KeysRefused, match="does not remember when a key expires"):
        keys.create("node", expires=2_000_000_000)
    assert vault.requests == []


@pytest.mark.parametrize(
    "where",
    ["vault:http://vault.example:8200#transit/a", "vault:https://vault.example", "vault:x#transit"],
)
def test_an_address_without_tls_or_mount_is_refused(where: str, audit: Path) -> None:
    with pytest.raises(ConfigurationError, match="no https:// address with a mount"):
        open_keys(where, Access(passphrase=lambda _: b"", audit=audit))


def test_without_a_token_nothing_is_asked(
    vault: FakeService, audit: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("VAULT_TOKEN")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="there is no token"):
        open_keys(f"vault:{vault.url}#transit", Access(passphrase=lambda _: b"", audit=audit))
    assert vault.requests == []
