"""Keys in a token: made there, kept there, and whatever the token refuses is said in our words."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.keys.audit import AuditLog
from fedenclave.keys.errors import (
    CannotUnwrap,
    KeyDestroyed,
    KeyExpired,
    KeysRefused,
    NoSuchKey,
    NotAllowed,
    NotRecorded,
)
from fedenclave.keys.locations import Access, open_keys
from fedenclave.keys.provider import KeyProvider, KeyState
from tests.keys.events import read_events
from tests.keys.softhsm import PIN, SoftToken

DATA_KEY = bytes(range(32))
USE = {"subject": "dataset a", "context": "a"}
_numbers = itertools.count()


@pytest.fixture
def name() -> str:
    """A key's name that no other test has: they share the token."""
    return f"key-{next(_numbers)}"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def opened(token: SoftToken, audit: Path, clock: Clock) -> KeyProvider:
    access = Access(passphrase=lambda _: b"", audit=audit, clock=clock)
    return open_keys(token.uri(), access).provider


@pytest.fixture
def keys(token: SoftToken, audit: Path, clock: Clock) -> KeyProvider:
    return opened(token, audit, clock)


@pytest.fixture
def objects(token: SoftToken) -> Iterator[object]:
    """The token's own view, beside ours."""
    import pkcs11

    opened(token, Path(os.devnull), Clock())  # logs the process in
    found = pkcs11.lib(token.module).get_token(token_label=token.label)
    with found.open(rw=True) as session:
        yield session


def test_what_one_session_wraps_another_unwraps(
    keys: KeyProvider, token: SoftToken, audit: Path, clock: Clock, name: str
) -> None:
    assert keys.create(name).version == 1
    wrapped = keys.wrap(DATA_KEY, name, **USE)
    assert (wrapped.provider, wrapped.key, wrapped.version) == ("pkcs11", name, 1)
    assert DATA_KEY not in wrapped.to_bytes()
    assert opened(token, audit, clock).unwrap(wrapped, **USE) == DATA_KEY


def test_the_key_cannot_be_read_out_of_the_token(
    keys: KeyProvider, objects: object, name: str
) -> None:
    import pkcs11

    keys.create(name)
    (found,) = objects.get_objects({pkcs11.Attribute.LABEL: name})  # type: ignore[attr-defined]
    inside = ("SENSITIVE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "LOCAL", "PRIVATE")
    assert all(found[pkcs11.Attribute[each]] for each in inside)
    assert not found[pkcs11.Attribute.EXTRACTABLE]
    assert not found[pkcs11.Attribute.MODIFIABLE]
    with pytest.raises(pkcs11.AttributeSensitive):
        found[pkcs11.Attribute.VALUE]


def test_old_versions_stay_readable_until_they_are_destroyed(keys: KeyProvider, name: str) -> None:
    keys.create(name)
    old = keys.wrap(DATA_KEY, name, **USE)
    assert keys.rotate(name).version == 2
    new = keys.wrap(DATA_KEY, name, **USE)
    assert new.version == 2
    assert keys.unwrap(old, **USE) == DATA_KEY
    states = {v.version: v.state for v in keys.versions() if v.key == name}
    assert states == {1: KeyState.READABLE, 2: KeyState.NEWEST}
    assert keys.destroy(name, 1).state is KeyState.DESTROYED
    with pytest.raises(KeyDestroyed, match="it was destroyed"):
        keys.unwrap(old, **USE)
    with pytest.raises(KeyDestroyed, match="destroyed already"):
        keys.destroy(name, 1)
    assert keys.unwrap(new, **USE) == DATA_KEY
    assert [v.version for v in keys.versions() if v.key == name] == [2]
    assert keys.rotate(name).version == 3


def test_the_newest_version_is_never_destroyed(keys: KeyProvider, name: str) -> None:
    keys.create(name)
    with pytest.raises(KeysRefused, match="version 1 is the newest"):
        keys.destroy(name, 1)
    assert len([v for v in keys.versions() if v.key == name]) == 1


def test_a_changed_or_moved_wrapped_key_does_not_unwrap(keys: KeyProvider, name: str) -> None:
    keys.create(name)
    wrapped = keys.wrap(DATA_KEY, name, **USE)
    for position in range(0, len(wrapped.wrapped), 7):
        flipped = bytearray(wrapped.wrapped)
        flipped[position] ^= 1
        with pytest.raises(CannotUnwrap, match="did not wrap"):
            keys.unwrap(replace(wrapped, wrapped=bytes(flipped)), **USE)
    for short in (b"", b"x" * 11, wrapped.wrapped[:20], wrapped.wrapped[:-1]):
        with pytest.raises(CannotUnwrap):
            keys.unwrap(replace(wrapped, wrapped=short), **USE)
    with pytest.raises(CannotUnwrap, match="did not wrap"):
        keys.unwrap(wrapped, subject="dataset b", context="b")
    keys.rotate(name)
    with pytest.raises(CannotUnwrap, match="version 2"):
        keys.unwrap(replace(wrapped, version=2), **USE)
    with pytest.raises(NoSuchKey, match="version 9; versions of it: 1, 2"):
        keys.unwrap(replace(wrapped, version=9), **USE)
    with pytest.raises(CannotUnwrap, match=r"wrapped by keyring under .* provider given is pkcs11"):
        keys.unwrap(replace(wrapped, provider="keyring"), **USE)
    assert keys.unwrap(wrapped, **USE) == DATA_KEY


def test_an_expired_key_reads_and_seals_nothing_new(
    keys: KeyProvider, clock: Clock, name: str
) -> None:
    keys.create(name, expires=int(clock.now) + 86_400)
    wrapped = keys.wrap(DATA_KEY, name, **USE)
    clock.now += 86_400
    with pytest.raises(KeyExpired, match=r"has expired at .*; what it has sealed stays readable"):
        keys.wrap(DATA_KEY, name, **USE)
    assert keys.unwrap(wrapped, **USE) == DATA_KEY
    assert [v.state for v in keys.versions() if v.key == name] == [KeyState.EXPIRED]
    keys.rotate(name)
    assert keys.wrap(DATA_KEY, name, **USE).version == 2


def test_a_clock_that_is_a_day_behind_seals_nothing_under_a_key_that_expires(
    keys: KeyProvider, clock: Clock, name: str
) -> None:
    keys.create(name, expires=int(clock.now) + 3_600)
    clock.now -= 86_400
    with pytest.raises(KeysRefused, match="want a clock that can tell"):
        keys.wrap(DATA_KEY, name, **USE)
    with pytest.raises(KeysRefused, match="want a time after now"):
        keys.rotate(name, expires=int(clock.now) - 1)


def test_a_key_made_by_hand_is_used_only_if_it_cannot_leave(
    keys: KeyProvider, objects: object, name: str
) -> None:
    import pkcs11

    inside = {pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False}
    made: dict[str, object] = {"store": True, "label": name}
    session = objects
    session.generate_key(  # type: ignore[attr-defined]
        pkcs11.KeyType.AES, 256, id=b"\0\0\0\1", template=inside, **made
    )
    wrapped = keys.wrap(DATA_KEY, name, **USE)
    session.generate_key(  # type: ignore[attr-defined]
        pkcs11.KeyType.AES,
        256,
        id=b"\0\0\0\2",
        template={pkcs11.Attribute.SENSITIVE: False, pkcs11.Attribute.EXTRACTABLE: True},
        **made,
    )
    with pytest.raises(NotAllowed, match="can be read out of the token"):
        keys.wrap(DATA_KEY, name, **USE)
    assert keys.unwrap(wrapped, **USE) == DATA_KEY


def test_two_keys_of_one_version_are_refused_and_named(
    keys: KeyProvider, objects: object, name: str
) -> None:
    import pkcs11

    keys.create(name)
    objects.generate_key(  # type: ignore[attr-defined]
        pkcs11.KeyType.AES, 256, id=b"\0\0\0\1", label=name, store=True
    )
    with pytest.raises(KeysRefused, match=f"has 2 keys {name} version 1, want one"):
        keys.wrap(DATA_KEY, name, **USE)


def test_every_step_is_an_event_and_none_holds_a_secret(
    keys: KeyProvider, audit: Path, name: str
) -> None:
    keys.create(name)
    wrapped = keys.wrap(DATA_KEY, name, **USE)
    keys.unwrap(wrapped, **USE)
    keys.rotate(name)
    keys.destroy(name, 1)
    with pytest.raises(KeyDestroyed):
        keys.unwrap(wrapped, **USE)
    events = read_events(audit)
    assert [event["event"] for event in events] == [
        *("change-begun", "key-created", "key-wrapped", "key-unwrapped"),
        *("change-begun", "key-rotated", "change-begun", "key-destroyed", "unwrap-refused"),
    ]
    assert {(e["provider"], e["place"], e["key"]) for e in events} == {
        ("pkcs11", "pkcs11:token=node", name)
    }
    assert all("uid" in event and "version" in event for event in events)
    text = audit.read_bytes()
    assert PIN.encode() not in text
    assert DATA_KEY not in text
    assert DATA_KEY.hex().encode() not in text
    assert audit.stat().st_mode & 0o777 == 0o600


def test_no_key_of_a_token_is_used_without_a_record(
    keys: KeyProvider, audit: Path, name: str
) -> None:
    keys.create(name)
    keys.rotate(name)
    audit.unlink()
    audit.mkdir()
    with pytest.raises(KeysRefused, match="cannot write the audit event key-wrapped"):
        keys.wrap(DATA_KEY, name, **USE)
    for change in (
        lambda: keys.create(f"{name}-other"),
        lambda: keys.rotate(name),
        lambda: keys.destroy(name, 1),
    ):
        with pytest.raises(NotRecorded, match="cannot write the audit event change-begun"):
            change()
    assert [v.version for v in keys.versions() if v.key == name] == [1, 2]
    assert not [v for v in keys.versions() if v.key == f"{name}-other"]


@pytest.mark.parametrize("event", ["key-created", "key-rotated", "key-destroyed"])
def test_a_change_in_a_token_that_is_not_told_of_was_announced(
    keys: KeyProvider, audit: Path, name: str, event: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = AuditLog.record

    def record(log: AuditLog, told: str, **facts: str | int) -> None:
        if told == event:
            raise NotRecorded("no space left")
        really(log, told, **facts)

    if event != "key-created":
        keys.create(name)
        keys.rotate(name)
    monkeypatch.setattr(AuditLog, "record", record)
    change = {"key-created": keys.create, "key-rotated": keys.rotate}.get(
        event, lambda of: keys.destroy(of, 1)
    )
    with pytest.raises(NotRecorded, match=f"{event}: it is done, and only its announcement"):
        change(name)
    there = [v.version for v in keys.versions() if v.key == name]
    assert there == {"key-created": [1], "key-rotated": [1, 2, 3], "key-destroyed": [2]}[event]
    last = read_events(audit)[-1]
    assert (last["event"], last["change"], last["key"]) == ("change-begun", event, name)


def test_threads_share_a_session_and_processes_do_not(
    keys: KeyProvider, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.create(name)

    def used(number: int) -> bool:
        use = {"subject": "x", "context": str(number)}
        return keys.unwrap(keys.wrap(DATA_KEY, name, **use), **use) == DATA_KEY

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(used, range(40)))
    here = os.getpid()
    monkeypatch.setattr("fedenclave.keys.pkcs11_token.os.getpid", lambda: here + 1)
    with pytest.raises(KeysRefused, match="another process has opened it"):
        keys.wrap(DATA_KEY, name, **USE)
