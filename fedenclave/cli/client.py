"""`fedenclave client`: a data holder's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedenclave.attestation.collateral import iso
from fedenclave.cli.terminal import cell, err, out, print_insecure, print_json, say
from fedenclave.client.dry_run import dry_run
from fedenclave.client.files import read_file, write_whole
from fedenclave.client.folder import ClientFolder, Identity
from fedenclave.membership.enrolment import Enrolment
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.manifest import approving_members
from fedenclave.protocol.model import Model

app = typer.Typer(help="A data holder's keys, approvals and records.", no_args_is_help=True)
Folder = Annotated[Path, typer.Option("--dir", help="The client folder.")]


@app.command()
def enroll(
    folder: Folder,
    organisation: Annotated[str, typer.Option(help="The organisation that owns the client.")],
    client: Annotated[str | None, typer.Option(help="The client's name.")] = None,
) -> None:
    """Make keys and write enrolment.json for the coordinator."""
    identity = Identity(client=client or organisation, member=organisation)
    made = ClientFolder.create(folder, identity)
    client_key, member_key = made.public_keys()
    enrolment = Enrolment(
        client=identity.client,
        member=identity.member,
        client_key=client_key,
        member_key=member_key,
    )
    write_whole(folder / "enrolment.json", enrolment.to_json().encode())
    say(f"keys made in {folder} (mode 0600); send the coordinator only enrolment.json")


@app.command("add-approvals")
def add_approvals(
    folder: Folder, approvals: Annotated[list[Path], typer.Argument(help="*.approval files")]
) -> None:
    """Keep other members' approvals of the manifest in the folder, or of one to come."""
    client = ClientFolder(folder)
    for path in approvals:
        if client.add_approval(read_file(path, "approval")) is None:
            raise ConfigurationError(
                f"{path} is no member's approval of the manifest in {folder}",
                hint="it approves another file, or was changed; nothing was kept of it",
            )
    for manifest in (client.manifest(), *client.next().values()):
        have = len(approving_members(manifest, client.approvals(manifest)))
        which = "" if manifest.digest == client.manifest().digest else "the next manifest: "
        say(f"{which}{have} members approve, {manifest.threshold} needed")


@app.command()
def revocations(
    folder: Folder, signed: Annotated[Path, typer.Argument(help="The members' signed list.")]
) -> None:
    """Keep a newer list of what the members no longer trust; it counts from the next round on."""
    kept = ClientFolder(folder).add_revocations(read_file(signed, "revocation list"))
    say(
        f"list number {kept.serial}, until {iso(kept.expires)}: {len(kept.revoked)} revoked, "
        f"{len(kept.floors)} floors"
    )


@app.command("dry-run")
def show_dry_run(
    folder: Folder,
    model: Annotated[
        Path | None, typer.Option(help="A model file; default: the newest in the folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Seal a made-up update and show what would leave this machine, for whom, under which rules."""
    client = ClientFolder(folder)
    client.identity()
    path = model or folder / "model.fem"
    if model is None and not path.exists():
        raise ConfigurationError(
            f"{folder} holds no model yet: no round has been run",
            hint="name the agreed first model: --model first-model.fem",
        )
    try:
        shown = dry_run(client, Model.from_bytes(read_file(path, "model")))
    except MalformedMessage as error:
        raise ConfigurationError(f"{path}: {error.message}") from error
    if as_json:
        print_json(shown)
        return
    table = Table(title="what would leave this machine", show_header=False, show_lines=True)
    table.add_column()
    table.add_column(overflow="fold")
    for key, value in shown.items():
        text = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        table.add_row(key.replace("_", " "), cell(text))
    out.print(table)
    if client.manifest().attestation.insecure:
        print_insecure("the manifest accepts development evidence")


@app.command("forget-chain")
def forget_chain(
    folder: Folder,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Let the next round come from a new enclave: only after an agreed restart."""
    client = ClientFolder(folder)
    awaited = [part.round for part in client.session().state.pending]
    if awaited:
        err.print(
            f"warning: the receipts of rounds {awaited} are awaited and would never come",
            markup=False,
        )
    if not yes:
        typer.confirm(
            "this client will accept a new enclave and repeat rounds it has done. was the restart "
            "agreed with the other members?",
            abort=True,
        )
    kept = client.forget_chain()
    say(f"set aside as {kept}; receipts are untouched")
