"""`fedenclave attest collateral`: what vendors publish about their hardware, as files on disk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from fedenclave.attestation.collateral import iso, read_bundle
from fedenclave.attestation.detect import detect
from fedenclave.attestation.intel.import_collateral import split_collateral
from fedenclave.cli.terminal import cell, err, out, print_json, say
from fedenclave.client.files import read_file
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage

app = typer.Typer(help="Vendors' collateral, as files on disk.", no_args_is_help=True)
OutBundle = Annotated[
    Path, typer.Option("--out", help="The bundle's folder; a client's is DIR/collateral.")
]


@app.command()
def fetch(
    out_folder: OutBundle,
    evidence: Annotated[
        list[Path] | None, typer.Argument(help="Evidence files: they say what is needed.")
    ] = None,
    issuer: Annotated[
        list[str] | None, typer.Option(help="Azure attestation provider, as the policy pins it.")
    ] = None,
) -> None:
    """Ask the vendors, over the network, for what verifying needs; write one new snapshot."""
    from fedenclave.vendors.download import HttpsDownloader
    from fedenclave.vendors.nvidia import requests_for_signers
    from fedenclave.vendors.request import fetch as ask
    from fedenclave.vendors.snapshot import write_snapshot
    from fedenclave.vendors.wanted import requests_for, requests_for_issuers

    detected = [detect(read_file(path, "evidence")) for path in evidence or []]
    requests = [request for each in detected for request in requests_for(each)]
    requests += requests_for_issuers(issuer or [])
    if not requests:
        raise ConfigurationError(
            "nothing to fetch: neither evidence nor an issuer is named",
            hint="fedenclave attest collateral fetch --out collateral evidence.bin",
        )
    downloader = HttpsDownloader()
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("asking")

        def advance(url: str) -> None:
            progress.update(task, description=url.partition("?")[0])

        files = ask(requests, downloader, advance)
        try:
            files |= ask(requests_for_signers(files), downloader, advance)
        except MalformedMessage as error:
            raise ConfigurationError(f"a reference manifest is odd: {error.message}") from error
    _say_written(write_snapshot(out_folder, files, int(time.time())), files)


@app.command("import")
def import_file(
    out_folder: OutBundle,
    file: Annotated[Path, typer.Argument(help="Intel collateral in one JSON, as dcap-qvl has it.")],
) -> None:
    """Write a snapshot from collateral that another tool fetched."""
    from fedenclave.vendors.snapshot import write_snapshot

    try:
        files = split_collateral(read_file(file, "collateral"))
    except MalformedMessage as error:
        raise ConfigurationError(f"{file} cannot be imported: {error.message}") from error
    _say_written(write_snapshot(out_folder, files, int(time.time())), files)


@app.command("list")
def list_files(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """List what a bundle holds."""
    held = read_bundle(bundle)
    files = [file for name in held.names for file in held.versions(name)]
    if as_json:
        print_json(
            [
                {"name": file.name, "fetched": file.fetched, "bytes": len(file.data)}
                for file in files
            ]
        )
        return
    table = Table(title="collateral")
    for heading in ("name", "fetched", "bytes"):
        table.add_column(heading, overflow="fold")
    for file in files:
        table.add_row(cell(file.name), iso(file.fetched), str(len(file.data)))
    out.print(table)


def _say_written(snapshot: Path, files: dict[str, bytes]) -> None:
    say(f"{len(files)} files in {snapshot}")
    for name in sorted(files):
        say(f"  {name}")
