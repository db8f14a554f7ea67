"""What a change of a keyring leaves when it is killed, met by another, or cannot be recorded."""

import os
import signal
import warnings
from pathlib import Path

import pytest

from fedenclave.keys import durable
from fedenclave.keys.audit import MAX_VALUE, AuditLog
from fedenclave.keys.errors import KeyDestroyed, KeysRefused, NotRecorded, WrongPassphrase
from fedenclave.keys.keyring import Keyring, audit_path, create_keyring, open_keyring
from fedenclave.keys.provider import KeyState, WrappedKey
from fedenclave.protocol.errors import ConfigurationError
from tests.keys.conftest import CHEAP, PASSPHRASE
from tests.keys.events import read_events

DATA_KEY = bytes(range(32))


def killed_rotation(path: Path) -> list[Path]:
    """Kill a rotation before its file takes its name; return what it has left."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            durable.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[attr-defined]
            open_keyring(path, PASSPHRASE).rotate("node")
        finally:
            os._exit(1)
    os.waitpid(child, 0)
    return [path.with_name(name) for name in durable.leftovers(path)]


def test_a_destroyed_key_is_destroyed_in_what_killed_writes_have_left(
    keyring: Keyring, path: Path
) -> None:
    wrapped = keyring.wrap(DATA_KEY, "node", subject="a", context="c")
    (left,) = killed_rotation(path)
    # Else there would be nothing to mend: what is left opens what the keyring does.
    assert open_keyring(left, PASSPHRASE).unwrap(wrapped, subject="a", context="c") == DATA_KEY
    audit_path(left).unlink()
    other = path.with_name(f".{path.name}.other.abcdefgh")
    other.write_bytes(b"a killed write of keyring.other, and not this keyring's to delete")
    keyring.rotate("node")
    assert not left.exists()
    (left,) = killed_rotation(path)
    keyring.destroy("node", 1)
    assert not left.exists()
    assert other.exists()
    names = {entry.name for entry in path.parent.iterdir()}
    assert names == {path.name, other.name, f".{path.name}.lock", audit_path(path).name}


def test_what_cannot_be_swept_stops_the_destroying(keyring: Keyring, path: Path) -> None:
    path.with_name(f".{path.name}.abcdefgh").mkdir()
    with pytest.raises(KeysRefused, match="cannot write the keyring"):
        keyring.destroy("node", 1)
    assert [version.state for version in keyring.versions()] == [KeyState.NEWEST]


def test_an_open_keyring_wraps_under_no_version_that_was_destroyed_meanwhile(
    keyring: Keyring, path: Path
) -> None:
    long_open = open_keyring(path, PASSPHRASE)
    keyring.rotate("node")
    keyring.destroy("node", 1)
    wrapped = long_open.wrap(DATA_KEY, "node", subject="a", context="c")
    assert wrapped.version == 2
    assert open_keyring(path, PASSPHRASE).unwrap(wrapped, subject="a", context="c") == DATA_KEY
    keyring.destroy("node", 2)
    with pytest.raises(KeyDestroyed):
        long_open.wrap(DATA_KEY, "node", subject="a", context="c")
    keyring.rotate("node")
    keyring.change_passphrase(b"new")
    with pytest.raises(WrongPassphrase, match="was changed meanwhile"):
        long_open.wrap(DATA_KEY, "node", subject="a", context="c")


def without_audit(path: Path) -> None:
    audit_path(path).unlink()
    audit_path(path).mkdir()


def test_where_a_change_cannot_be_recorded_nothing_is_changed(keyring: Keyring, path: Path) -> None:
    without_audit(path)
    before = path.read_bytes()
    for change in (
        lambda: keyring.destroy("node", 1),
        lambda: keyring.create("other"),
        lambda: keyring.rotate("node"),
        lambda: keyring.change_passphrase(b"new"),
    ):
        with pytest.raises(KeysRefused, match="cannot write the audit event change-begun"):
            change()
        assert path.read_bytes() == before
    (version,) = open_keyring(path, PASSPHRASE).versions()
    assert version.state is KeyState.NEWEST
    assert keyring.versions() == [version]


def test_a_keyring_that_cannot_be_recorded_is_not_made(path: Path) -> None:
    audit_path(path).mkdir()
    with pytest.raises(KeysRefused, match="keyring-created"):
        create_keyring(path, PASSPHRASE, cost=CHEAP)
    assert not path.exists()


def test_a_change_that_is_done_and_not_told_of_is_on_record_and_says_so(
    keyring: Keyring, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = AuditLog.record

    def record(log: AuditLog, event: str, **facts: str | int) -> None:
        if event == "key-destroyed":
            raise NotRecorded("no space left")
        really(log, event, **facts)

    monkeypatch.setattr(AuditLog, "record", record)
    with pytest.raises(KeysRefused, match="it is done, and only its announcement is on record"):
        keyring.destroy("node", 1)
    assert [version.state for version in keyring.versions()] == [KeyState.DESTROYED]
    last = read_events(audit_path(path))[-1]
    assert (last["event"], last["change"]) == ("change-begun", "key-destroyed")


def test_every_refusal_is_an_event_with_its_reason(keyring: Keyring, path: Path) -> None:
    refused = (
        ("create", lambda: keyring.create("node")),
        ("create", lambda: keyring.create("no/name")),
        ("rotate", lambda: keyring.rotate("other")),
        ("rotate", lambda: keyring.rotate("node", expires=1)),
        ("wrap", lambda: keyring.wrap(DATA_KEY, "other", subject="a", context="c")),
        ("destroy", lambda: keyring.destroy("node", 7)),
    )
    for step, call in refused:
        with pytest.raises(KeysRefused) as error:
            call()
        event = read_events(audit_path(path))[-1]
        assert (event["event"], event["why"]) == (f"{step}-refused", error.value.message)


def test_a_refusal_that_cannot_be_recorded_still_says_why(keyring: Keyring, path: Path) -> None:
    without_audit(path)
    with pytest.raises(NotRecorded, match="node exists already; and this refusal is not on record"):
        keyring.create("node")


def test_a_hostile_heads_names_take_no_room_in_the_audit_log(keyring: Keyring, path: Path) -> None:
    before = audit_path(path).stat().st_size
    log = AuditLog(audit_path(path), lambda: 1000.0)
    log.record("unwrap-refused", why="x" * 8000, key="k" * MAX_VALUE)
    event = read_events(audit_path(path))[-1]
    assert event["why"] == "x" * MAX_VALUE + "... (8000 characters)"
    assert event["key"] == "k" * MAX_VALUE
    hostile = WrappedKey(provider="keyring", key="k" * 8000, version=2**63, wrapped=b"\0" * 61)
    with pytest.raises(KeysRefused):
        keyring.unwrap(hostile, subject="read dataset " + "0" * 8000, context="c")
    assert audit_path(path).stat().st_size - before < 3000


@pytest.mark.timeout(20)
def test_a_pipe_in_a_keyrings_place_keeps_nobody_waiting(path: Path) -> None:
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigurationError, match="it is no file"):
        open_keyring(path, PASSPHRASE)
