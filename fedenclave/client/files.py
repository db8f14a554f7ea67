"""Write files wholly or not at all, and keys so that only their owner can read them."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fedenclave.keys import durable
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage


def write_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write `data` to `path`, in the place of what is there. See `durable.write_whole`.

    Raises:
        ConfigurationError: the folder is missing or not writable, or the disk is full. A file
            that was there before is still there.
    """
    try:
        durable.write_whole(path, data, mode=mode, replace=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


def write_at(path: Path, position: int, data: bytes) -> None:
    """Let the file at `path` end with `data` from `position` on, and return once that is durable.

    Raises:
        ConfigurationError: the file has not so many bytes, or cannot be written.
    """
    try:
        new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            if (size := os.fstat(descriptor).st_size) < position:
                raise ConfigurationError(
                    f"{path} has {size} bytes, want {position}: its end is missing",
                    hint="put it back from a backup, or from another member's folder: the bytes "
                    "are the same",
                )
            file.truncate(position)
            file.seek(position)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        if new:
            durable.sync_folder(path.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot write {path}: {durable.why(error)}",
        hint="does the folder exist, may this user write there, is the disk full?",
    )


@contextlib.contextmanager
def contents_of(path: Path) -> Iterator[None]:
    """Put a file's name before what is found wrong with its contents.

    Raises:
        ConfigurationError: what was raised inside, with the name.
        MalformedMessage: the same.
    """
    try:
        yield
    except (ConfigurationError, MalformedMessage) as error:
        kind = MalformedMessage if isinstance(error, MalformedMessage) else ConfigurationError
        raise kind(f"{path}: {error.message}", hint=error.hint) from error


def read_file(path: Path, what: str) -> bytes:
    """Return a file's bytes.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {what} {path}: {error.strerror}",
            hint="is the path right, and may this user read it?",
        ) from error


def write_key(path: Path, key: Ed25519PrivateKey) -> None:
    """Write a private key as PEM with mode 0600; never over an existing file.

    Raises:
        ConfigurationError: the file exists or cannot be written.
    """
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        durable.write_whole(path, pem, mode=0o600, replace=False)
    except FileExistsError as error:
        raise ConfigurationError(
            f"key file {path} exists already", hint="keys are never overwritten; choose another"
        ) from error
    except OSError as error:
        raise _cannot_write(path, error) from error


def make_key(path: Path) -> None:
    """Write a new private key. See `write_key`."""
    write_key(path, Ed25519PrivateKey.generate())


def read_private(path: Path, what: str) -> bytes:
    """Return the bytes of a file that only its owner can read.

    Raises:
        ConfigurationError: it cannot be read, or others can read it.
    """
    data = read_file(path, what)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise ConfigurationError(
            f"{what} file {path} has mode {mode:04o}, want 0600",
            hint=f"others could have read it. if they have not: chmod 600 {path}",
        )
    return data


def read_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a PEM file that only its owner can read.

    Raises:
        ConfigurationError: it cannot be read, others can read it, or it is no Ed25519 key.
    """
    data = read_private(path, "key")
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"key file {path} is not a private key in PEM", hint="was it cut or changed?"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"key file {path} is not an Ed25519 key")
    return key
