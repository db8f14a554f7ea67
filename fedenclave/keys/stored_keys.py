"""A key provider over any key store: names, expiry, what can be destroyed, and the audit events.

Rules:
  * Every step is recorded, a refused one, too, before the call returns; a change also before it is
    begun (audit.py).
  * What a store unwraps is a data key, or it is refused.
  * The newest version of a key is not destroyed: its number would be given again (key_store.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from fedenclave.keys.audit import AuditLog
from fedenclave.keys.errors import (
    CannotUnwrap,
    KeyDestroyed,
    KeysRefused,
    NoSuchKey,
)
from fedenclave.keys.expiry import check_seals, checked_expiry
from fedenclave.keys.key_store import KeyStore
from fedenclave.keys.provider import DATA_KEY_SIZE, KeyState, KeyVersion, WrappedKey
from fedenclave.keys.wrapping import checked_key_name, until, wrapped_elsewhere

Facts = dict[str, str | int]


class StoredKeys:
    """Implements `KeyProvider` over a `KeyStore`."""

    def __init__(
        self, store: KeyStore, audit: AuditLog, *, clock: Callable[[], float] = time.time
    ) -> None:
        """Use the keys of `store`; tell `audit` of every step; `clock` gives Unix seconds."""
        self._store, self._audit, self._clock = store, audit, clock

    @property
    def kind(self) -> str:
        """Return the store's kind. See `KeyProvider.kind`."""
        return self._store.kind

    @property
    def place(self) -> str:
        """Return which store it is."""
        return self._store.place

    def create(self, key: str, *, expires: int = 0) -> KeyVersion:
        """Make a key. See `KeyProvider.create`."""
        with self._refusals("create", key):
            checked_key_name(key)
            self._check_expiry(expires)
            if any(version.key == key for version in self._store.versions(key)):
                raise KeysRefused(
                    f"{self.place} has a key {key} already", hint="rotate adds a version to it"
                )
            self._begin("key-created", key, version=1, **until(expires))
            number = self._store.create(key, 1, expires)
        self._finish("key-created", key, version=number, **until(expires))
        return self._made(key, number, expires)

    def rotate(self, key: str, *, expires: int = 0) -> KeyVersion:
        """Add a version. See `KeyProvider.rotate`."""
        with self._refusals("rotate", key):
            self._check_expiry(expires)
            number = self._newest(key).version + 1
            self._begin("key-rotated", key, version=number, **until(expires))
            number = self._store.create(key, number, expires)
        self._finish("key-rotated", key, version=number, **until(expires))
        return self._made(key, number, expires)

    def wrap(self, data_key: bytes, key: str, *, subject: str, context: str) -> WrappedKey:
        """Wrap a data key. See `KeyProvider.wrap`."""
        if len(data_key) != DATA_KEY_SIZE:
            raise ValueError(f"a data key has {DATA_KEY_SIZE} bytes")
        with self._refusals("wrap", key, subject=subject):
            if self._store.keeps_expiry:
                check_seals(self._newest(key), self._clock())
            version, wrapped = self._store.encrypt(data_key, key, context)
        self._record("key-wrapped", key, version=version, subject=subject)
        return WrappedKey(provider=self.kind, key=key, version=version, wrapped=wrapped)

    def unwrap(self, wrapped: WrappedKey, *, subject: str, context: str) -> bytes:
        """Return a data key. See `KeyProvider.unwrap`."""
        key, version = wrapped.key[:80], wrapped.version
        with self._refusals("unwrap", key, version=version, subject=subject):
            if wrapped.provider != self.kind:
                raise wrapped_elsewhere(wrapped, self.kind)
            checked_key_name(wrapped.key)
            data_key = self._store.decrypt(wrapped.wrapped, wrapped.key, version, context)
            if len(data_key) != DATA_KEY_SIZE:
                raise CannotUnwrap(
                    f"key {key} version {version} of {self.place} unwraps to {len(data_key)} "
                    f"bytes, want {DATA_KEY_SIZE}"
                )
        self._record("key-unwrapped", key, version=version, subject=subject)
        return data_key

    def versions(self) -> Sequence[KeyVersion]:
        """Return all versions. See `KeyProvider.versions`."""
        return self._store.versions()

    def destroy(self, key: str, version: int) -> KeyVersion:
        """Destroy a version. See `KeyProvider.destroy`."""
        with self._refusals("destroy", key, version=version):
            newest = self._newest(key)
            if version == newest.version:
                raise KeysRefused(
                    f"version {version} is the newest of key {key} at {self.place}",
                    hint="make a newer one first, so that no number is given twice: fedenclave "
                    "keys rotate",
                )
            self._check_there(key, version, newest.version)
            self._begin("key-destroyed", key, version=version)
            gone = self._store.destroy(key, version)
        self._finish("key-destroyed", key, version=version, gone=gone)
        state = KeyState.DESTROYED if gone <= self._clock() else KeyState.SCHEDULED
        former = KeyVersion(key=key, version=version, created=0, destroyed=gone, state=state)
        told = [v for v in self._store.versions(key) if v.version == version]
        return replace(told[0], destroyed=gone, state=state) if told else former

    def _check_there(self, key: str, version: int, newest: int) -> None:
        told = [v for v in self._store.versions(key) if v.version == version]
        if told and not told[0].destroyed:
            return
        if told or 1 <= version < newest:
            raise KeyDestroyed(
                f"key {key} version {version} at {self.place} was destroyed already",
                hint="fedenclave keys list shows what there is",
            )
        raise NoSuchKey(
            f"{self.place} has no key {key} version {version}, want one from 1 to {newest}",
            hint="fedenclave keys list shows what there is",
        )

    def _check_expiry(self, expires: int) -> None:
        if expires and not self._store.keeps_expiry:
            raise KeysRefused(
                f"{self.place} does not remember when a key expires",
                hint="leave --expires away, and rotate by a calendar of your own",
            )
        checked_expiry(expires, self._clock())

    def _newest(self, key: str) -> KeyVersion:
        found = self._store.versions(checked_key_name(key))
        if not found:
            raise NoSuchKey(
                f"{self.place} has no key {key}",
                hint="fedenclave keys list shows what it has, fedenclave keys create makes one",
            )
        return max(found, key=lambda each: each.version)

    def _made(self, key: str, number: int, expires: int) -> KeyVersion:
        """Return a version that was just made: some services list it only some seconds later."""
        told = [each for each in self._store.versions(key) if each.version == number]
        return (
            told[0]
            if told
            else KeyVersion(
                key=key,
                version=number,
                created=int(self._clock()),
                expires=expires,
                destroyed=0,
                state=KeyState.NEWEST,
            )
        )

    def _record(self, event: str, key: str, **facts: str | int) -> None:
        self._audit.record(event, **self._facts(key, facts))

    def _begin(self, event: str, key: str, **facts: str | int) -> None:
        self._audit.begin(event, **self._facts(key, facts))

    def _finish(self, event: str, key: str, **facts: str | int) -> None:
        self._audit.finish(event, **self._facts(key, facts))

    def _refusals(self, step: str, key: str, **facts: str | int) -> AbstractContextManager[None]:
        return self._audit.refusals(step, **self._facts(key, facts))

    def _facts(self, key: str, facts: Facts) -> Facts:
        return {"provider": self.kind, "place": self.place, "key": key, **facts}
