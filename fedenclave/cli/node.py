"""`fedenclave node`: which app runs on a data owner's machine, and the SuperNode that runs it."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedenclave.cli.terminal import cell, err, out, print_json, say
from fedenclave.client.folder import ClientFolder
from fedenclave.node.approvals import AppApproval, AppApprovals
from fedenclave.node.bundle import read_app
from fedenclave.node.inspection import Inspection, inspect
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Manifest

app = typer.Typer(help="The data owner's node: approve an app, and run it.", no_args_is_help=True)
Folder = Annotated[Path, typer.Option("--dir", help="The client folder.")]
Json = Annotated[bool, typer.Option("--json")]
By = Annotated[str, typer.Option(help="Who decides; by default the user's name here.")]


@app.command()
def approve(
    path: Annotated[Path, typer.Argument(metavar="APP", help="A Flower app's folder, or a .fab.")],
    folder: Folder,
    by: By = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Although it was revoked.")] = False,
    as_json: Json = False,
) -> None:
    """Show what an app is, and let it run on this node: these bytes, and no others."""
    client = ClientFolder(folder)
    client.identity()
    seen = inspect(read_app(path), _manifest(client))
    if not as_json:
        _show(seen)
    if seen.objections:
        if as_json:
            print_json({**seen.plain(), "approved": False})
        raise ConfigurationError(
            f"app cannot be approved: {'; '.join(seen.objections)}",
            hint="ask its author for a changed one; nothing was recorded",
        )
    if not yes:
        typer.confirm(
            "have you read the files above, and may this app run here?", abort=True, err=True
        )
    record = AppApprovals(folder).approve(
        seen.bundle, by=by or getpass.getuser(), now=int(time.time()), again=again
    )
    if as_json:
        print_json({**seen.plain(), "approved": True, **_plain(record)})
    else:
        say(f"approved: {record.app_id} {record.version}, {record.fab_hash}")


@app.command()
def show(
    path: Annotated[Path, typer.Argument(metavar="APP", help="A Flower app's folder, or a .fab.")],
    folder: Folder,
    as_json: Json = False,
) -> None:
    """Show what an app is, and approve nothing."""
    seen = inspect(read_app(path), _manifest(ClientFolder(folder)))
    if as_json:
        print_json(seen.plain())
    else:
        _show(seen)


@app.command()
def revoke(
    which: Annotated[
        str, typer.Argument(metavar="APP", help="A hash, 8 of its digits, or PUBLISHER/NAME.")
    ],
    folder: Folder,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Let an app run no more, from the next message on."""
    revoked = AppApprovals(folder).revoke(which, by=by or getpass.getuser(), now=int(time.time()))
    if as_json:
        print_json([_plain(each) for each in revoked])
        return
    for each in revoked:
        say(f"revoked: {each.app_id} {each.version}, {each.fab_hash}")


@app.command()
def apps(folder: Folder, as_json: Json = False) -> None:
    """List the decisions about apps."""
    ClientFolder(folder).identity()
    records = AppApprovals(folder).records()
    if as_json:
        print_json([_plain(each) for each in records])
        return
    if not records:
        say("no app is approved: nothing that a SuperLink sends runs here")
        return
    table = Table(title="apps")
    for column in ("app", "version", "hash", "may run", "approved", "revoked"):
        table.add_column(column, overflow="fold")
    for each in records:
        revoked = "" if each.holds else f"{each.revoked_by}, {_time(each.revoked_at)}"
        table.add_row(
            cell(each.app_id),
            cell(each.version),
            cell(each.fab_hash),
            "yes" if each.holds else "no",
            cell(f"{each.approved_by}, {_time(each.approved_at)}"),
            cell(revoked),
        )
    out.print(table)


def _manifest(client: ClientFolder) -> Manifest | None:
    return client.manifest() if (client.path / "federation.toml").exists() else None


def _show(seen: Inspection) -> None:
    table = Table(title="what the app is", show_header=False, show_lines=True)
    table.add_column()
    table.add_column(overflow="fold")
    for key, value in seen.plain().items():
        if isinstance(value, dict):
            text = "\n".join(f"{digest}  {name}" for name, digest in value.items())
        else:
            text = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        table.add_row(key.replace("_", " "), cell(text or "none"))
    out.print(table)
    for each in seen.objections:
        err.print(f"against it: {each}", markup=False)


def _plain(record: AppApproval) -> dict[str, object]:
    return {
        "app": record.app_id,
        "version": record.version,
        "fab_hash": record.fab_hash,
        "may_run": record.holds,
        "approved_by": record.approved_by,
        "approved_at": record.approved_at,
        "revoked_by": record.revoked_by,
        "revoked_at": record.revoked_at,
    }


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
