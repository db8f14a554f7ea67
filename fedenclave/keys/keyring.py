"""The default key provider: a file of keys under a passphrase.

Rules:
  * The file is replaced as a whole (durable.py), mode 0600, and read again under a lock before each
    change, so that two processes lose nothing of each other's.
  * What a killed write has left goes with the next change: the keys of its time are in it.
  * A key wraps only while it is there: the file is read again under the lock before each wrapping.
  * Every step is recorded, a refused one, too; a change also before it is begun (audit.py).
  * A destroyed version keeps its place in the list, without its bytes.
  * Destroying erases what the file holds. Backups of the file still hold the key, and so may the
    disk, where the old file's blocks lie until they are written over (sealed by the passphrase).
  * Python cannot wipe memory: while a keyring is open, its keys are in this process.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.keys.audit import AuditLog
from fedenclave.keys.errors import (
    CannotUnwrap,
    KeyDestroyed,
    KeysRefused,
    NoSuchKey,
    WrongPassphrase,
)
from fedenclave.keys.expiry import check_seals, checked_expiry, state_of
from fedenclave.keys.keyring_disk import locked, read_keyring, write_keyring
from fedenclave.keys.keyring_file import (
    NONCE_SIZE,
    SECRET_SIZE,
    Contents,
    Cost,
    Lock,
    StoredVersion,
    open_with,
    write_contents,
)
from fedenclave.keys.provider import DATA_KEY_SIZE, KeyVersion, WrappedKey
from fedenclave.keys.wrapping import checked_key_name, until, wrapped_elsewhere
from fedenclave.protocol.codec import encode

KIND = "keyring"
_LAYOUT = b"\x02"
_FORMER_SIZE = NONCE_SIZE + DATA_KEY_SIZE + 16
"""Bytes of a wrapped key before `_LAYOUT` stood in front: nonce, key, tag."""


class Keyring:
    """Keys in a file. Made by `create_keyring`, opened by `open_keyring`."""

    kind = KIND

    def __init__(
        self, path: Path, lock: Lock, contents: Contents, clock: Callable[[], float]
    ) -> None:
        self._path, self._lock, self._contents, self._clock = path, lock, contents, clock
        self._audit = AuditLog(audit_path(path), clock)

    @property
    def place(self) -> str:
        """Return the keyring's file."""
        return str(self._path)

    def create(self, key: str, *, expires: int = 0) -> KeyVersion:
        """Make a key. See `KeyProvider.create`."""
        facts = {"provider": KIND, "key": key, "version": 1, **until(expires)}
        with self._audit.refusals("create", **facts), self._changing() as versions:
            checked_key_name(key)
            checked_expiry(expires, self._clock())
            if any(stored.key == key for stored in versions):
                raise KeysRefused(f"key {key} exists already", hint="rotate adds a version to it")
            versions.append(_new_version(key, 1, self._clock(), expires))
            self._audit.begin("key-created", **facts)
        self._audit.finish("key-created", **facts)
        return self._version(key, 1)

    def rotate(self, key: str, *, expires: int = 0) -> KeyVersion:
        """Add a version. See `KeyProvider.rotate`."""
        refusals = self._audit.refusals("rotate", provider=KIND, key=key, **until(expires))
        with refusals, self._changing() as versions:
            checked_expiry(expires, self._clock())
            number = _newest(versions, key).version + 1
            versions.append(_new_version(key, number, self._clock(), expires))
            facts = {"provider": KIND, "key": key, "version": number, **until(expires)}
            self._audit.begin("key-rotated", **facts)
        self._audit.finish("key-rotated", **facts)
        return self._version(key, number)

    def wrap(self, data_key: bytes, key: str, *, subject: str, context: str) -> WrappedKey:
        """Wrap a data key. See `KeyProvider.wrap`."""
        if len(data_key) != DATA_KEY_SIZE:
            raise ValueError(f"a data key has {DATA_KEY_SIZE} bytes")
        refusals = self._audit.refusals("wrap", provider=KIND, key=key, subject=subject)
        with refusals, locked(self._path):
            # Another process may have destroyed a version meanwhile, or made a newer one; and none
            # is to do so between this reading and the record of what was wrapped.
            self._contents = self._read_again(self._lock)
            return self._wrapped(data_key, key, subject, context)

    def _wrapped(self, data_key: bytes, key: str, subject: str, context: str) -> WrappedKey:
        newest = _present(_newest(self._contents.versions, key))
        check_seals(self._version(key, newest.version), self._clock())
        nonce = os.urandom(NONCE_SIZE)
        bound = _bound(key, newest.version, context)
        sealed = AESGCM(newest.secret).encrypt(nonce, data_key, bound)
        facts: dict[str, str | int] = {"provider": KIND, "key": key, "version": newest.version}
        self._audit.record("key-wrapped", **facts, subject=subject)
        wrapped = _LAYOUT + nonce + sealed
        return WrappedKey(provider=KIND, key=key, version=newest.version, wrapped=wrapped)

    def unwrap(self, wrapped: WrappedKey, *, subject: str, context: str) -> bytes:
        """Return a data key. See `KeyProvider.unwrap`."""
        facts: dict[str, str | int] = {
            "provider": wrapped.provider[:80],
            "key": wrapped.key[:80],
            "version": wrapped.version,
            "subject": subject,
        }
        with self._audit.refusals("unwrap", **facts):
            data_key = self._unwrapped(wrapped, context)
        self._audit.record("key-unwrapped", **facts)
        return data_key

    def _unwrapped(self, wrapped: WrappedKey, context: str) -> bytes:
        if wrapped.provider != KIND:
            raise wrapped_elsewhere(wrapped, KIND)
        stored = _present(_find(self._contents.versions, wrapped.key, wrapped.version))
        if len(wrapped.wrapped) == _FORMER_SIZE:
            # Of a keyring before contexts: the dataset's head alone bound it to its dataset.
            bound, rest = _bound_before(wrapped.key, wrapped.version), wrapped.wrapped
        else:
            bound = _bound(wrapped.key, wrapped.version, context)
            rest = wrapped.wrapped.removeprefix(_LAYOUT)
        nonce, sealed = rest[:NONCE_SIZE], rest[NONCE_SIZE:]
        try:
            data_key = AESGCM(stored.secret).decrypt(nonce, sealed, bound)
        except (InvalidTag, ValueError) as error:
            raise CannotUnwrap(
                f"key {wrapped.key} version {wrapped.version} of {self._path} did not wrap this "
                f"key of {len(wrapped.wrapped)} bytes",
                hint="is it this keyring? another may have a key of the same name; else what holds "
                "the wrapped key was changed, or is another dataset's",
            ) from error
        if len(data_key) != DATA_KEY_SIZE:
            raise CannotUnwrap(f"a data key has {len(data_key)} bytes, want {DATA_KEY_SIZE}")
        return data_key

    def versions(self) -> Sequence[KeyVersion]:
        """Return all versions. See `KeyProvider.versions`."""
        newest = {stored.key: stored.version for stored in self._contents.versions}
        now = self._clock()
        return [_without_secret(stored, newest, now) for stored in self._contents.versions]

    def destroy(self, key: str, version: int) -> KeyVersion:
        """Destroy a version. See `KeyProvider.destroy`."""
        facts: dict[str, str | int] = {"provider": KIND, "key": key, "version": version}
        with self._audit.refusals("destroy", **facts), self._changing() as versions:
            stored = _present(_find(versions, key, version))
            gone = replace(stored, destroyed=max(1, int(self._clock())), secret=b"")
            versions[versions.index(stored)] = gone
            self._audit.begin("key-destroyed", **facts)
        self._audit.finish("key-destroyed", **facts)
        return self._version(key, version)

    def change_passphrase(self, passphrase: bytes) -> None:
        """Seal the file by another passphrase; backups still open by the old one.

        Raises:
            KeysRefused: the file cannot be written; the old passphrase still holds.
        """
        former, self._lock = self._lock, Lock.fresh(passphrase, self._lock.cost)
        try:
            refusals = self._audit.refusals("change-passphrase", provider=KIND)
            with refusals, self._changing(former):
                self._audit.begin("passphrase-changed", provider=KIND)
        except BaseException:
            self._lock = former
            raise
        self._audit.finish("passphrase-changed", provider=KIND)

    def _version(self, key: str, version: int) -> KeyVersion:
        return next(v for v in self.versions() if (v.key, v.version) == (key, version))

    @contextlib.contextmanager
    def _changing(self, former: Lock | None = None) -> Iterator[list[StoredVersion]]:
        """Give the newest versions to change, and write what becomes of them."""
        with locked(self._path):
            versions = list(self._read_again(former or self._lock).versions)
            yield versions
            versions.sort(key=lambda stored: (stored.key, stored.version))
            contents = Contents(versions=tuple(versions))
            write_keyring(self._path, write_contents(contents, self._lock), new=False)
            self._contents = contents

    def _read_again(self, lock: Lock) -> Contents:
        file = read_keyring(self._path)
        if (file.cost, file.salt) != (lock.cost, lock.salt):
            raise WrongPassphrase(
                f"the passphrase of {self._path} was changed meanwhile",
                hint="call again, with the new one",
            )
        return open_with(file, lock)


def create_keyring(
    path: Path,
    passphrase: bytes,
    *,
    clock: Callable[[], float] = time.time,
    cost: Cost | None = None,
) -> Keyring:
    """Make an empty keyring.

    Args:
        path: its file; never over an existing one. Its audit log lies beside it.
        passphrase: what opens it: there is no other way in.
        clock: gives Unix seconds.
        cost: of a guess at the passphrase; `Cost()` by default.

    Raises:
        KeysRefused: something is at `path`, or it cannot be written.
    """
    lock, contents = Lock.fresh(passphrase, cost or Cost()), Contents(versions=())
    write_keyring(path, write_contents(contents, lock), new=True)
    try:
        AuditLog(audit_path(path), clock).record("keyring-created", provider=KIND)
    except BaseException:
        # It is empty, and nobody knows of it.
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return Keyring(path, lock, contents, clock)


def open_keyring(
    path: Path, passphrase: bytes, *, clock: Callable[[], float] = time.time
) -> Keyring:
    """Open a keyring.

    Raises:
        ConfigurationError: it cannot be read, or others can read it.
        KeyringDamaged: it was cut or changed.
        WrongPassphrase: it is whole, and the passphrase is another.
    """
    lock, contents = opened(path, passphrase, clock)
    return Keyring(path, lock, contents, clock)


def opened(path: Path, passphrase: bytes, clock: Callable[[], float]) -> tuple[Lock, Contents]:
    """Return what opens a keyring's file, and what is in it. See `open_keyring`."""
    file = read_keyring(path)
    lock = Lock.derive(passphrase, file.cost, file.salt)
    try:
        return lock, open_with(file, lock)
    except WrongPassphrase:
        AuditLog(audit_path(path), clock).record("passphrase-refused", provider=KIND)
        raise


def audit_path(keyring: Path) -> Path:
    """Return where a keyring's audit events are."""
    return keyring.with_name(keyring.name + ".audit.jsonl")


def _new_version(key: str, number: int, now: float, expires: int) -> StoredVersion:
    return StoredVersion(
        key=key,
        version=number,
        created=int(now),
        expires=expires,
        destroyed=0,
        secret=os.urandom(SECRET_SIZE),
    )


def _find(versions: Sequence[StoredVersion], key: str, version: int) -> StoredVersion:
    of_key = [stored for stored in versions if stored.key == key]
    for stored in of_key:
        if stored.version == version:
            return stored
    have = ", ".join(str(stored.version) for stored in of_key) or "none"
    raise NoSuchKey(
        f"the keyring has no key {key[:80]} version {version}; versions of it: {have}",
        hint="is it the right keyring? fedenclave keys list shows what it has",
    )


def _newest(versions: Sequence[StoredVersion], key: str) -> StoredVersion:
    of_key = [stored for stored in versions if stored.key == key]
    if not of_key:
        raise NoSuchKey(
            f"the keyring has no key {key[:80]}",
            hint="fedenclave keys list shows what it has, fedenclave keys create makes one",
        )
    return max(of_key, key=lambda stored: stored.version)


def _present(stored: StoredVersion) -> StoredVersion:
    if stored.destroyed:
        raise KeyDestroyed(
            f"key {stored.key} version {stored.version} was destroyed",
            hint="what only it could open is erased; fedenclave keys rotate makes a new version",
        )
    return stored


def _without_secret(stored: StoredVersion, newest: dict[str, int], now: float) -> KeyVersion:
    return KeyVersion(
        key=stored.key,
        version=stored.version,
        created=stored.created,
        expires=stored.expires,
        destroyed=stored.destroyed,
        state=state_of(
            newest=newest[stored.key] == stored.version,
            expires=stored.expires,
            # What is destroyed here is gone at once, whatever a clock says later.
            destroyed=min(stored.destroyed, int(now)) or int(stored.destroyed > 0),
            now=now,
        ),
    )


def _bound(key: str, version: int, context: str) -> bytes:
    return b"fedenclave/wrapped-key/v2\x00" + encode([key, version, context])


def _bound_before(key: str, version: int) -> bytes:
    return b"fedenclave/wrapped-key/v1\x00" + encode([key, version])
