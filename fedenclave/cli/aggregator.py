"""`fedenclave aggregator`: run the enclave and its gateway."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Run the enclave and its gateway.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Keep `run` a command of its own."""


@app.command()
def run(config: Annotated[Path, typer.Option(help="aggregator.toml")]) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    # gRPC's own lines on stderr say nothing that our errors do not.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from fedenclave.host.serve import read_config, serve

    serve(read_config(config))
