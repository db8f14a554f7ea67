"""A passphrase from a file or a prompt: never an argument, which every process could read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fedenclave.keys.credential import rights_of_others
from fedenclave.protocol.errors import ConfigurationError

VARIABLE = "FEDENCLAVE_PASSPHRASE_FILE"
"""The environment variable that names the file. Not the passphrase: children inherit it."""

MAX_PASSPHRASE = 4096


def read_passphrase(path: Path, what: str = "passphrase") -> bytes:
    """Return the passphrase, or the PIN, in a file: its bytes without one line end behind them.

    Raises:
        ConfigurationError: it cannot be read, others can read it, or it holds none.
    """
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            data = file.read(MAX_PASSPHRASE + 2)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the {what} file {path}: {error.strerror}",
            hint="is the path right, and may this user read it?",
        ) from error
    mode = stat.S_IMODE(facts.st_mode)
    # A pipe, as a shell's <(...) makes, has no mode that says who can read it.
    if stat.S_ISREG(facts.st_mode) and mode & rights_of_others(path):
        raise ConfigurationError(
            f"the {what} file {path} has mode {mode:04o}, want 0600 or 0400",
            hint=f"others could have read it. if they have not: chmod 600 {path}",
        )
    return checked_passphrase(data.removesuffix(b"\n").removesuffix(b"\r"), str(path), what)


def checked_passphrase(passphrase: bytes, where: str, what: str = "passphrase") -> bytes:
    """Return `passphrase`.

    Raises:
        ConfigurationError: it is empty or too long.
    """
    if not passphrase:
        raise ConfigurationError(f"the {what} from {where} is empty, want at least one byte")
    if len(passphrase) > MAX_PASSPHRASE:
        raise ConfigurationError(
            f"the {what} from {where} has more than {MAX_PASSPHRASE} bytes",
            hint="is it the right file?",
        )
    return passphrase
