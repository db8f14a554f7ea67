"""`fedenclave key-service`: keep a share of the key to an enclave's state, and release it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from fedenclave.attestation.endorsements import read_endorsements
from fedenclave.cli.terminal import err, print_insecure, say
from fedenclave.client.files import read_file, read_key, read_private, write_key, write_whole
from fedenclave.client.manifest_files import read_manifest
from fedenclave.membership.key_service import Released, ShareKeeper, new_keys
from fedenclave.protocol.errors import ConfigurationError, printable
from fedenclave.protocol.key_release import KeyRequest
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import key_to_text, public_key

app = typer.Typer(
    help="Keep a share of the key to an enclave's state; never on the operator's machines.",
    no_args_is_help=True,
)
Folder = Annotated[Path, typer.Option("--dir", help="The service's folder, one per federation.")]
_KEY, _SECRET, _MANIFEST, _LOG = "service.key", "share.secret", "federation.toml", "releases.log"


@app.command()
def init(folder: Folder) -> None:
    """Make the service's key and secret, and print the key for the manifest."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"cannot make folder {folder}: {error.strerror}") from error
    if (folder / _SECRET).exists():
        raise ConfigurationError(
            f"{folder / _SECRET} exists already",
            hint="who loses it has closed an enclave's state for ever; choose another --dir",
        )
    key, secret = new_keys()
    write_key(folder / _KEY, key)
    write_whole(folder / _SECRET, secret, mode=0o600)
    say(f"key {key_to_text(public_key(key))}")
    say("for whoever writes the manifest: fedenclave federation init --key-service NAME=KEY")
    say(f"then: put the approved manifest into {folder / _MANIFEST}, and a copy of the folder away")


@app.command()
def answer(
    folder: Folder,
    in_file: Annotated[
        Path | None, typer.Option("--in", help="What the aggregator says; default: stdin.")
    ] = None,
    out_file: Annotated[
        Path | None, typer.Option("--out", help="File for the answer; default: stdout.")
    ] = None,
) -> None:
    """Answer an aggregator: nothing with a challenge, a request with the share, or refuse it."""
    service = ShareKeeper(
        _manifest(folder), read_key(folder / _KEY), read_private(folder / _SECRET, "secret")
    )
    asked = _standard_input() if in_file is None else read_file(in_file, "request")
    told = _answered(service, folder, asked) if asked else service.challenge(int(time.time()))
    if out_file is not None:
        write_whole(out_file, told)
    else:
        sys.stdout.buffer.write(told)
        sys.stdout.buffer.flush()


def _manifest(folder: Path) -> Manifest:
    return read_manifest(folder / _MANIFEST)


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        raise ConfigurationError(
            "a request is awaited on stdin, which is a terminal",
            hint="for a challenge: < /dev/null; for a release: --in REQUEST",
        )
    return sys.stdin.buffer.read(KeyRequest.MAX_SIZE + 1)


def _answered(service: ShareKeeper, folder: Path, request: bytes) -> bytes:
    manifest, now = _manifest(folder), int(time.time())
    released = service.release(request, now, read_endorsements(folder, manifest))
    # Before the answer leaves: how often, and to what, is all that its owner ever sees of it.
    _note(folder / _LOG, _line(released, now))
    if released.insecure:
        print_insecure("development evidence: the share goes to whoever claims this measurement")
    err.print(f"released to {released.format} {printable(released.measurement)}", markup=False)
    return released.answer


def _line(released: Released, now: int) -> str:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    excepted = ", by the policy's exceptions" if released.excepted else ""
    return f"{when} {released.format} {printable(released.measurement)}{excepted}\n"


def _note(log: Path, line: str) -> None:
    try:
        with log.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {log}: {error.strerror}",
            hint="nothing is released that is not noted; is the disk full?",
        ) from error
