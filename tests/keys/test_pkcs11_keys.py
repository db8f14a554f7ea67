"""Keys in a token: made there, kept there, and whatever the token refuses is said in our words."""

from __future__ import annotations

import _ssl
import ctypes
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.keys.errors import (
    CannotUnwrap,
    KeyDestroyed,
    KeyExpired,
    KeysRefused,
    NoSuchKey,
    NotAllowed,
    WrongPin,
)
from fedenclave.keys.locations import Access, open_keys
from fedenclave.keys.pkcs11_signing import make_signer
from fedenclave.keys.pkcs11_token import open_token
from fedenclave.keys.pkcs11_uri import TokenUri
from fedenclave.keys.provider import KeyProvider, KeyState
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from tests.keys.events import read_events
from tests.keys.softhsm import PIN, SoftToken, soft_token

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


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "events"


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
    with pytest.raises(KeysRefused, match="cannot write the audit event"):
        keys.destroy(name, 1)
    assert [v.version for v in keys.versions() if v.key == name] == [1, 2]


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


def test_a_wrong_pin_is_tried_once_and_stands_in_no_message(tmp_path: Path) -> None:
    token = soft_token("other")  # one that this process is not logged in to
    wrong = tmp_path / "pin"
    wrong.write_text("some-wrong-pin")
    wrong.chmod(0o600)
    uri = replace(TokenUri.parse(token.uri()), pin_file=wrong)
    with pytest.raises(WrongPin, match="does not take the PIN") as refused:
        open_token(uri)
    assert "locks after a few wrong ones" in refused.value.hint
    assert "some-wrong-pin" not in str(refused.value)
    wrong.chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"PIN file .* has mode 0640"):
        open_token(uri)


def test_a_pin_that_is_refused_is_an_event(audit: Path, tmp_path: Path) -> None:
    token = soft_token("other")  # one that this process is not logged in to
    wrong = tmp_path / "wrong"
    wrong.write_text("some-wrong-pin")
    wrong.chmod(0o600)
    where = token.uri().partition("&pin-source=")[0] + f"&pin-source=file:{wrong}"
    with pytest.raises(WrongPin) as refused:
        open_keys(where, Access(passphrase=lambda _: b"", audit=audit))
    (event,) = read_events(audit)
    assert (event["event"], event["provider"]) == ("pin-refused", "pkcs11")
    assert event["why"] == refused.value.message
    assert "some-wrong-pin" not in audit.read_text()


def test_a_locked_token_is_told_from_a_wrong_pin(
    token: SoftToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pkcs11

    locked = pkcs11.TokenFlag.USER_PIN_LOCKED

    class Token:
        label, serial, manufacturer_id, model, flags = "node", b"1", "", "", locked

        def open(self, **_: object) -> None:
            pytest.fail("a PIN was tried")

    class Library:
        def get_tokens(self) -> list[Token]:
            return [Token()]

    monkeypatch.setattr(pkcs11, "lib", lambda _: Library())
    with pytest.raises(WrongPin, match="is locked") as refused:
        open_token(TokenUri.parse(token.uri()))
    assert "nothing was tried now" in refused.value.hint


def test_without_a_file_and_a_terminal_nobody_is_asked_for_a_pin(token: SoftToken) -> None:
    uri = replace(TokenUri.parse(token.uri()), pin_file=None)
    with pytest.raises(ConfigurationError, match="nothing says where the PIN"):
        open_token(uri)
    asked: list[str] = []
    opened = open_token(uri, lambda question: asked.append(question) or PIN.encode())
    assert asked == ["PIN of pkcs11:token=node"]
    assert opened.place == "pkcs11:token=node"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token": "none"}, "has 0 tokens that are pkcs11:token=none"),
        ({"serial": "0"}, "has 0 tokens"),
        ({"module": Path("/nowhere.so")}, "cannot be loaded as a PKCS #11 library"),
        ({"module": Path("/etc/passwd")}, "cannot be loaded as a PKCS #11 library"),
        ({"pin_file": Path("/nowhere")}, "cannot read the PIN file /nowhere"),
        ({"module": None}, "nothing says which library"),
    ],
)
def test_what_is_not_there_is_named(
    token: SoftToken, changes: dict[str, object], message: str
) -> None:
    uri = replace(TokenUri.parse(token.uri()), **changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=message) as refused:
        open_token(uri)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pkcs11:", "names no token"),
        ("pkcs11:object=a", "names no token"),
        ("pkcs11:token=a;token=b", "'token' twice"),
        ("pkcs11:token=a;slot-id=1", "'slot-id' that is not understood"),
        ("pkcs11:token=a?pin-value=12345", "holds a PIN"),
        ("pkcs11:token=a?pin-source=pin", "want an absolute path"),
        ("pkcs11:token=a?module-path=x.so", "want an absolute path"),
        ("pkcs11:token=%ff", "token is not UTF-8"),
        ("pkcs11:token=a;type=cert", "no key"),
    ],
)
def test_a_uri_that_is_not_understood_is_refused(text: str, message: str) -> None:
    with pytest.raises(FedEnclaveError, match=message) as refused:
        TokenUri.parse(text)
    assert "12345" not in str(refused.value)


def test_a_uri_is_read_as_rfc_7512_writes_it() -> None:
    uri = TokenUri.parse(
        "pkcs11:token=my%20token;object=a%3Bb?module-path=/x.so&pin-source=file:/pin"
    )
    assert uri == TokenUri(
        token="my token", object="a;b", module=Path("/x.so"), pin_file=Path("/pin")
    )


def test_a_tokens_library_leaves_no_error_for_a_tls_connection_of_the_same_thread() -> None:
    """SoftHSM leaves "no such engine" in the queue that ssl reads, and a round was lost by it."""
    libcrypto = ctypes.CDLL(_ssl.__file__)
    peek = getattr(libcrypto, "ERR_peek_error", None)
    if peek is None:
        pytest.skip("this Python's ssl has its OpenSSL inside, where no token's library finds it")
    peek.restype = ctypes.c_ulong
    token = soft_token("node")
    signer = make_signer(token.uri("leaves-no-error"))
    assert peek() == 0
    signer.sign(b"text")
    assert peek() == 0
