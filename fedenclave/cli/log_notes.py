"""`fedenclave log checkpoint`, `cosign`, `witness-key`: signed notes of the log, and witnesses."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from fedenclave.attestation.collateral import iso
from fedenclave.audit.noted import (
    CheckpointRefused,
    check_in_log,
    log_key,
    verify_note,
    witness_keys,
)
from fedenclave.cli.enclave_key import (
    Client,
    Key,
    ManifestPath,
    enclave_key,
    followed_key,
    receipts_of,
    trusted_manifest,
)
from fedenclave.cli.terminal import err, print_json, say
from fedenclave.client.cosigning import cosigned, verifier_key
from fedenclave.client.files import make_key, read_file, read_key, write_whole
from fedenclave.client.folder import LOG_FILE, ClientFolder
from fedenclave.protocol.checkpoint_note import NotedCheckpoint
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.signed_note import NoteKey

NoteFile = Annotated[
    Path, typer.Argument(metavar="CHECKPOINT", help="The signed note that the operator publishes.")
]
WitnessName = Annotated[
    str, typer.Option("--name", help="The witness's name, such as witness.example/member.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verified:
    """A note, whose log it was compared with, and who was wanted for a witness."""

    noted: NotedCheckpoint
    key: NoteKey
    log: Path | None
    witnesses: Sequence[NoteKey]
    at_least: int

    def summary(self) -> dict[str, object]:
        checkpoint, seen = self.noted.checkpoint, self.noted.witnesses
        return {
            "origin": self.noted.origin,
            "entries": checkpoint.size,
            "root": to_text(checkpoint.root),
            "log_key": self.key.to_text(),
            "compared_with": str(self.log) if self.log is not None else None,
            "witnesses": [
                {"name": key.name, "cosigned": iso(seen[key.name]) if key.name in seen else None}
                for key in self.witnesses
            ],
            "cosigned": len(seen),
            "at_least": self.at_least,
        }


def checkpoint(
    file: NoteFile,
    manifest: ManifestPath = None,
    key: Key = None,
    client: Client = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE", help="The log; default: the client folder's copy."),
    ] = None,
    witness: Annotated[
        list[str] | None,
        typer.Option(metavar="VKEY", help="A witness's verifier key; may be given repeatedly."),
    ] = None,
    at_least: Annotated[
        int | None,
        typer.Option(min=1, metavar="K", help="Of the witnesses so many; default: all named."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Verify a checkpoint: signed by the enclave, of this log, cosigned by enough witnesses."""
    witnesses = witness_keys(witness or [])
    wanted = len(witnesses) if at_least is None else at_least
    if wanted > len(witnesses):
        raise ConfigurationError(
            f"at least {wanted} witnesses are wanted, and {len(witnesses)} named",
            hint="name each that would do: --witness name+id+base64",
        )
    federation = trusted_manifest(file, manifest, client).name
    enclave = enclave_key(key, receipts_of(client, manifest))
    noted = verify_note(read_file(file, "checkpoint"), federation, enclave, witnesses)
    compared = _compared(noted, log, client)
    verified = _Verified(
        noted=noted,
        key=log_key(federation, enclave),
        log=compared,
        witnesses=witnesses,
        at_least=wanted,
    )
    if as_json:
        print_json(verified.summary())
    else:
        _say_verified(verified)
    if compared is None:
        err.print("warning: compared with no log: name one with --log", markup=False)
    if len(noted.witnesses) < wanted:
        raise CheckpointRefused(
            f"{len(noted.witnesses)} of the witnesses have cosigned, want {wanted}",
            hint="ask the operator for the note again: cosignatures are added as they come",
        )


def _compared(noted: NotedCheckpoint, log: Path | None, client: Path | None) -> Path | None:
    """Return the log that the checkpoint has been compared with; None where there is none."""
    if log is None:
        if client is None or not (client / LOG_FILE).exists():
            return None
        log = client / LOG_FILE
    try:
        with log.open("rb") as stream:
            check_in_log(stream, noted.checkpoint)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read log {log}: {error.strerror}",
            hint="is the path right, and may this user read it?",
        ) from error
    return log


def _say_verified(verified: _Verified) -> None:
    checkpoint, seen = verified.noted.checkpoint, verified.noted.witnesses
    say(f"checkpoint of {checkpoint.size} entries, signed by {verified.key.name}")
    say(f"root: {to_text(checkpoint.root)}")
    say(f"log key: {verified.key.to_text()}")
    if verified.log is not None:
        say(f"root is that of {verified.log} at {checkpoint.size} entries")
    for key in verified.witnesses:
        when = f"cosigned at {iso(seen[key.name])}" if key.name in seen else "has not cosigned"
        say(f"witness {key.name}: {when}")
    if verified.witnesses:
        say(f"{len(seen)} of {len(verified.witnesses)} witnesses, want {verified.at_least}")


def cosign(
    file: NoteFile,
    client: Annotated[
        Path, typer.Option(metavar="FOLDER", help="The member's client folder, with its copy.")
    ],
    name: WitnessName,
    key: Annotated[
        Path, typer.Option(metavar="KEYFILE", help="The witness's key: log witness-key --new.")
    ],
    to: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the note goes.")],
) -> None:
    """Cosign a checkpoint that this member's own copy of the log is of, and no other."""
    note, private_key, folder = read_file(file, "checkpoint"), read_key(key), ClientFolder(client)
    followed = folder.session().state.enclave_key
    signed = cosigned(
        note,
        folder,
        followed_key(followed, receipts_of(client, None)),
        name=name,
        private_key=private_key,
        time=int(time.time()),
    )
    write_whole(to, signed)
    say(f"cosigned as {verifier_key(name, private_key)}")
    say(f"the note: {to}")


def witness_key(
    file: Annotated[Path, typer.Argument(metavar="KEYFILE", help="A witness's private key.")],
    name: WitnessName,
    new: Annotated[
        bool, typer.Option("--new", help="Make the key first; never over another file.")
    ] = False,
) -> None:
    """Print a witness's verifier key: what whoever trusts it names."""
    if new:
        make_key(file)
    say(verifier_key(name, read_key(file)))
