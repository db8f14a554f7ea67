"""`fedenclave keys destroy`: crypto-erasure, after naming what becomes unreadable."""

from __future__ import annotations

from typing import Annotated

import typer

from fedenclave.attestation.collateral import iso
from fedenclave.cli.keys_option import (
    AuditFile,
    KeyringPath,
    KeysUri,
    PassphraseFile,
    chosen,
)
from fedenclave.cli.keys_show import Datasets, datasets_under
from fedenclave.cli.terminal import err, say
from fedenclave.keys.provider import KeyState
from fedenclave.protocol.errors import printable


def destroy(
    key: Annotated[str, typer.Argument(help="Its name.")],
    version: Annotated[int, typer.Argument(help="Its version.")],
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
    datasets: Datasets = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Destroy one version: every dataset that is still sealed under it is erased by that."""
    at = chosen(keys, keyring, passphrase_file, audit, key)
    lost = datasets_under(at.provider.kind, key, datasets or []).get(version, [])
    for place in lost:
        err.print(printable(f"warning: {place} becomes unreadable for ever"), markup=False)
    if not yes:
        which = f"{len(lost)} datasets named above" if datasets else "none was looked for"
        typer.confirm(
            f"every dataset under key {key} version {version} at {at.provider.place}, wherever its "
            f"copies are, can never be read again ({which}). destroy it?",
            abort=True,
            err=True,
        )
    gone = at.provider.destroy(key, version)
    if gone.state is KeyState.SCHEDULED:
        say(
            f"key {key} version {version} opens nothing from now on, and is gone for good at "
            f"{iso(gone.destroyed)}: until then whoever administers {at.provider.place} can bring "
            "it back"
        )
        return
    copies = {"keyring": f"backups of {at.provider.place}"}.get(
        at.provider.kind, f"backups of {at.provider.place}, if its maker makes any,"
    )
    say(f"key {key} version {version} destroyed; {copies} may still hold it")
