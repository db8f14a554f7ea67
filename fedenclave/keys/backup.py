"""A keyring's backup: the same keys in another file, under a passphrase of its own.

Rules:
  * A backup is a keyring's file (keyring_file.py), so that nothing new has to be kept safe or read.
  * It is read again from the disk, and opened, before anybody is told that it is there.
  * Neither a backup nor a keyring is ever written over.
  * A key that is destroyed later is still in the backups before: crypto-erasure ends there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from fedenclave.keys.audit import AuditLog
from fedenclave.keys.errors import KeyringDamaged
from fedenclave.keys.keyring import KIND, audit_path
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
    return _copy(keyring, passphrase, backup, own, (keyring, "keyring-backed-up"), clock, cost)


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
    return _copy(backup, own, keyring, passphrase, (keyring, "keyring-restored"), clock, cost)


def _copy(
    source: Path,
    opens: bytes,
    target: Path,
    seals: bytes,
    event: tuple[Path, str],
    clock: Callable[[], float],
    cost: Cost | None,
) -> int:
    file = read_keyring(source)
    contents = open_with(file, Lock.derive(opens, file.cost, file.salt))
    lock = Lock.fresh(seals, cost or Cost())
    write_keyring(target, write_contents(contents, lock), new=True)
    try:
        if _read_again(target, seals) != contents:
            raise KeyringDamaged(
                f"{target} does not hold what was written to it",
                hint="is the disk sound? nothing is left of the file",
            )
        versions = len(contents.versions)
        AuditLog(audit_path(event[0]), clock).record(
            event[1], provider=KIND, file=target.name, versions=versions
        )
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink()
        raise
    return versions


def _read_again(path: Path, passphrase: bytes) -> Contents:
    file = read_keyring(path)
    return open_with(file, Lock.derive(passphrase, file.cost, file.salt))
