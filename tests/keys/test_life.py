"""The life of a keyring's keys: expiry, backup, and what earlier programs have written."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.keys.backup import restore_backup, write_backup
from fedenclave.keys.errors import (
    CannotUnwrap,
    KeyExpired,
    KeyringDamaged,
    KeysRefused,
    WrongPassphrase,
)
from fedenclave.keys.keyring import Keyring, audit_path, create_keyring, open_keyring
from fedenclave.keys.keyring_file import (
    MAGIC,
    KeyringFile,
    Lock,
    _bound,
    _FormerContents,
    _FormerVersion,
    open_with,
    read_head,
)
from fedenclave.keys.provider import KeyState, WrappedKey
from fedenclave.protocol.codec import encode
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.errors import ConfigurationError
from tests.keys.conftest import CHEAP, PASSPHRASE
from tests.keys.events import read_events

DATA_KEY = bytes(range(32))
DAY = 86_400
USE = {"subject": "dataset a", "context": "a"}
OWN = b"the backup's own"


class Clock:
    now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ring(path: Path, clock: Clock) -> Keyring:
    return create_keyring(path, PASSPHRASE, clock=clock, cost=CHEAP)


def test_an_expired_key_reads_and_seals_nothing_new(
    ring: Keyring, path: Path, clock: Clock
) -> None:
    ring.create("node", expires=int(clock.now) + DAY)
    wrapped = ring.wrap(DATA_KEY, "node", **USE)
    clock.now += DAY - 1
    assert ring.wrap(DATA_KEY, "node", **USE).version == 1
    clock.now += 1
    again = open_keyring(path, PASSPHRASE, clock=clock)
    for opened in (ring, again):
        with pytest.raises(KeyExpired, match="node version 1 has expired at 2027-01-16"):
            opened.wrap(DATA_KEY, "node", **USE)
        assert opened.unwrap(wrapped, **USE) == DATA_KEY
        assert [v.state for v in opened.versions()] == [KeyState.EXPIRED]
    assert read_events(audit_path(path))[-4]["event"] == "wrap-refused"
    assert ring.rotate("node", expires=int(clock.now) + 10).expires == int(clock.now) + 10
    assert ring.wrap(DATA_KEY, "node", **USE).version == 2


def test_a_clock_that_is_a_day_off_is_said_and_nothing_is_sealed(
    ring: Keyring, clock: Clock
) -> None:
    ring.create("node", expires=int(clock.now) + 3_600)
    ring.create("lasting")
    wrapped = ring.wrap(DATA_KEY, "node", **USE)
    clock.now += DAY  # ahead: the key seems to have expired
    with pytest.raises(KeyExpired) as refused:
        ring.wrap(DATA_KEY, "node", **USE)
    assert "this machine's clock says 2027-01-16" in refused.value.hint
    clock.now -= 2 * DAY  # behind: an expired key would seem to be good
    with pytest.raises(KeysRefused, match="want a clock that can tell whether"):
        ring.wrap(DATA_KEY, "node", **USE)
    assert ring.unwrap(wrapped, **USE) == DATA_KEY
    assert ring.wrap(DATA_KEY, "lasting", **USE).version == 1


def test_an_expiry_that_is_over_makes_no_key(ring: Keyring, path: Path, clock: Clock) -> None:
    before = path.read_bytes()
    with pytest.raises(KeysRefused, match="want a time after now"):
        ring.create("node", expires=int(clock.now))
    assert path.read_bytes() == before


def test_a_wrapped_key_is_bound_to_its_dataset(keyring: Keyring) -> None:
    wrapped = keyring.wrap(DATA_KEY, "node", **USE)
    with pytest.raises(CannotUnwrap, match="or is another dataset's"):
        keyring.unwrap(wrapped, subject="dataset b", context="b")


def former_file(path: Path, keyring: Keyring) -> bytes:
    """Write the keyring as version 1 had it, and return a key that it has wrapped."""
    file = read_head(path.read_bytes())
    lock = Lock.derive(PASSPHRASE, file.cost, file.salt)
    versions = open_with(file, lock).versions
    former = _FormerContents(
        versions=tuple(
            _FormerVersion(
                key=v.key,
                version=v.version,
                created=v.created,
                destroyed=v.destroyed,
                secret=v.secret,
            )
            for v in versions
        )
    )
    nonce = os.urandom(12)
    bound = _bound(1, lock.cost, lock.salt)
    sealed = AESGCM(lock.key).encrypt(nonce, former.to_bytes(), bound)
    body = KeyringFile(
        version=1, cost=lock.cost, salt=lock.salt, nonce=nonce, sealed=sealed
    ).to_bytes()
    path.write_bytes(MAGIC + sha256(body) + body)
    aad = b"fedenclave/wrapped-key/v1\x00" + encode(["node", 1])
    return nonce + AESGCM(versions[0].secret).encrypt(nonce, DATA_KEY, aad)


def test_what_an_earlier_program_wrote_is_read(keyring: Keyring, path: Path) -> None:
    sealed = former_file(path, keyring)
    assert len(sealed) == 60
    opened = open_keyring(path, PASSPHRASE)
    wrapped = WrappedKey(provider="keyring", key="node", version=1, wrapped=sealed)
    assert opened.unwrap(wrapped, **USE) == DATA_KEY
    flipped = bytes([sealed[0] ^ 1]) + sealed[1:]
    with pytest.raises(CannotUnwrap):
        opened.unwrap(replace(wrapped, wrapped=flipped), **USE)
    assert opened.rotate("node").version == 2
    assert read_head(path.read_bytes()).version == 2
    assert open_keyring(path, PASSPHRASE).unwrap(wrapped, **USE) == DATA_KEY


def test_a_backup_opens_by_its_own_passphrase_and_gives_the_keys_back(
    keyring: Keyring, path: Path
) -> None:
    wrapped = keyring.wrap(DATA_KEY, "node", **USE)
    backup, restored = path.with_name("backup"), path.with_name("restored")
    assert write_backup(path, PASSPHRASE, backup, OWN, cost=CHEAP) == 1
    assert backup.stat().st_mode & 0o777 == 0o600
    with pytest.raises(WrongPassphrase):
        open_keyring(backup, PASSPHRASE)
    path.unlink()
    assert restore_backup(backup, OWN, restored, b"new", cost=CHEAP) == 1
    assert open_keyring(restored, b"new").unwrap(wrapped, **USE) == DATA_KEY
    kinds = [event["event"] for event in read_events(audit_path(path))]
    assert kinds[-2:] == ["change-begun", "keyring-backed-up"]
    kinds = [event["event"] for event in read_events(audit_path(restored))]
    assert kinds[:2] == ["change-begun", "keyring-restored"]


def test_nothing_is_written_over_by_a_backup_or_a_restoration(keyring: Keyring, path: Path) -> None:
    before, other = path.read_bytes(), path.with_name("other")
    other.write_bytes(b"other")
    with pytest.raises(KeysRefused, match="exists already"):
        write_backup(path, PASSPHRASE, other, OWN, cost=CHEAP)
    backup = path.with_name("backup")
    write_backup(path, PASSPHRASE, backup, OWN, cost=CHEAP)
    with pytest.raises(KeysRefused, match="exists already"):
        restore_backup(backup, OWN, path, PASSPHRASE, cost=CHEAP)
    assert (path.read_bytes(), other.read_bytes()) == (before, b"other")


def test_half_a_backup_a_wrong_passphrase_or_mode_restores_nothing(
    keyring: Keyring, path: Path
) -> None:
    backup, restored = path.with_name("backup"), path.with_name("restored")
    write_backup(path, PASSPHRASE, backup, OWN, cost=CHEAP)
    whole = backup.read_bytes()
    with pytest.raises(WrongPassphrase):
        restore_backup(backup, PASSPHRASE, restored, b"new", cost=CHEAP)
    for data in (whole[: len(whole) // 2], b"", b"another file", whole + b"x"):
        backup.write_bytes(data)
        with pytest.raises(KeyringDamaged):
            restore_backup(backup, OWN, restored, b"new", cost=CHEAP)
    backup.write_bytes(whole)
    backup.chmod(0o644)
    with pytest.raises(ConfigurationError, match="mode 0644, want 0600"):
        restore_backup(backup, OWN, restored, b"new", cost=CHEAP)
    assert not restored.exists()


def test_a_guess_at_a_keyrings_passphrase_is_an_event_also_where_a_backup_is_asked_for(
    keyring: Keyring, path: Path
) -> None:
    with pytest.raises(WrongPassphrase):
        write_backup(path, b"guess", path.with_name("backup"), OWN, cost=CHEAP)
    assert read_events(audit_path(path))[-1]["event"] == "passphrase-refused"


def test_a_backup_without_a_record_is_none(keyring: Keyring, path: Path) -> None:
    audit_path(path).unlink()
    audit_path(path).mkdir()
    backup = path.with_name("backup")
    with pytest.raises(KeysRefused, match="cannot write the audit event"):
        write_backup(path, PASSPHRASE, backup, OWN, cost=CHEAP)
    assert not backup.exists()


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from fedenclave.keys.backup import write_backup
from fedenclave.keys.errors import KeysRefused
from fedenclave.keys.keyring_file import Cost
path = Path(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path.with_name("keyring.audit.jsonl").unlink()  # so that what is announced still fits
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    cost = Cost(memory_kib=64, passes=1, lanes=1)
    write_backup(path, b"correct horse", path.with_name("backup"), b"own", cost=cost)
except KeysRefused as error:
    print(error.message)
"""


def test_a_full_disk_leaves_no_half_backup(keyring: Keyring, path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True
    )
    assert "cannot write the keyring" in done.stdout
    left = {file.name for file in path.parent.iterdir()}
    assert left - {".keyring.lock"} == {"keyring", "keyring.audit.jsonl"}
