"""A keyring's backup: the same keys in another file, under a passphrase of its own.

Rules:
  * A backup is a keyring's file (keyring_file.py), so that nothing new has to be kept safe or read.
  * It is read again from the disk, and opened, before anybody is told that it is there.
  * Neither a backup nor a keyring is ever written over.
  * Both are on record before they are made, and again once they are (audit.py).
  * A key that is destroyed later is still in the backups before: crypto-erasure ends there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from fedenclave.keys.audit import AuditLog
from fedenclave.keys.errors import KeyringDamaged
from fedenclave.keys.keyring import KIND, audit_path, opened
from fedenclave.keys.keyring_disk import read_keyring, write_keyring
from fedenclave.keys.keyring_file import Contents, Cost, Lock, open_with, write_contents


def write_backup(
    keyring: Path,
    passphrase: bytes,
    backup: Path,
    own: bytes,
    *,
    clock: Callable[[], float] = time.time,
    cost: Cost | None = None,
) -> int:
    """Write a keyring's backup, and return how many versions of keys it holds.

    Args:
        keyring: its file.
        passphrase: what opens it.
        backup: the file to make.
        own: the backup's passphrase.
        clock: gives Unix seconds.
        cost: of a guess at the backup's passphrase; `Cost()` by default.

    Raises:
        ConfigurationError, KeysRefused: see `open_keyring`, or there is something at `backup`, or
            it cannot be written. Nothing is left of it.
    """
    _, contents = opened(keyring, passphrase, clock)
    log = AuditLog(audit_path(keyring), clock)
    return _write(contents, backup, own, cost or Cost(), log, "keyring-backed-up")


def restore_backup(
    backup: Path,
    own: bytes,
    keyring: Path,
    passphrase: bytes,
    *,
    clock: Callable[[], float] = time.time,
    cost: Cost | None = None,
) -> int:
    """Make a keyring of a backup, and return how many versions of keys it holds.

    Raises:
        ConfigurationError, KeysRefused: see `write_backup`, with the two files exchanged.
    """
    contents = _read(backup, own)
    log = AuditLog(audit_path(keyring), clock)
    return _write(contents, keyring, passphrase, cost or Cost(), log, "keyring-restored")


def _write(
    contents: Contents, target: Path, passphrase: bytes, cost: Cost, log: AuditLog, event: str
) -> int:
    facts: dict[str, str | int] = {
        "provider": KIND,
        "file": target.name,
        "versions": len(contents.versions),
    }
    log.begin(event, **facts)
    write_keyring(target, write_contents(contents, Lock.fresh(passphrase, cost)), new=True)
    try:
        if _read(target, passphrase) != contents:
            raise KeyringDamaged(
                f"{target} does not hold what was written to it",
                hint="is the disk sound? nothing is left of the file",
            )
        log.record(event, **facts)
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink()
        raise
    return len(contents.versions)


def _read(path: Path, passphrase: bytes) -> Contents:
    file = read_keyring(path)
    return open_with(file, Lock.derive(passphrase, file.cost, file.salt))
