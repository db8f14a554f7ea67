"""`fedenclave federation amend` and `compare`: the manifest that takes another's place."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedenclave.cli.manifest_facts import manifest_facts, plain
from fedenclave.cli.terminal import cell, err, out, print_json, say
from fedenclave.client.files import write_whole
from fedenclave.client.manifest_files import read_manifest
from fedenclave.membership.enrolment import read_enrolment
from fedenclave.membership.roster_change import exchange_keys, remove_clients
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Manifest

_TABLE = re.compile(r"^\[federation\][^\n]*\n", re.MULTILINE)
_CONTINUES = re.compile(r"^continues\s*=[^\n]*\n", re.MULTILINE)


def amend(
    manifest: Annotated[Path, typer.Argument(help="The federation.toml that is in force.")],
    out_file: Annotated[Path, typer.Option("--out", help="The new file, for you to edit.")],
    new_key: Annotated[
        list[Path] | None,
        typer.Option(
            help="A client's next-enrolment.json: its new signing key takes the former one's "
            "place; once per client."
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="A client to take off the roster: its key counts no more."),
    ] = None,
) -> None:
    """Write a copy of a manifest that takes its place; change members, clients or rules in it."""
    before = read_manifest(manifest)
    if out_file.exists():
        raise ConfigurationError(
            f"{out_file} exists already", hint="members may have approved it; choose another --out"
        )
    text = _CONTINUES.sub("", before.source.decode())
    line = f'continues = "{to_text(before.digest)}"\n'
    after = _TABLE.sub(lambda found: found.group() + line, text, count=1).encode()
    written = Manifest.from_bytes(after)
    if written.continues != before.digest:
        raise ConfigurationError(
            f"{manifest} has no line [federation] of its own",
            hint=f"write this into its table federation by hand: {line.strip()}",
        )
    after, changes = exchange_keys(written, [read_enrolment(path) for path in new_key or []])
    after, gone = remove_clients(Manifest.from_bytes(after), without or [])
    write_whole(out_file, after)
    for change in (*changes, *gone):
        say(change)
    say(f"wrote {out_file}: edit it; federation, tensors and first model must stay")
    say(f"next: members review it (`fedenclave federation compare {manifest} {out_file}`)")
    say("and approve it: enough of those before the change, and enough of those after it")


def compare(
    before: Annotated[Path, typer.Argument(help="The federation.toml that is in force.")],
    after: Annotated[Path, typer.Argument(help="The one that is to take its place.")],
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Show what changes from one manifest to the next; exit 1 where the one cannot follow."""
    old, new = map(read_manifest, (before, after))
    problems = _problems(old, new)
    was, becomes = manifest_facts(old, set()), manifest_facts(new, set())
    changed = [name for name in was if was[name] != becomes[name] and name not in _SAID]
    if as_json:
        rows = {name: {"before": was[name], "after": becomes[name]} for name in changed}
        print_json({"problems": problems, "changed": rows})
    else:
        table = Table(title=f"federation {old.name}")
        for heading in ("", "before", "after"):
            table.add_column(heading, overflow="fold")
        for name in changed:
            table.add_row(
                name.replace("_", " "), cell(plain(was[name])), cell(plain(becomes[name]))
            )
        out.print(table)
        lines = [each.source.decode().splitlines() for each in (old, new)]
        names = str(before), str(after)
        for line in difflib.unified_diff(lines[0], lines[1], *names, lineterm="", n=1):
            out.print(cell(line))
    for problem in problems:
        err.print(f"error: {problem}", markup=False)
    if problems:
        raise typer.Exit(1)


_SAID = ("approvals", "approved_by", "digest", "continues")
"""What differs in any case."""


def _problems(before: Manifest, after: Manifest) -> list[str]:
    found = []
    if after.continues != before.digest:
        named = to_text(after.continues) if after.continues is not None else "none"
        found.append(
            f"the second file continues {named}, want {to_text(before.digest)}; the one in force "
            "comes first"
        )
    for what, was, becomes in (
        ("federation", before.name, after.name),
        ("development", before.development, after.development),
        ("schema", to_text(before.schema), to_text(after.schema)),
        ("first model", to_text(before.initial_model), to_text(after.initial_model)),
    ):
        if was != becomes:
            found.append(f"{what} is {becomes}, want {was}: that must stay")
    return found
