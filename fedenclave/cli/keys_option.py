"""Which keys a command uses, and how they are unlocked: by a file, or by asking at a terminal.

Never by an argument: every process of the machine can read those.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fedenclave.keys.keyring import audit_path
from fedenclave.keys.locations import Access, keyring_path, open_keys
from fedenclave.keys.passphrase import VARIABLE, checked_passphrase, read_passphrase
from fedenclave.keys.pkcs11_token import PIN_VARIABLE, Ask
from fedenclave.keys.provider import KeyProvider
from fedenclave.protocol.errors import ConfigurationError

KeysUri = Annotated[
    str | None,
    typer.Option(
        "--keys",
        metavar="KIND:WHERE",
        help="Who keeps the keys: keyring:PATH, pkcs11:token=…, aws-kms:arn:…, "
        "gcp-kms:projects/…, azure-key-vault:https://…, vault:https://…#transit/KEY. "
        "Default: FEDENCLAVE_KEYS in the environment.",
    ),
]
KeyringPath = Annotated[
    Path | None,
    typer.Option(
        "--keyring",
        help="The keyring's file: --keys keyring:PATH. Default: FEDENCLAVE_KEYRING in the "
        "environment.",
    ),
]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        envvar=VARIABLE,
        help="File with the keyring's passphrase, mode 0600; else it is asked for.",
    ),
]
AuditFile = Annotated[
    Path | None,
    typer.Option(
        "--audit",
        envvar="FEDENCLAVE_KEYS_AUDIT",
        help="File for the events of keys that are in no keyring; a keyring's lie beside it.",
    ),
]
KeyName = Annotated[
    str | None, typer.Option("--key", help="The key's name; default: that of --keys, else node.")
]
DEFAULT_KEY = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenKeys:
    """The opened keys of a command."""

    provider: KeyProvider
    key: str
    audit: Path


def where_keys_are(keys: str | None, keyring: Path | None) -> str:
    """Return the one place that the options name, or else the environment.

    Raises:
        ConfigurationError: they name none, or two.
    """
    if not keys and not keyring:
        # Read here, and not by the options: what is said beats what happens to be set.
        keys, named = os.environ.get("FEDENCLAVE_KEYS"), os.environ.get("FEDENCLAVE_KEYRING")
        keyring = Path(named) if named else None
    if keys and keyring and keyring_path(keys) != keyring:
        raise ConfigurationError(
            f"both --keys {keys.partition('?')[0][:80]} and --keyring {keyring} are given, want "
            "one of them",
            hint="where no option names any, FEDENCLAVE_KEYS or FEDENCLAVE_KEYRING counts: one",
        )
    if keys or keyring:
        return keys or f"keyring:{keyring}"
    raise ConfigurationError(
        "nothing says where the keys are",
        hint="--keyring FILE, or --keys KIND:WHERE; fedenclave keys init makes a keyring",
    )


def keyring_of(keys: str | None, keyring: Path | None) -> Path:
    """Return the keyring's file that the options name.

    Raises:
        ConfigurationError: they name none, or keys that are in no keyring.
    """
    where = where_keys_are(keys, keyring)
    if (path := keyring_path(where)) is None:
        raise ConfigurationError(
            f"{where.partition('?')[0][:80]} is no keyring, and this command is for keyrings alone",
            hint="what keeps those keys has backups, passphrases and PINs of its own",
        )
    return path


def chosen(
    keys: str | None,
    keyring: Path | None,
    passphrase_file: Path | None,
    audit: Path | None,
    key: str | None = None,
) -> ChosenKeys:
    """Return the open keys, and which of them is meant.

    Raises:
        ConfigurationError, KeysRefused: there are none, or they do not open.
    """
    where = where_keys_are(keys, keyring)
    path = keyring_path(where)
    events = audit_path(path) if path is not None else audit or _default_audit()
    opened = open_keys(
        where,
        Access(
            passphrase=lambda file: passphrase(passphrase_file, f"passphrase of {file}"),
            ask_pin=pin_prompt(),
            audit=events,
        ),
    )
    if key and opened.key and key != opened.key:
        raise ConfigurationError(
            f"--key is {key[:80]}, and --keys names {opened.key[:80]}", hint="name it once"
        )
    return ChosenKeys(provider=opened.provider, key=key or opened.key or DEFAULT_KEY, audit=events)


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


def pin_prompt() -> Ask | None:
    """Return what asks for a token's PIN; None where nobody is there to ask."""
    return _ask_pin if sys.stdin.isatty() else None


def _ask_pin(question: str) -> bytes:
    typed: str = typer.prompt(f"{question} ({PIN_VARIABLE})", hide_input=True, err=True)
    return checked_passphrase(typed.encode(), "the prompt", "PIN")


def _default_audit() -> Path:
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    folder = state / "fedenclave"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot make {folder}, where the keys' events go: {error.strerror}",
            hint="--audit FILE, or FEDENCLAVE_KEYS_AUDIT=FILE, names another place",
        ) from error
    return folder / "keys.audit.jsonl"
