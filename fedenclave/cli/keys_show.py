"""`fedenclave keys show`: a key's life, and which datasets refer to it."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from fedenclave.attestation.collateral import iso
from fedenclave.cli.keys_option import (
    AuditFile,
    KeyringPath,
    KeysUri,
    PassphraseFile,
    chosen,
)
from fedenclave.cli.terminal import cell, err, out, print_json
from fedenclave.datasets.listing import listed
from fedenclave.datasets.locations import stores_in
from fedenclave.keys.errors import NoSuchKey
from fedenclave.keys.provider import KeyVersion
from fedenclave.protocol.errors import printable

Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--datasets",
        metavar="FOLDER",
        help="A folder or URL of sealed datasets, to look for those under the key; any number.",
    ),
]


def show(
    key: Annotated[str, typer.Argument(help="Its name.")],
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
    datasets: Datasets = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show a key's versions, their life, and the datasets that refer to each."""
    at = chosen(keys, keyring, passphrase_file, audit, key)
    versions = [version for version in at.provider.versions() if version.key == key]
    if not versions:
        raise NoSuchKey(
            f"{at.provider.place} has no key {key[:80]}",
            hint="fedenclave keys list shows what it has",
        )
    users = datasets_under(at.provider.kind, key, datasets or [])
    rows = [{**facts_of(each), "datasets": users.get(each.version, [])} for each in versions]
    gone = sorted(users.keys() - {each.version for each in versions})
    if as_json:
        missing = [{"version": version, "datasets": users[version]} for version in gone]
        print_json({"place": at.provider.place, "versions": rows, "missing": missing})
        return
    table = Table(title=cell(f"key {key} of {at.provider.place}"))
    for heading in ("version", "state", "created", "expires", "destroyed", "datasets"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        under = "\n".join(map(str, users.get(int(str(row["version"])), [])))
        values = (row[name] for name in ("version", "state", "created", "expires", "destroyed"))
        table.add_row(*map(cell, values), cell(under if datasets else "not looked for"))
    out.print(table)
    for version in gone:
        err.print(
            printable(
                f"warning: {', '.join(users[version])[:500]}: under version {version}, which is "
                "not here"
            ),
            markup=False,
        )


def datasets_under(kind: str, key: str, folders: list[str]) -> dict[int, list[str]]:
    """Return the places of the datasets whose heads name this provider and key, by version.

    What their heads say is not verified: whoever can write them can leave one out.

    Raises:
        StorageFailed, DatasetMissing: a folder cannot be read.
    """
    found: dict[int, list[str]] = {}
    for folder in folders:
        for item in listed(stores_in(folder)):
            head = item.unverified_head
            if head is not None and (head.key.provider, head.key.key) == (kind, key):
                found.setdefault(head.key.version, []).append(item.place)
    return found


def facts_of(version: KeyVersion) -> dict[str, object]:
    """Return a version as a table's row, or as JSON."""
    return {
        "key": version.key,
        "version": version.version,
        "state": version.state.value,
        "created": iso(version.created) if version.created else "",
        "expires": iso(version.expires) if version.expires else "",
        "destroyed": iso(version.destroyed) if version.destroyed else "",
    }
