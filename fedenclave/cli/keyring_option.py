"""Which keyring a command uses, and how it is unlocked: by a passphrase in a file, or asked for.

Never by an argument: every process of the machine can read those.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fedenclave.keys.keyring import Keyring, open_keyring
from fedenclave.keys.passphrase import VARIABLE, checked_passphrase, read_passphrase
from fedenclave.protocol.errors import ConfigurationError

KeyringPath = Annotated[
    Path,
    typer.Option("--keyring", envvar="FEDENCLAVE_KEYRING", help="The keyring's file."),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        envvar=VARIABLE,
        help="File with the keyring's passphrase, mode 0600; else it is asked for.",
    ),
]
KeyName = Annotated[str, typer.Option("--key", help="The key's name in the keyring.")]
DEFAULT_KEY = "node"


def unlocked(keyring: Path, passphrase_file: Path | None) -> Keyring:
    """Return the open keyring.

    Raises:
        ConfigurationError, KeysRefused: there is none, or the passphrase does not open it.
    """
    return open_keyring(keyring, passphrase(passphrase_file, f"passphrase of {keyring}"))


def passphrase(file: Path | None, question: str, *, twice: bool = False) -> bytes:
    """Return the passphrase in `file`, or what the user types, which is asked for twice if new.

    Raises:
        ConfigurationError: there is neither a file nor anybody to ask.
    """
    if file is not None:
        return read_passphrase(file)
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "there is no passphrase file, and nobody to ask at a terminal",
            hint=f"--passphrase-file FILE, or {VARIABLE}=FILE in the environment; never the "
            "passphrase itself",
        )
    typed: str = typer.prompt(question, hide_input=True, confirmation_prompt=twice, err=True)
    return checked_passphrase(typed.encode(), "the prompt")
