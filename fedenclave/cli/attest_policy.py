"""`fedenclave attest policy`: write and check what evidence a federation accepts."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from fedenclave.attestation.detect import format_named
from fedenclave.attestation.formats import ALL_FORMATS
from fedenclave.attestation.nvidia.policy import gpu_template
from fedenclave.attestation.policy import HEAD, read_policy_file
from fedenclave.cli.terminal import err, say
from fedenclave.client.files import read_file

_ZEROS = re.compile(r"(?:sha256:)?(?:000[bcd])?0{16,}")

app = typer.Typer(help="What evidence a federation accepts.", no_args_is_help=True)


@app.command()
def template(
    format_name: Annotated[
        list[str],
        typer.Option("--format", help="Evidence format; once per format that is accepted."),
    ],
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Also ask for NVIDIA GPUs beside each of them.")
    ] = False,
) -> None:
    """Print commented attestation tables, to fill in and put into federation.toml."""
    texts = [format_named(name).template.strip() for name in format_name]
    if gpu:
        texts += [gpu_template(name).strip() for name in format_name]
    print("\n\n".join([HEAD.strip(), *texts]))


@app.command()
def check(policy: Annotated[Path, typer.Argument(help="federation.toml, or its tables.")]) -> None:
    """Say whether every pin can be read, and which formats are accepted."""
    source = read_file(policy, "policy")
    rules = read_policy_file(source)
    warn_of_zeros(source)
    say(f"{policy} accepts: {', '.join(rules.accepted)}")


@app.command()
def formats() -> None:
    """List the formats, and the documents that define them."""
    for name, format_ in ALL_FORMATS.items():
        say(f"{name:20} {format_.title} ({format_.source})")


def warn_of_zeros(source: bytes) -> None:
    """Say which pins are all zeros, as the templates have them: meant, or not filled in?"""
    zeros = sorted(set(_zeros(tomllib.loads(source.decode())["attestation"], "attestation")))
    if zeros:
        err.print(f"warning: zeros are pinned, as in a template: {', '.join(zeros)}", markup=False)
        err.print("hint: fill in what is not meant to be zero, before members sign it")


def _zeros(value: object, name: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _zeros(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for inner in value:
            yield from _zeros(inner, name)
    elif isinstance(value, str) and _ZEROS.fullmatch(value):
        yield name
