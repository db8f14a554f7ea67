"""The `fedenclave` command."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from fedenclave.cli import (
    aggregator,
    attack,
    attest,
    bench,
    client,
    data,
    demo,
    federation,
    key_service,
    keys,
    log,
    node,
    receipts,
    rehearse,
    simulate,
)
from fedenclave.cli.terminal import out, print_error, print_json
from fedenclave.protocol.errors import FedEnclaveError

_SIGINT_STATUS = 130
_SIGNAL_STATUSES = (129, _SIGINT_STATUS, 143)
_INTERRUPTED = "interrupted; every process has ended, and what was being made is incomplete"

app = typer.Typer(
    help="Federated learning with attested, encrypted aggregation.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(federation.app, name="federation")
app.add_typer(client.app, name="client")
app.add_typer(data.app, name="data")
app.add_typer(keys.app, name="keys")
app.add_typer(node.app, name="node")
app.add_typer(receipts.app, name="receipts")
app.add_typer(log.app, name="log")
app.add_typer(attest.app, name="attest")
app.add_typer(aggregator.app, name="aggregator")
app.add_typer(key_service.app, name="key-service")
app.add_typer(simulate.app, name="simulate")
app.add_typer(attack.app, name="attack")
app.add_typer(demo.app, name="demo")
app.command()(rehearse.rehearse)
app.command()(bench.bench)


def _version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def group(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Federated learning with attested, encrypted aggregation."""


@app.command()
def measure(
    code: Annotated[
        Path | None,
        typer.Option(help="Folder that holds another copy of the fedenclave package."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Also the files and versions.")] = False,
) -> None:
    """Print the development measurement of the enclave's code."""
    import json

    from fedenclave.host.enclave_process import measure_enclave

    report = json.loads(measure_enclave(code))
    if as_json:
        print_json(report)
    else:
        out.print(report["measurement"], highlight=False)


@app.command()
def version() -> None:
    """Print the version."""
    out.print(metadata.version("fedenclave"), highlight=False)


def run() -> int:
    """Run the command line; return the exit status: 0 done, 1 refused or failed, 2 usage."""
    try:
        app(standalone_mode=True)
    except FedEnclaveError as error:
        print_error(error)
        return 1
    except OSError as error:
        # A full disk behind stdout or stderr: there may be nowhere left to say so.
        with contextlib.suppress(OSError):
            print(f"error: {error.strerror or error}", file=sys.stderr)
        _abandon_output()
        return 1
    except KeyboardInterrupt:
        print(_INTERRUPTED, file=sys.stderr)
        return _SIGINT_STATUS
    except SystemExit as end:
        if end.code in _SIGNAL_STATUSES:
            print(_INTERRUPTED, file=sys.stderr)
        return end.code if isinstance(end.code, int) else 1
    return 0


def _abandon_output() -> None:
    """Keep the interpreter from failing once more when it flushes stdout at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
