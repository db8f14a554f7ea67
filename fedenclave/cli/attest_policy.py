"""`fedenclave attest policy`: write and check what evidence a federation accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedenclave.attestation.detect import format_named
from fedenclave.attestation.formats import ALL_FORMATS
from fedenclave.attestation.policy import HEAD, read_policy_file
from fedenclave.cli.terminal import say
from fedenclave.client.files import read_file

app = typer.Typer(help="What evidence a federation accepts.", no_args_is_help=True)


@app.command()
def template(
    format_name: Annotated[
        list[str],
        typer.Option("--format", help="Evidence format; once per format that is accepted."),
    ],
) -> None:
    """Print commented [attestation] tables, to fill in and put into federation.toml."""
    texts = [format_named(name).template.strip() for name in format_name]
    print("\n\n".join([HEAD.strip(), *texts]))


@app.command()
def check(policy: Annotated[Path, typer.Argument(help="federation.toml, or its tables.")]) -> None:
    """Say whether every pin can be read, and which formats are accepted."""
    rules = read_policy_file(read_file(policy, "policy"))
    accepted = [*(["insecure"] if rules.insecure else []), *rules.formats]
    say(f"{policy} accepts: {', '.join(accepted)}")


@app.command()
def formats() -> None:
    """List the formats, and the documents that define them."""
    for name, format_ in ALL_FORMATS.items():
        say(f"{name:20} {format_.title} ({format_.source})")
