"""`fedenclave data`: a node's datasets, sealed at rest."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fedenclave.attestation.collateral import iso
from fedenclave.cli import data_lineage
from fedenclave.cli.keys_option import (
    AuditFile,
    KeyName,
    KeyringPath,
    KeysUri,
    PassphraseFile,
    chosen,
)
from fedenclave.cli.terminal import cell, err, out, print_json, say
from fedenclave.datasets.clean import clean as clean_dataset
from fedenclave.datasets.clean import leftovers
from fedenclave.datasets.errors import SourceRefused
from fedenclave.datasets.head import Head
from fedenclave.datasets.listing import Listed, listed
from fedenclave.datasets.locations import is_remote, store_at, stores_in
from fedenclave.datasets.reader import SealedDataset, open_dataset, require_digest
from fedenclave.datasets.rotate import reencrypt, rewrap
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.tar import write_tar
from fedenclave.datasets.verify import verify as verify_dataset
from fedenclave.datasets.writer import Options
from fedenclave.datasets.writer import seal as seal_dataset
from fedenclave.node.process_limits import keep_memory_to_itself
from fedenclave.protocol.digests import from_text, to_text
from fedenclave.protocol.errors import printable

_LONG = 256 << 20
"""Bytes whose sealing may take a second: they get a progress bar."""
_PIECE = 1 << 20

app = typer.Typer(help="Datasets of a node, sealed at rest.", no_args_is_help=True)
Dataset = Annotated[
    str, typer.Argument(metavar="DATASET", help="The sealed dataset's folder, or its URL.")
]
AsJson = Annotated[bool, typer.Option("--json")]

app.command()(data_lineage.disclose)
app.command()(data_lineage.prove)


@app.callback()
def group() -> None:
    """Keep keys and plain text out of core files, and from other processes of the user."""
    keep_memory_to_itself()


@app.command()
def seal(
    source: Annotated[Path, typer.Argument(help="A file, or a folder of files.")],
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="The folder to make, or a URL such as s3://bucket/name."
        ),
    ],
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
    key: KeyName = None,
    as_json: AsJson = False,
) -> None:
    """Seal a file or a folder of files. The plaintext stays where it is: deleting it is yours."""
    _refuse_inside(source, dataset)
    at = chosen(keys, keyring, passphrase_file, audit, key)
    files = LocalFiles(source)
    size = sum(file.size for file in files.files)
    with _progress("sealing", size) as progress:
        options = Options(clock=time.time, progress=progress)
        head = seal_dataset(files, store_at(dataset), at.provider, at.key, options)
    if as_json:
        print_json({**_facts(dataset, head), "files": len(files.files), "bytes": size})
        return
    say(f"{dataset}: {len(files.files)} files, {size} bytes, sealed under key {_key(head)}")
    say(f"digest: {to_text(head.digest)}")
    say(f"{source} is still there in plain text: delete it once nobody needs it")


@app.command("open")
def open_(
    dataset: Dataset,
    file: Annotated[
        str | None, typer.Argument(help="Which of its files to write to stdout.")
    ] = None,
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
    as_tar: Annotated[
        bool, typer.Option("--tar", help="Write all files to stdout, as a tar archive.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List what is in a sealed dataset, or write one of its files, or all, to stdout."""
    if as_tar + as_json + (file is not None) > 1:
        raise typer.BadParameter("want a file, --tar or --json: one of them at most")
    at = chosen(keys, keyring, passphrase_file, audit)
    with open_dataset(store_at(dataset), at.provider) as opened:
        if as_tar:
            write_tar(opened, sys.stdout.buffer)
            return
        if file is not None:
            _write_out(opened, file)
            return
        members = [
            {"file": member.name, "bytes": member.size} for member in opened.members.values()
        ]
        if as_json:
            print_json({**_facts(dataset, opened.head), "files": members})
            return
        table = Table(title=cell(f"files of {dataset}"))
        table.add_column("file", overflow="fold")
        table.add_column("bytes", justify="right")
        for member in members:
            table.add_row(cell(member["file"]), cell(member["bytes"]))
        out.print(table)


@app.command("list")
def list_datasets(
    folder: Annotated[
        str, typer.Argument(help="A folder or URL of sealed datasets, or one of them.")
    ],
    as_json: AsJson = False,
) -> None:
    """List sealed datasets, without a key: what their heads say, unverified."""
    found = listed(stores_in(folder))
    if as_json:
        print_json([_listed_as_json(item) for item in found])
        return
    table = Table(title=cell(f"sealed datasets in {folder}, not verified"))
    for heading in ("dataset", "sealed", "key", "bytes", "digest", "problem"):
        table.add_column(heading, overflow="fold")
    for item in found:
        row = _listed_as_json(item)
        table.add_row(
            *(cell(row.get(name, "")) for name in ("place", "sealed_at")),
            cell(_key(item.unverified_head) if item.unverified_head is not None else ""),
            *(cell(row.get(name, "")) for name in ("sealed_bytes", "digest", "problem")),
        )
    out.print(table)
    for item in found:
        _warn_of(item.place, item.leftovers)


@app.command()
def verify(
    dataset: Dataset,
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
    digest: Annotated[
        str | None,
        typer.Option(metavar="sha256:…", help="The digest that it must have, as seal printed it."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read all of a sealed dataset; name every place that is not as sealed, and exit 1 then."""
    at = chosen(keys, keyring, passphrase_file, audit)
    store = store_at(dataset)
    with open_dataset(store, at.provider, purpose="verify") as opened:
        if digest is not None:
            require_digest(opened, from_text(digest))
        size = sum(member.size for member in opened.members.values())
        with _progress("verifying", size) as progress:
            result = verify_dataset(opened, progress)
        left = leftovers(store, opened.head)
        if as_json:
            problems = list(result.problems)
            print_json(
                {
                    **_facts(dataset, opened.head),
                    "files": result.files,
                    "bytes": result.size,
                    "problems": problems,
                    "leftovers": left,
                }
            )
        elif not result.problems:
            say(f"{dataset}: {result.files} files, {result.size} bytes, all as sealed")
            say(f"digest: {to_text(opened.digest)}")
    _warn_of(dataset, left)
    for problem in result.problems:
        err.print(f"error: {printable(problem)}", markup=False)
    if result.problems:
        err.print("hint: what is named was damaged, changed or moved: restore it from a backup")
        raise typer.Exit(1)


@app.command()
def rotate(
    dataset: Dataset,
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
    key: KeyName = None,
    to_keys: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="KIND:WHERE", help="Other keys to bring it under, such as an HSM's."
        ),
    ] = None,
    to_passphrase_file: Annotated[
        Path | None,
        typer.Option(help="File with the passphrase of the keyring in --to, mode 0600."),
    ] = None,
    reencrypt_all: Annotated[
        bool, typer.Option("--reencrypt", help="Also a new data key: everything is sealed anew.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Wrap a dataset's data key under the newest version of the key, or under other keys."""
    if to_passphrase_file is not None and to_keys is None:
        raise typer.BadParameter("--to-passphrase-file is for the keyring that --to names")
    if to_keys is None:
        at = into = chosen(keys, keyring, passphrase_file, audit, key)
    else:
        at = chosen(keys, keyring, passphrase_file, audit)
        into = chosen(to_keys, None, to_passphrase_file, audit, key)
    store = store_at(dataset)
    if reencrypt_all:
        with _progress("sealing anew", _sealed_size(dataset)) as progress:
            options = Options(clock=time.time, progress=progress)
            head = reencrypt(store, at.provider, into.key, options, into.provider)
    else:
        head = rewrap(store, at.provider, into.key, into.provider)
    if as_json:
        print_json(_facts(dataset, head))
        return
    say(f"{dataset} is sealed under key {_key(head)}")


@app.command()
def clean(
    dataset: Dataset,
    keys: KeysUri = None,
    keyring: KeyringPath = None,
    passphrase_file: PassphraseFile = None,
    audit: AuditFile = None,
    unlock: Annotated[
        bool,
        typer.Option(
            "--unlock",
            help="First delete the lock that a killed rotation has left in an object storage. Only "
            "if none is running: two at once can destroy the dataset.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Delete what killed seals and rotations have left beside a dataset, once it has opened."""
    at = chosen(keys, keyring, passphrase_file, audit)
    store = store_at(dataset)
    unlocked = store.unlock() if unlock else False
    head, removed = clean_dataset(store, at.provider)
    if as_json:
        print_json({**_facts(dataset, head), "removed": removed, "unlocked": unlocked})
        return
    if unlocked:
        say(f"{dataset}: a lock is deleted")
    for name in removed:
        say(f"{dataset}/{name} is deleted")
    if not removed:
        say(f"{dataset} has nothing that belongs to nothing")


def _refuse_inside(source: Path, dataset: str) -> None:
    if is_remote(dataset):
        return
    if source.is_dir() and source.resolve() in Path(dataset).resolve().parents:
        raise SourceRefused(
            f"{dataset} lies inside {source}, and would be sealed into itself",
            hint="choose a folder outside of it",
        )


def _warn_of(place: str, names: Sequence[str]) -> None:
    for name in names:
        err.print(printable(f"warning: {place}/{name} belongs to nothing"), markup=False)
    if names:
        err.print(
            "hint: a seal or a rotation was killed, or goes on; fedenclave data clean deletes"
        )


def _write_out(opened: SealedDataset, name: str) -> None:
    with opened.open(name) as stream:
        piece = memoryview(bytearray(_PIECE))
        while count := stream.readinto(piece):
            sys.stdout.buffer.write(piece[:count])
    sys.stdout.buffer.flush()


def _sealed_size(dataset: str) -> int:
    heads = [item.unverified_head for item in listed([store_at(dataset)])]
    return sum(head.body_size for head in heads if head is not None)


def _key(head: Head) -> str:
    return f"{head.key.key} version {head.key.version} ({head.key.provider})"


def _facts(place: str, head: Head) -> dict[str, object]:
    return {
        "place": place,
        "dataset": head.name,
        "digest": to_text(head.digest),
        "sealed_at": iso(head.sealed_at),
        "provider": head.key.provider,
        "key": head.key.key,
        "version": head.key.version,
        "sealed_bytes": head.index_size + head.body_size,
    }


def _listed_as_json(item: Listed) -> dict[str, object]:
    head = item.unverified_head
    facts = _facts(item.place, head) if head is not None else {"place": item.place}
    return {**facts, "problem": item.problem, "leftovers": list(item.leftovers)}


@contextmanager
def _progress(what: str, size: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=size <= _LONG) as progress:
        task = progress.add_task(what, total=size)
        yield lambda done: progress.update(task, completed=done)
