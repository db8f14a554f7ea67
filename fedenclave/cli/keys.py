"""`fedenclave keys`: the keys that wrap the data keys of sealed datasets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedenclave.attestation.collateral import iso
from fedenclave.cli.keys_destroy import destroy
from fedenclave.cli.keys_option import (
    DEFAULT_KEY,
    AuditFile,
    KeyName,
    KeyringPath,
    KeysUri,
    PassphraseFile,
    chosen,
    keyring_of,
    passphrase,
)
from fedenclave.cli.keys_show import facts_of, show
from fedenclave.cli.terminal import cell, err, out, print_json, say
from fedenclave.cli.time_option import Expires, expiry
from fedenclave.keys.backup import restore_backup, write_backup
from fedenclave.keys.expiry import checked_expiry
from fedenclave.keys.keyring import audit_path, create_keyring, open_keyring
from fedenclave.keys.wrapping import checked_key_name
from fedenclave.node.process_limits import keep_memory_to_itself

app = typer.Typer(help="The keys that data at rest is sealed under.", no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json")]
BackupPassphraseFile = Annotated[
    Path | None,
    typer.Option(
        help="File with the backup's own passphrase, mode 0600; else it is asked for.",
    ),
]
app.command()(show)
app.command()(destroy)


@app.callback()
def group() -> None:
    """Keep keys and passphrases out of core files, and from other processes of the user."""
    keep_memory_to_itself()


@app.command()
def init(
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    key: KeyName = DEFAULT_KEY,
    expires: Expires = None,
) -> None:
    """Make a keyring with one key. Whoever loses its passphrase loses what it has sealed."""
    path, name = keyring_of(keys, keyring), checked_key_name(key or DEFAULT_KEY)
    # Looked at before there is a keyring, which would else be left without a key.
    until = checked_expiry(expiry(expires), time.time())
    secret = passphrase(passphrase_file, f"new passphrase of {path}", twice=True)
    create_keyring(path, secret).create(name, expires=until)
    say(f"{path} made (mode 0600) with key {name} version 1; its events: {audit_path(path)}")


@app.command()
def create(
    key: Annotated[str, typer.Argument(help="Its name.")],
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
    expires: Expires = None,
) -> None:
    """Make another key."""
    until = expiry(expires)
    at = chosen(keys, keyring, passphrase_file, audit, key)
    made = at.provider.create(key, expires=until)
    say(f"key {made.key} version {made.version} made at {at.provider.place}{_until(until)}")


@app.command()
def rotate(
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
    key: KeyName = None,
    expires: Expires = None,
) -> None:
    """Add a version, which wraps from now on; `fedenclave data rotate` brings datasets to it."""
    until = expiry(expires)
    at = chosen(keys, keyring, passphrase_file, audit, key)
    made = at.provider.rotate(at.key, expires=until)
    say(
        f"key {made.key} version {made.version} made at {at.provider.place}{_until(until)}; older "
        "ones stay readable"
    )


@app.command("list")
def list_keys(
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
    as_json: AsJson = False,
) -> None:
    """List all versions of all keys; never their bytes."""
    at = chosen(keys, keyring, passphrase_file, audit)
    versions = at.provider.versions()
    if as_json:
        print_json([facts_of(version) for version in versions])
        return
    table = Table(title=cell(f"keys of {at.provider.place}"))
    for heading in ("key", "version", "state", "created", "expires", "destroyed"):
        table.add_column(heading, overflow="fold")
    for version in versions:
        row = facts_of(version)
        table.add_row(*(cell(row[name]) for name in row))
    out.print(table)


@app.command("change-passphrase")
def change_passphrase(
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    new_passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the new one, mode 0600; else it is asked for.")
    ] = None,
) -> None:
    """Seal the keyring by another passphrase; backups of it still open by the old one."""
    path = keyring_of(keys, keyring)
    ring = open_keyring(path, passphrase(passphrase_file, f"passphrase of {path}"))
    ring.change_passphrase(passphrase(new_passphrase_file, "new passphrase", twice=True))
    say(f"{path} opens by the new passphrase now")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="The file to make; never over another.")],
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    backup_passphrase_file: BackupPassphraseFile = None,
) -> None:
    """Copy a keyring into a file under a passphrase of its own, and read that again."""
    path = keyring_of(keys, keyring)
    secret = passphrase(passphrase_file, f"passphrase of {path}")
    own = passphrase(backup_passphrase_file, f"new passphrase of the backup {file}", twice=True)
    versions = write_backup(path, secret, file, own)
    say(f"{file} holds {versions} versions of keys, and was read again: keep it elsewhere")
    err.print("warning: what is destroyed in the keyring later is still in this file", markup=False)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `keys backup` has made.")],
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    backup_passphrase_file: BackupPassphraseFile = None,
) -> None:
    """Make a keyring of a backup; never over another one."""
    path = keyring_of(keys, keyring)
    own = passphrase(backup_passphrase_file, f"passphrase of the backup {file}")
    secret = passphrase(passphrase_file, f"new passphrase of {path}", twice=True)
    versions = restore_backup(file, own, path, secret)
    say(f"{path} made (mode 0600) with {versions} versions of keys, and was read again")


def _until(expires: int) -> str:
    return f", and seals until {iso(expires)}" if expires else ""
