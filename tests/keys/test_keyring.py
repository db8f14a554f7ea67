"""A keyring keeps, versions and destroys keys, and says which of its troubles it is."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fedenclave.keys.errors import (
    CannotUnwrap,
    KeyDestroyed,
    KeyringDamaged,
    KeysRefused,
    NoSuchKey,
    WrongPassphrase,
)
from fedenclave.keys.keyring import Keyring, audit_path, create_keyring, open_keyring
from fedenclave.keys.keyring_file import MAGIC, Cost, KeyringFile, Lock, open_with, read_head
from fedenclave.keys.provider import KeyState, WrappedKey
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.errors import ConfigurationError
from tests.keys.conftest import CHEAP, PASSPHRASE
from tests.keys.events import read_events

DATA_KEY = bytes(range(32))


def test_what_one_process_wraps_another_unwraps(keyring: Keyring, path: Path) -> None:
    wrapped = keyring.wrap(DATA_KEY, "node", subject="dataset a", context="c")
    again = open_keyring(path, PASSPHRASE)
    assert again.unwrap(wrapped, subject="dataset a", context="c") == DATA_KEY
    assert (wrapped.provider, wrapped.key, wrapped.version) == ("keyring", "node", 1)
    assert DATA_KEY not in wrapped.to_bytes()


def test_old_versions_stay_readable_and_the_newest_wraps(keyring: Keyring, path: Path) -> None:
    old = keyring.wrap(DATA_KEY, "node", subject="a", context="c")
    assert keyring.rotate("node").version == 2
    assert keyring.wrap(DATA_KEY, "node", subject="b", context="c").version == 2
    assert open_keyring(path, PASSPHRASE).unwrap(old, subject="a", context="c") == DATA_KEY
    assert [v.state for v in keyring.versions()] == [KeyState.READABLE, KeyState.NEWEST]


def test_destroying_a_version_erases_what_only_it_opens(keyring: Keyring, path: Path) -> None:
    old = keyring.wrap(DATA_KEY, "node", subject="a", context="c")
    keyring.rotate("node")
    new = keyring.wrap(DATA_KEY, "node", subject="b", context="c")
    assert keyring.destroy("node", 1).state is KeyState.DESTROYED
    for ring in (keyring, open_keyring(path, PASSPHRASE)):
        with pytest.raises(KeyDestroyed, match="node version 1 was destroyed"):
            ring.unwrap(old, subject="a", context="c")
        assert ring.unwrap(new, subject="b", context="c") == DATA_KEY
    with pytest.raises(KeyDestroyed):
        keyring.destroy("node", 1)


def test_a_destroyed_version_is_not_in_the_file(keyring: Keyring, path: Path) -> None:
    def secrets() -> list[int]:
        file = read_head(path.read_bytes())
        contents = open_with(file, Lock.derive(PASSPHRASE, file.cost, file.salt))
        return [len(stored.secret) for stored in contents.versions]

    keyring.rotate("node")
    assert secrets() == [32, 32]
    keyring.destroy("node", 1)
    assert secrets() == [0, 32]


def test_a_destroyed_newest_version_wraps_nothing_until_a_new_one_is_made(
    keyring: Keyring,
) -> None:
    keyring.destroy("node", 1)
    with pytest.raises(KeyDestroyed, match="node version 1"):
        keyring.wrap(DATA_KEY, "node", subject="a", context="c")
    assert keyring.rotate("node").version == 2
    assert keyring.wrap(DATA_KEY, "node", subject="a", context="c").version == 2


def test_a_wrong_passphrase_is_told_from_a_damaged_file(keyring: Keyring, path: Path) -> None:
    with pytest.raises(WrongPassphrase, match="whose file is whole"):
        open_keyring(path, b"wrong horse")
    data = path.read_bytes()
    for cut in (0, 3, 4, 20, 36, 60, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(KeyringDamaged):
            open_keyring(path, PASSPHRASE)
    path.write_bytes(data + b"\x00")
    with pytest.raises(KeyringDamaged):
        open_keyring(path, PASSPHRASE)


def test_a_flipped_bit_anywhere_is_a_damaged_file(keyring: Keyring, path: Path) -> None:
    data = path.read_bytes()
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        with pytest.raises(KeyringDamaged):
            open_keyring(path, PASSPHRASE)


def forged(path: Path, **changes: object) -> None:
    """Change the keyring's file as somebody would who puts its digest right, too."""
    from dataclasses import replace

    file = KeyringFile.from_bytes(path.read_bytes()[36:])
    body = replace(file, **changes).to_bytes()  # type: ignore[arg-type]
    path.write_bytes(MAGIC + sha256(body) + body)


@pytest.mark.parametrize(
    "cost",
    [
        Cost(memory_kib=1 << 40, passes=1, lanes=1),
        Cost(memory_kib=1 << 21, passes=1, lanes=1),
        Cost(memory_kib=64, passes=1 << 31, lanes=1),
        Cost(memory_kib=64, passes=0, lanes=1),
        Cost(memory_kib=64, passes=1, lanes=0),
        Cost(memory_kib=7, passes=1, lanes=1),
    ],
)
def test_a_cost_out_of_bounds_takes_no_memory_and_no_time(
    keyring: Keyring, path: Path, cost: Cost, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged(path, cost=cost)
    monkeypatch.setattr(Lock, "derive", lambda *_: pytest.fail("the passphrase was tried"))
    with pytest.raises(KeyringDamaged, match="want at most"):
        open_keyring(path, PASSPHRASE)


def test_a_changed_cost_or_salt_opens_nothing(keyring: Keyring, path: Path) -> None:
    whole = path.read_bytes()
    for changes in ({"cost": Cost(memory_kib=128, passes=1, lanes=1)}, {"salt": b"0" * 16}):
        path.write_bytes(whole)
        forged(path, **changes)
        with pytest.raises(WrongPassphrase):
            open_keyring(path, PASSPHRASE)
    path.write_bytes(whole)
    forged(path, version=3)
    with pytest.raises(KeyringDamaged, match="has version 3, want at most 2"):
        open_keyring(path, PASSPHRASE)


def test_a_keyring_that_others_can_read_is_refused(keyring: Keyring, path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="mode 0640, want 0600"):
        open_keyring(path, PASSPHRASE)


def test_a_keyring_is_never_written_over(keyring: Keyring, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(KeysRefused, match="exists already"):
        create_keyring(path, PASSPHRASE, cost=CHEAP)
    assert path.read_bytes() == before
    with pytest.raises(KeysRefused, match="node exists already"):
        keyring.create("node")
    with pytest.raises(ConfigurationError, match="cannot read the keyring"):
        open_keyring(path.with_name("none"), PASSPHRASE)


@pytest.mark.parametrize("name", ["", "../x", "a b", "a\n", "-x", "é", "x" * 65])
def test_a_key_has_a_plain_name(keyring: Keyring, name: str) -> None:
    with pytest.raises(KeysRefused, match="cannot be named"):
        keyring.create(name)


def test_two_processes_lose_nothing_of_each_others(keyring: Keyring, path: Path) -> None:
    first, second = open_keyring(path, PASSPHRASE), open_keyring(path, PASSPHRASE)
    first.create("a")
    second.create("b")
    first.rotate("a")
    names = [(v.key, v.version) for v in open_keyring(path, PASSPHRASE).versions()]
    assert names == [("a", 1), ("a", 2), ("b", 1), ("node", 1)]


def test_a_new_passphrase_takes_the_place_of_the_old_one(keyring: Keyring, path: Path) -> None:
    other = open_keyring(path, PASSPHRASE)
    wrapped = keyring.wrap(DATA_KEY, "node", subject="a", context="c")
    salt = KeyringFile.from_bytes(path.read_bytes()[36:]).salt
    keyring.change_passphrase(b"new")
    assert KeyringFile.from_bytes(path.read_bytes()[36:]).salt != salt
    with pytest.raises(WrongPassphrase):
        open_keyring(path, PASSPHRASE)
    assert open_keyring(path, b"new").unwrap(wrapped, subject="a", context="c") == DATA_KEY
    with pytest.raises(WrongPassphrase, match="was changed meanwhile"):
        other.rotate("node")
    keyring.rotate("node")


def test_what_was_not_wrapped_here_is_refused_and_named(keyring: Keyring, tmp_path: Path) -> None:
    wrapped = keyring.wrap(DATA_KEY, "node", subject="a", context="c")

    def changed(**changes: object) -> WrappedKey:
        fields = {name: getattr(wrapped, name) for name in ("provider", "key", "version")}
        return WrappedKey(**({**fields, "wrapped": wrapped.wrapped} | changes))  # type: ignore[arg-type]

    for position in range(len(wrapped.wrapped)):
        flipped = bytearray(wrapped.wrapped)
        flipped[position] ^= 1
        with pytest.raises(CannotUnwrap, match="did not wrap this key of 61 bytes"):
            keyring.unwrap(changed(wrapped=bytes(flipped)), subject="a", context="c")
    for short in (b"", b"x" * 11, wrapped.wrapped[:-1]):
        with pytest.raises(CannotUnwrap):
            keyring.unwrap(changed(wrapped=short), subject="a", context="c")
    with pytest.raises(
        CannotUnwrap,
        match="wrapped by aws-kms under node version 1, and the provider given is keyring",
    ):
        keyring.unwrap(changed(provider="aws-kms"), subject="a", context="c")
    with pytest.raises(NoSuchKey, match="no key node version 7; versions of it: 1"):
        keyring.unwrap(changed(version=7), subject="a", context="c")
    with pytest.raises(NoSuchKey, match="no key other version 1; versions of it: none"):
        keyring.unwrap(changed(key="other"), subject="a", context="c")
    stranger = create_keyring(tmp_path / "stranger", PASSPHRASE, cost=CHEAP)
    stranger.create("node")
    with pytest.raises(CannotUnwrap, match="did not wrap"):
        stranger.unwrap(wrapped, subject="a", context="c")
    keyring.rotate("node")
    with pytest.raises(CannotUnwrap, match="node version 2"):
        keyring.unwrap(changed(version=2), subject="a", context="c")


def test_every_step_is_an_event_without_key_bytes(keyring: Keyring, path: Path) -> None:
    wrapped = keyring.wrap(DATA_KEY, "node", subject="dataset 3f", context="c")
    keyring.unwrap(wrapped, subject="dataset 3f", context="c")
    keyring.rotate("node")
    keyring.destroy("node", 1)
    with pytest.raises(KeyDestroyed):
        keyring.unwrap(wrapped, subject="dataset 3f", context="c")
    with pytest.raises(WrongPassphrase):
        open_keyring(path, b"wrong", clock=lambda: 1000.0)
    keyring.change_passphrase(b"new")
    events = read_events(audit_path(path))
    assert [event.get("change", event["event"]) for event in events] == [
        *("keyring-created", "key-created", "key-created", "key-wrapped", "key-unwrapped"),
        *("key-rotated", "key-rotated", "key-destroyed", "key-destroyed", "unwrap-refused"),
        *("passphrase-refused", "passphrase-changed", "passphrase-changed"),
    ]
    begun = [number for number, event in enumerate(events) if event["event"] == "change-begun"]
    assert begun == [1, 5, 7, 11]
    assert events[4] == {
        "at": "1970-01-01T00:16:40+00:00",
        "uid": os.getuid(),
        "event": "key-unwrapped",
        "provider": "keyring",
        "key": "node",
        "version": 1,
        "subject": "dataset 3f",
    }
    text = audit_path(path).read_bytes()
    assert DATA_KEY.hex().encode() not in text
    assert PASSPHRASE not in text
    assert audit_path(path).stat().st_mode & 0o777 == 0o600


def test_no_key_is_used_without_a_record(keyring: Keyring, path: Path) -> None:
    wrapped = keyring.wrap(DATA_KEY, "node", subject="a", context="c")
    audit_path(path).unlink()
    audit_path(path).symlink_to(path.with_name("elsewhere"))
    with pytest.raises(KeysRefused, match="cannot write the audit event key-unwrapped"):
        keyring.unwrap(wrapped, subject="a", context="c")
    assert not path.with_name("elsewhere").exists()


def test_nothing_is_destroyed_without_a_record(keyring: Keyring, path: Path) -> None:
    audit_path(path).unlink()
    audit_path(path).mkdir()
    before = path.read_bytes()
    with pytest.raises(KeysRefused, match="cannot write the audit event change-begun"):
        keyring.destroy("node", 1)
    assert path.read_bytes() == before


MANY_KEYS = """
import sys
from pathlib import Path
from fedenclave.keys.keyring import open_keyring
ring = open_keyring(Path(sys.argv[1]), b"correct horse")
for i in range(25):
    ring.create(f"{sys.argv[2]}-{i}")
"""


def test_processes_that_write_at_once_lose_no_key(keyring: Keyring, path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", MANY_KEYS, str(path), name]) for name in "abc"
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert len(open_keyring(path, PASSPHRASE).versions()) == 76


def test_a_keyring_is_on_the_disk_before_it_has_its_name(
    keyring: Keyring, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    really = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    keyring.rotate("node")
    assert synced[0] == "keyring.audit.jsonl"
    assert synced[1].startswith(".keyring.")
    assert synced[2:] == [path.parent.name, "keyring.audit.jsonl"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from fedenclave.keys.keyring import open_keyring
from fedenclave.keys.errors import KeysRefused
path = Path(sys.argv[1])
ring = open_keyring(path, b"correct horse")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
try:
    ring.rotate("node")
except KeysRefused as error:
    print(error.message)
"""


def test_a_full_disk_leaves_the_keyring_as_it_was(keyring: Keyring, path: Path) -> None:
    for number in range(9):
        keyring.create(f"key-{number}")
    # The change is announced, and then the keyring itself finds no room.
    audit_path(path).unlink()
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert "cannot write the keyring" in done.stdout
    assert "larger than this process may write" in done.stdout
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == [
        ".keyring.lock",
        "keyring",
        "keyring.audit.jsonl",
    ]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
