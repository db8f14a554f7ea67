"""`fedenclave client`: a data holder's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedenclave.attestation.collateral import iso
from fedenclave.cli.keys_option import pin_prompt
from fedenclave.cli.terminal import cell, err, out, print_insecure, print_json, say
from fedenclave.client.dry_run import dry_run
from fedenclave.client.files import read_file, write_whole
from fedenclave.client.folder import ClientFolder
from fedenclave.client.identity import KEY_FILE, Identity
from fedenclave.client.signing_keys import NEXT_ENROLMENT
from fedenclave.client.standing import state_of
from fedenclave.keys.pkcs11_signing import is_token, without_access
from fedenclave.membership.enrolment import Enrolment
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.manifest import approving_members
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import PublicKey, public_key

app = typer.Typer(help="A data holder's keys, approvals and records.", no_args_is_help=True)
Folder = Annotated[Path, typer.Option("--dir", help="The client folder.")]
SigningKey = Annotated[
    str | None,
    typer.Option(
        "--signing-key",
        metavar="pkcs11:…",
        help="Make the signing key in this token, under the label in object=; default: in a file.",
    ),
]


@app.command()
def enroll(
    folder: Folder,
    organisation: Annotated[str, typer.Option(help="The organisation that owns the client.")],
    client: Annotated[str | None, typer.Option(help="The client's name.")] = None,
    signing_key: SigningKey = None,
) -> None:
    """Make keys and write enrolment.json for the coordinator."""
    identity = Identity(
        client=client or organisation,
        member=organisation,
        signing_key=_token_key(signing_key) or KEY_FILE,
    )
    made = ClientFolder.create(folder, identity, pin_prompt())
    client_key, member_key = made.public_keys()
    _write_enrolment(folder / "enrolment.json", identity, client_key, member_key)
    where = f"; the signing key is in {without_access(signing_key)}" if signing_key else ""
    say(f"keys made in {folder} (mode 0600){where}; send the coordinator only enrolment.json")


@app.command("new-key")
def new_key(folder: Folder, signing_key: SigningKey = None) -> None:
    """Make the client's next signing key; the one in use goes on until the members exchange it."""
    client = ClientFolder(folder)
    with client.lock():
        file = folder / NEXT_ENROLMENT
        # Where an earlier call was broken off behind the key, its enrolment is still to be written.
        left = client.keys.next() if not file.exists() else None
        made = left or client.keys.make_next(_token_key(signing_key), pin_prompt())
        _write_enrolment(file, client.identity(), public_key(made), client.public_keys()[1])
    say(f"next signing key made; send the coordinator {file}")
    say(f"then: fedenclave federation amend federation.toml --new-key {file} --out next.toml")
    say("members review and approve that; once the enclave goes by it, it refuses the former key")


def _token_key(signing_key: str | None) -> str | None:
    if signing_key is not None and not is_token(signing_key):
        raise ConfigurationError(
            f"--signing-key is {signing_key[:80]!r}, want a token's key as pkcs11:token=…;object=…",
            hint="without the option the key is made in a file of the folder",
        )
    return signing_key


def _write_enrolment(
    path: Path, identity: Identity, client_key: PublicKey, member_key: PublicKey
) -> None:
    enrolment = Enrolment(
        client=identity.client,
        member=identity.member,
        client_key=client_key,
        member_key=member_key,
    )
    write_whole(path, enrolment.to_json().encode())


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
    client.identity()
    try:
        awaited = list(state_of(client).awaited)
    except ConfigurationError as error:
        # That is what it may be forgotten for.
        err.print(
            f"warning: {error.message}: which receipts would never come, nobody can tell",
            markup=False,
        )
        awaited = []
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
