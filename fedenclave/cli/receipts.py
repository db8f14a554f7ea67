"""`fedenclave receipts`: judge receipts, offline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedenclave.attestation.collateral import iso
from fedenclave.attestation.endorsements import read_endorsements
from fedenclave.attestation.policy import read_policies
from fedenclave.audit.folder import JudgedFile, contradictions, judge_files, receipt_files
from fedenclave.audit.lineage import Contains, ReleasedModel, models_with
from fedenclave.audit.receipt import summary
from fedenclave.cli.enclave_key import former_manifests
from fedenclave.cli.terminal import cell, err, out, print_insecure, print_json
from fedenclave.client.manifest_files import read_manifest
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.errors import ConfigurationError, printable
from fedenclave.protocol.manifest import Manifest

app = typer.Typer(help="Judge receipts, offline.", no_args_is_help=True)
Paths = Annotated[list[Path], typer.Argument(help="Receipt files, or client folders.")]
ManifestPath = Annotated[
    Path | None,
    typer.Option("--manifest", help="The agreed federation.toml; default: the client folder's."),
]
EndorsementsPath = Annotated[
    Path | None,
    typer.Option(
        "--endorsements",
        help="Folder with collateral/ and revocations.signed; default: the client folder.",
    ),
]
FormerPaths = Annotated[
    list[Path] | None,
    typer.Option("--former", help="A manifest before it; default: those in former/ beside it."),
]
AsJson = Annotated[bool, typer.Option("--json")]


@app.command()
def verify(
    paths: Paths,
    manifest: ManifestPath = None,
    former: FormerPaths = None,
    endorsements: EndorsementsPath = None,
    as_json: AsJson = False,
) -> None:
    """Verify every receipt against the agreed manifest; exit 1 if one proves nothing."""
    judged = _judge(paths, *_trusted(paths, manifest), endorsements, former or [])
    valid = [file.verified for file in judged if file.verified is not None]
    against = contradictions(valid, now=int(time.time()))
    if as_json:
        files = [_as_json(file) for file in judged]
        print_json({"receipts": files, "contradictions": against})
    else:
        out.print(_table(judged))
        _print_problems(judged)
        for line in against:
            err.print(f"error: {printable(line)}", markup=False)
    for line in sorted({line for receipt in valid for line in receipt.attestation.excepted}):
        err.print(f"warning: {printable(line)}", markup=False)
    if any(receipt.attestation.insecure for receipt in valid):
        print_insecure(
            "development evidence: the receipts prove what the enclave process said of itself"
        )
    if len(valid) < len(judged) or against:
        raise typer.Exit(1)


@app.command("list")
def list_receipts(
    paths: Paths,
    manifest: ManifestPath = None,
    former: FormerPaths = None,
    endorsements: EndorsementsPath = None,
    as_json: AsJson = False,
) -> None:
    """List receipts, each verified first; like `verify`, but always ends with 0."""
    judged = _judge(paths, *_trusted(paths, manifest), endorsements, former or [])
    if as_json:
        print_json([_as_json(file) for file in judged])
    else:
        out.print(_table(judged))
        _print_problems(judged)


@app.command()
def contains(
    paths: Paths,
    client: Annotated[str, typer.Option("--client", help="Whom to look for.")],
    manifest: ManifestPath = None,
    former: FormerPaths = None,
    endorsements: EndorsementsPath = None,
    as_json: AsJson = False,
) -> None:
    """Say which released models contain a client; exit 1 where the receipts cannot say of all.

    A model contains a client whose update is in it, and so does every model that builds on it.
    """
    trusted, beside = _trusted(paths, manifest)
    if client not in trusted.roster:
        raise ConfigurationError(
            f"client {client} is not on the roster",
            hint=f"it names {', '.join(sorted(trusted.roster)[:10])}",
        )
    judged = _judge(paths, trusted, beside, endorsements, former or [])
    valid = [file.verified for file in judged if file.verified is not None]
    models = models_with(valid, client, trusted.initial_model)
    if as_json:
        print_json([_model_as_json(model) for model in models])
    else:
        out.print(_models_table(models, client))
    _print_problems(judged)
    if len(valid) < len(judged) or any(m.contains is Contains.UNKNOWN for m in models):
        err.print("error: receipts are missing, or prove nothing: this may not be all")
        err.print("hint: add other members' receipts of the rounds between")
        raise typer.Exit(1)


def _model_as_json(model: ReleasedModel) -> dict[str, object]:
    return {
        "round": model.round,
        "model": to_text(model.model),
        "base_model": to_text(model.base_model),
        "contains": model.contains.value,
        "since": model.since or None,
    }


def _models_table(models: list[ReleasedModel], client: str) -> Table:
    table = Table(title=f"released models and {printable(client)}")
    for heading in ("round", "model", "contains it", "since round"):
        table.add_column(heading, overflow="fold")
    for model in models:
        since = str(model.since) if model.since else ""
        table.add_row(str(model.round), to_text(model.model), model.contains.value, since)
    return table


def _print_problems(judged: list[JudgedFile]) -> None:
    for file in judged:
        if file.problem:
            err.print(printable(f"{file.path.name}: {file.problem}"), markup=False)


def _trusted(paths: list[Path], manifest: Path | None) -> tuple[Manifest, Path]:
    """Return the manifest to judge by, and where it lies."""
    for path in paths:
        if not path.exists():
            raise ConfigurationError(f"there is no {path}", hint="is the path right?")
    if manifest is None:
        beside = paths[0] / "federation.toml"
        if len(paths) != 1 or not beside.is_file():
            raise ConfigurationError(
                "no manifest to judge the receipts by",
                hint="name the one that you trust: --manifest federation.toml",
            )
        manifest = beside
    return read_manifest(manifest), manifest


def _judge(
    paths: list[Path],
    trusted: Manifest,
    beside: Path,
    endorsements: Path | None,
    former: list[Path],
) -> list[JudgedFile]:
    read_policies(trusted.attestation)
    if endorsements is not None and not endorsements.is_dir():
        raise ConfigurationError(f"there is no folder {endorsements}", hint="is the path right?")
    held = read_endorsements(endorsements or beside.parent, trusted)
    before = former_manifests(trusted, beside.parent, former)
    return judge_files(receipt_files(paths), trusted, held, before)


def _as_json(file: JudgedFile) -> dict[str, object]:
    if file.verified is None:
        return {"file": str(file.path), "valid": False, "problem": file.problem}
    return {"file": str(file.path), "valid": True, **summary(file.verified)}


def _table(judged: list[JudgedFile]) -> Table:
    table = Table(title="receipts")
    for heading in ("round", "client", "proves", "with", "model", "evidence", "judged at"):
        table.add_column(heading, overflow="fold")
    for file in judged:
        receipt = file.verified
        if receipt is None:
            table.add_row("?", cell(file.path.name), "[red]nothing[/]", "", "", "", "")
            continue
        proves = receipt.verdict.value + (f": {receipt.reason}" if receipt.reason else "")
        table.add_row(
            str(receipt.round),
            receipt.client,
            proves,
            f"{len(receipt.organisations)} orgs" if receipt.organisations else "nobody",
            to_text(receipt.model)[7:15] if receipt.model is not None else "none",
            f"{receipt.attestation.format}: {receipt.attestation.status.value}",
            iso(receipt.judged_at),
        )
    return table
