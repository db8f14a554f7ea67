"""Datasets under keys in a token: sealed there, moved there from a keyring, and back."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from fedenclave.datasets.errors import StorageFailed
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.rotate import rewrap
from fedenclave.keys.keyring import open_keyring
from fedenclave.keys.locations import Access, open_keys
from tests.datasets.conftest import Command
from tests.datasets.test_rotate import _Breaking, snapshot
from tests.keys.conftest import PASSPHRASE
from tests.keys.events import read_events
from tests.keys.softhsm import PIN, SoftToken, soft_token

_numbers = itertools.count()


@pytest.fixture
def hsm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SoftToken:
    monkeypatch.setenv("FEDENCLAVE_KEYS_AUDIT", str(tmp_path / "hsm.jsonl"))
    return soft_token("node")


@pytest.fixture
def name() -> str:
    return f"data-{next(_numbers)}"


def test_a_dataset_lives_under_a_key_in_a_token(
    node: Path, fedenclave: Command, hsm: SoftToken, name: str
) -> None:
    keys = ("--keys", hsm.uri(name))
    made = fedenclave("keys", "create", name, *keys)
    assert (made.status, made.err) == (0, "")
    assert f"key {name} version 1 made at pkcs11:token=node" in made.out
    sealed = fedenclave("data", "seal", node / "plain", node / "sealed", *keys)
    assert (sealed.status, sealed.err) == (0, "")
    assert f"under key {name} version 1 (pkcs11)" in sealed.out
    listed = json.loads(fedenclave("data", "list", node / "sealed", "--json").out)
    assert [(d["provider"], d["key"], d["version"]) for d in listed] == [("pkcs11", name, 1)]
    assert fedenclave("keys", "rotate", *keys).status == 0
    assert fedenclave("data", "verify", node / "sealed", *keys).status == 0
    assert fedenclave("data", "rotate", node / "sealed", *keys).status == 0
    gone = fedenclave("keys", "destroy", name, "1", "--yes", *keys)
    assert gone.status == 0
    assert "backups of pkcs11:token=node, if its maker makes any, may still hold it" in gone.out
    assert fedenclave("data", "verify", node / "sealed", *keys).status == 0
    events = [str(event["event"]) for event in read_events(node / "hsm.jsonl")]
    assert events[:2] == ["change-begun", "key-created"]
    assert "key-destroyed" in events
    assert PIN not in (node / "hsm.jsonl").read_text()


def test_a_dataset_moves_from_a_keyring_into_a_token_and_back(
    node: Path, fedenclave: Command, hsm: SoftToken, name: str
) -> None:
    place = node / "sealed"
    assert fedenclave("data", "seal", node / "plain", place).status == 0
    assert fedenclave("keys", "create", name, "--keys", hsm.uri()).status == 0
    before = snapshot(place)
    moved = fedenclave("data", "rotate", place, "--to", hsm.uri(name))
    assert (moved.status, moved.err) == (0, "")
    assert f"under key {name} version 1 (pkcs11)" in moved.out
    after = snapshot(place)
    assert {part for part in before if before[part] != after[part]} == {"head"}
    # The keyring does not open it any more, and the refusal names who does.
    refused = fedenclave("data", "verify", place)
    assert refused.status == 1
    assert f"wrapped by pkcs11 under {name} version 1, and the provider given is keyring" in (
        refused.err
    )
    assert "--keys pkcs11:..." in refused.err
    assert fedenclave("data", "verify", place, "--keys", hsm.uri(name)).status == 0
    back = fedenclave(
        *("data", "rotate", place, "--keys", hsm.uri(name), "--reencrypt"),
        *("--to", f"keyring:{node / 'keyring'}", "--to-passphrase-file", node / "passphrase"),
    )
    assert (back.status, back.err) == (0, "")
    assert fedenclave("data", "verify", place, "--keyring", node / "keyring").status == 0


def test_a_move_that_breaks_leaves_the_dataset_where_it_was(
    node: Path, fedenclave: Command, hsm: SoftToken, name: str
) -> None:
    place = node / "sealed"
    assert fedenclave("data", "seal", node / "plain", place).status == 0
    ring = open_keyring(node / "keyring", PASSPHRASE)
    access = Access(passphrase=lambda _: PASSPHRASE, audit=node / "events")
    inside = open_keys(hsm.uri(), access).provider
    inside.create(name)
    before = snapshot(place)
    with pytest.raises(StorageFailed, match="no more"):
        rewrap(_Breaking(place, "put"), ring, name, inside)
    assert snapshot(place) == before
    assert fedenclave("data", "verify", place).status == 0
    rewrap(LocalStore(place), ring, name, inside)
    assert fedenclave("data", "verify", place).status == 1


def test_two_places_for_keys_are_one_too_many(
    node: Path, fedenclave: Command, hsm: SoftToken
) -> None:
    both = ("--keys", hsm.uri("a"), "--keyring", node / "keyring")
    ended = fedenclave("data", "verify", node, *both)
    assert ended.status == 1
    assert "both --keys pkcs11:token=node;object=a and --keyring" in ended.err
    assert "pin-source" not in ended.err
    ended = fedenclave("keys", "rotate", "--keys", hsm.uri("a"), "--key", "b")
    assert "--key is b, and --keys names a" in ended.err
    ended = fedenclave("keys", "list", "--keys", "safe:x")
    assert "keys are at 'safe:x', want one of: keyring:PATH" in ended.err
    ended = fedenclave("keys", "backup", "b", "--keys", hsm.uri())
    assert "is no keyring, and this command is for keyrings alone" in ended.err
