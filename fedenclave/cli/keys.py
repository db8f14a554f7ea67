"""`fedenclave keys`: the keys that wrap the data keys of sealed datasets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedenclave.attestation.collateral import iso
from fedenclave.cli.keyring_option import (
    DEFAULT_KEY,
    KeyName,
    KeyringPath,
    PassphraseFile,
    passphrase,
    unlocked,
)
from fedenclave.cli.terminal import cell, out, print_json, say
from fedenclave.keys.keyring import audit_path, create_keyring
from fedenclave.keys.provider import KeyVersion

app = typer.Typer(help="The keys that data at rest is sealed under.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json")]


@app.command()
def init(
    keyring: KeyringPath, passphrase_file: PassphraseFile = None, key: KeyName = DEFAULT_KEY
) -> None:
    """Make a keyring with one key. Whoever loses its passphrase loses what it has sealed."""
    secret = passphrase(passphrase_file, f"new passphrase of {keyring}", twice=True)
    create_keyring(keyring, secret).create(key)
    say(f"{keyring} made (mode 0600) with key {key} version 1; its events: {audit_path(keyring)}")


@app.command()
def create(
    key: Annotated[str, typer.Argument(help="Its name.")],
    keyring: KeyringPath,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make another key."""
    made = unlocked(keyring, passphrase_file).create(key)
    say(f"key {made.key} version {made.version} made")


@app.command()
def rotate(
    keyring: KeyringPath, passphrase_file: PassphraseFile = None, key: KeyName = DEFAULT_KEY
) -> None:
    """Add a version, which wraps from now on; `fedenclave data rotate` brings datasets to it."""
    made = unlocked(keyring, passphrase_file).rotate(key)
    say(f"key {made.key} version {made.version} made; older ones stay readable")


@app.command("list")
def list_keys(
    keyring: KeyringPath, passphrase_file: PassphraseFile = None, as_json: AsJson = False
) -> None:
    """List all versions of all keys; never their bytes."""
    versions = unlocked(keyring, passphrase_file).versions()
    if as_json:
        print_json([_as_json(version) for version in versions])
        return
    table = Table(title=f"keys of {keyring}")
    for heading in ("key", "version", "state", "created", "destroyed"):
        table.add_column(heading)
    for version in versions:
        row = _as_json(version)
        table.add_row(*(cell(row[name]) for name in row))
    out.print(table)


@app.command()
def destroy(
    key: Annotated[str, typer.Argument(help="Its name.")],
    version: Annotated[int, typer.Argument(help="Its version.")],
    keyring: KeyringPath,
    passphrase_file: PassphraseFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Destroy one version: every dataset that is still sealed under it is erased by that."""
    ring = unlocked(keyring, passphrase_file)
    if not yes:
        typer.confirm(
            f"every dataset under key {key} version {version} can never be read again. destroy it?",
            abort=True,
            err=True,
        )
    ring.destroy(key, version)
    say(f"key {key} version {version} destroyed; backups of {keyring} may still hold it")


@app.command("change-passphrase")
def change_passphrase(
    keyring: KeyringPath,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the new one, mode 0600; else it is asked for.")
    ] = None,
) -> None:
    """Seal the keyring by another passphrase; backups of it still open by the old one."""
    ring = unlocked(keyring, passphrase_file)
    ring.change_passphrase(passphrase(new_passphrase_file, "new passphrase", twice=True))
    say(f"{keyring} opens by the new passphrase now")


def _as_json(version: KeyVersion) -> dict[str, object]:
    return {
        "key": version.key,
        "version": version.version,
        "state": version.state.value,
        "created": iso(version.created),
        "destroyed": iso(version.destroyed) if version.destroyed else "",
    }
