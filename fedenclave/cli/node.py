"""`fedenclave node`: which app runs on a data owner's machine, and the SuperNode that runs it."""

from __future__ import annotations

import getpass
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedenclave.cli import node_status
from fedenclave.cli.node_status import iso
from fedenclave.cli.terminal import cell, err, out, print_json, say
from fedenclave.client.folder import ClientFolder
from fedenclave.datasets.node_data import NodeData
from fedenclave.node.approvals import AppApproval, AppApprovals
from fedenclave.node.bundle import read_app
from fedenclave.node.check import check
from fedenclave.node.configuration import FILE, read_configuration, write_configuration
from fedenclave.node.inspection import Inspection, inspect
from fedenclave.node.node_key import make_node_key
from fedenclave.node.reach import superlink_row
from fedenclave.node.replacement import Replacement, replacement
from fedenclave.node.row import Row
from fedenclave.node.status import StatusReader
from fedenclave.node.supervisor import run_node
from fedenclave.protocol.errors import ConfigurationError, printable
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
    expected: Annotated[
        str,
        typer.Option(
            "--hash",
            metavar="HASH",
            help="Do not ask where the app has this hash, as whoever has read it wrote it down; "
            "refuse any other.",
        ),
    ] = "",
    again: Annotated[bool, typer.Option("--again", help="Although it was revoked.")] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Show what differs from the approved version; revoke that."),
    ] = False,
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
    if expected and expected != seen.bundle.fab_hash:
        raise ConfigurationError(
            f"app has hash {seen.bundle.fab_hash}, want {expected[:64]}",
            hint="it is another app than the one that was read; nothing was recorded",
        )
    approvals = AppApprovals(folder)
    instead = replacement(seen.bundle, approvals) if replace else None
    if instead is not None and not as_json:
        _show_replacement(instead)
    if not yes and not expected:
        question = "have you read the files above, and may this app run here"
        question += f" in place of {len(instead.replaced)} approved?" if instead else "?"
        typer.confirm(question, abort=True, err=True)
    who, now = by or getpass.getuser(), int(time.time())
    revoked: list[AppApproval] = []
    if instead is None:
        record = approvals.approve(seen.bundle, by=who, now=now, again=again)
    else:
        record, revoked = approvals.replace(seen.bundle, by=who, now=now, again=again)
    if as_json:
        replaced = {} if instead is None else {"replaces": instead.plain()}
        print_json({**seen.plain(), "approved": True, **_plain(record), **replaced})
        return
    say(f"approved: {record.app_id} {record.version}, {record.fab_hash}")
    for each in revoked:
        say(f"revoked: {each.app_id} {each.version}, {each.fab_hash}")


def _show_replacement(instead: Replacement) -> None:
    newest = instead.replaced[-1]
    title = f"files that differ from {newest.version}, {newest.fab_hash}"
    table = Table(title=cell(title), show_lines=True)
    for column in ("file", "approved", "new"):
        table.add_column(column, overflow="fold")
    rows = [(name, "not there", new) for name, new in instead.added.items()]
    rows += [(name, *hashes) for name, hashes in instead.changed.items()]
    rows += [(name, old, "not there") for name, old in instead.removed.items()]
    for row in rows:
        table.add_row(*map(cell, row))
    out.print(table)
    say(f"{instead.unchanged} files are the same; to be revoked: {len(instead.replaced)}")


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
        revoked = "" if each.holds else f"{each.revoked_by}, {iso(each.revoked_at)}"
        table.add_row(
            cell(each.app_id),
            cell(each.version),
            cell(each.fab_hash),
            "yes" if each.holds else "no",
            cell(f"{each.approved_by}, {iso(each.approved_at)}"),
            cell(revoked),
        )
    out.print(table)


@app.command()
def init(
    folder: Folder,
    superlink: Annotated[str, typer.Option(help="The operator's SuperLink, host:port.")],
    port: Annotated[int, typer.Option(min=1024, max=65535, help="For this node alone.")] = 9094,
    dataset: Annotated[
        str, typer.Option(help="The sealed dataset that the app reads; relative to the folder.")
    ] = "",
    keys: Annotated[
        str, typer.Option(metavar="keyring:FILE", help="What has the dataset's key.")
    ] = "",
    passphrase_file: Annotated[
        str, typer.Option(help="File with the keyring's passphrase, mode 0600.")
    ] = "",
    digest: Annotated[
        str, typer.Option(metavar="sha256:…", help="The only state of the dataset that is read.")
    ] = "",
) -> None:
    """Write node.toml with its comments, and make the node's key for the SuperLink."""
    name = ClientFolder(folder).identity().client
    data = NodeData(dataset=dataset, keys=keys, passphrase_file=passphrase_file, digest=digest)
    path = write_configuration(folder, address=superlink, port=port, data=data)
    configuration = read_configuration(folder)
    if configuration.node_key.exists():
        say(f"{path} written; the key {configuration.node_key} is kept")
    else:
        try:
            public = make_node_key(configuration.node_key, name)
        except ConfigurationError:
            path.unlink(missing_ok=True)  # written just now: the same command may be given again
            raise
        say(f"{path} written; send the operator {public}")
    say(f"put the SuperLink's root certificate at {configuration.root_certificate}")


@app.command("renew-key")
def renew_key(folder: Folder) -> None:
    """Make the next key by which the SuperLink will know this node; the present one stays."""
    name = ClientFolder(folder).identity().client
    key = read_configuration(folder).node_key
    public = make_node_key(key.with_name(f"{key.name}.new"), name)
    say(f"send the operator {public}; when it is registered, and this node has ended:")
    for path in (key, key.with_name(f"{key.name}.pub")):
        new = f"{key.name}.new" if path == key else f"{key.name}.new.pub"
        say(f"mv {path.with_name(new)} {path}")


@app.command("check")
def show_check(
    folder: Folder,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no SuperLink.")] = False,
    as_json: Json = False,
) -> None:
    """Say what is missing, unsafe or not reached, with what to do about it."""
    rows = check(folder)
    if not offline and all(row.what != FILE or not row.stops for row in rows):
        rows.append(superlink_row(read_configuration(folder)))
    if as_json:
        print_json(
            [{"what": r.what, "state": r.state, "found": r.found, "hint": r.hint} for r in rows]
        )
    else:
        _show_rows(rows)
    if any(row.bad for row in rows):
        raise typer.Exit(1)


@app.command("status")
def show_status(folder: Folder, as_json: Json = False) -> None:
    """Show what the node is doing and has done; exit 1 where something needs attention."""
    status = StatusReader(folder).read()
    if as_json:
        print_json(node_status.plain(status))
    else:
        node_status.show(status)
    if status.attention():
        raise typer.Exit(1)


@app.command("run")
def run_supernode(folder: Folder) -> None:
    """Run a SuperNode with approved apps alone, until SIGTERM or Ctrl-C."""
    rows = check(folder)
    stopping = [row for row in rows if row.stops]
    if stopping:
        _show_rows(stopping)
        raise ConfigurationError(
            f"node does not run: {', '.join(row.what for row in stopping)}",
            hint="see the table; all of it: fedenclave node check",
        )
    configuration = read_configuration(folder)
    for row in rows:
        if row.bad:
            err.print(f"warning: {printable(row.found)}; it is tried again", markup=False)
            err.print(f"hint: {printable(row.hint)}", markup=False)
    say(f"node runs; its log is {configuration.logs / 'node.log'}")
    run_node(configuration)
    say("node has ended")


def _show_rows(rows: list[Row]) -> None:
    table = Table(title="the node")
    for column in ("what", "state", "found", "hint"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(cell(row.what), row.state.value, cell(row.found), cell(row.hint))
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
