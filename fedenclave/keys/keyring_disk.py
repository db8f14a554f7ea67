"""Where a keyring lies: read by its owner alone, replaced as a whole, one writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fedenclave.keys.durable import sweep, why, write_whole
from fedenclave.keys.errors import KeysRefused
from fedenclave.keys.keyring_file import MAX_FILE, KeyringFile, read_head
from fedenclave.keys.regular_file import open_regular
from fedenclave.protocol.errors import ConfigurationError


def read_keyring(path: Path) -> KeyringFile:
    """Return what stands in a keyring's file, still sealed.

    Raises:
        ConfigurationError: it cannot be read, or others can read it.
        KeyringDamaged: it was cut or changed.
    """
    try:
        # A link is followed: a keyring may lie on another disk.
        with os.fdopen(open_regular(path, follow=True), "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_FILE)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the keyring {path}: {why(error)}",
            hint="is the path right? fedenclave keys init makes a keyring",
        ) from error
    if mode & 0o077:
        raise ConfigurationError(
            f"the keyring {path} has mode {mode:04o}, want 0600",
            hint=f"others could have read it. if they have not: chmod 600 {path}",
        )
    return read_head(data)


def write_keyring(path: Path, data: bytes, *, new: bool) -> None:
    """Write a keyring's file: a new one, or in the place of the one that is there.

    What killed writes have left holds the keys of its time under the passphrase of its time, those
    that were destroyed since among them. It goes first: who destroys a key destroys it there, too.

    Raises:
        KeysRefused: it cannot be written, or there is one already and `new` says otherwise.
    """
    try:
        sweep(path)
        write_whole(path, data, mode=0o600, replace=not new)
    except FileExistsError as error:
        raise KeysRefused(
            f"{path} exists already", hint="a keyring is never overwritten; choose another name"
        ) from error
    except OSError as error:
        raise KeysRefused(
            f"cannot write the keyring {path}: {why(error)}",
            hint="what was there is unchanged. does the folder exist, may this user write there, "
            "is the disk full?",
        ) from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes from changing the keyring. The lock goes with the process."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise KeysRefused(
            f"cannot write {lock}: {why(error)}", hint="may this user write there?"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
