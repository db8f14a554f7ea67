"""`fedenclave attest tpm`: enrol a machine's TPM, operator's and member's side."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from fedenclave.attestation.certificates import parse_certificates
from fedenclave.attestation.tpm.enrolment import (
    OpenChallenge,
    challenge_keys,
    confirm,
    read_answer,
    read_keys,
)
from fedenclave.attestation.tpm.statements import pack_activations
from fedenclave.cli.terminal import say
from fedenclave.client.files import read_file, read_key, write_whole
from fedenclave.client.folder import ClientFolder
from fedenclave.protocol.activation import Activation
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.signing import Signed

app = typer.Typer(
    help="Enrol a machine's TPM: keys, challenge, answer, confirm.", no_args_is_help=True
)
Device = Annotated[str, typer.Option(help="The TPM, or swtpm's Unix socket.")]
OutFile = Annotated[Path, typer.Option("--out", help="File to write.")]
KeysFile = Annotated[Path, typer.Argument(help="What `attest tpm keys` wrote on the machine.")]


@app.command()
def keys(out_file: OutFile, device: Device = "/dev/tpmrm0") -> None:
    """Operator, on the machine: write the TPM's keys for the members to challenge."""
    from fedenclave.host.enclave_process import enrol_tpm

    report = enrol_tpm(device)
    write_whole(out_file, report)
    say(f"attestation key {read_keys(report).name.hex()}")
    say(f"send the members {out_file}")


@app.command()
def challenge(
    machine: KeysFile,
    ek_root: Annotated[list[Path], typer.Option(help="The TPM vendor's root, PEM or DER.")],
    out_file: OutFile,
    secret: Annotated[Path, typer.Option(help="File for the secret; keep it to yourself.")],
) -> None:
    """Member: verify the certificate chain, and make a challenge that only this TPM can answer."""
    try:
        roots = [
            root for path in ek_root for root in parse_certificates(read_file(path, "root"), "root")
        ]
    except MalformedMessage as error:
        raise ConfigurationError(error.message) from error
    found = read_keys(read_file(machine, "keys of the machine"))
    credential, kept = challenge_keys(found, roots, int(time.time()))
    write_whole(secret, kept.to_json(), mode=0o600)
    write_whole(out_file, credential.to_file())
    say(f"chain verified; send the operator {out_file}")


@app.command()
def answer(
    challenge_file: Annotated[Path, typer.Argument(help="A member's challenge.")],
    out_file: OutFile,
    device: Device = "/dev/tpmrm0",
) -> None:
    """Operator, on the machine: have the TPM answer a member's challenge."""
    from fedenclave.host.enclave_process import enrol_tpm

    read_file(challenge_file, "challenge")
    write_whole(out_file, enrol_tpm(device, "--answer", str(challenge_file.resolve())))
    say(f"answered; send it back: {out_file}")


@app.command("confirm")
def confirm_answer(
    secret: Annotated[Path, typer.Option(help="What you kept of the challenge.")],
    answer_file: Annotated[Path, typer.Option("--answer", help="The machine's answer.")],
    folder: Annotated[Path, typer.Option("--dir", help="The client folder.")],
    out_file: OutFile,
) -> None:
    """Member: compare the answer, and sign that this TPM holds the key that was challenged."""
    challenged = OpenChallenge.from_json(read_file(secret, "secret"))
    signed = confirm(
        challenged,
        read_answer(read_file(answer_file, "answer")),
        member=ClientFolder(folder).identity().member,
        key=read_key(folder / "member.key"),
        now=int(time.time()),
    )
    write_whole(out_file, signed)
    say(
        f'the tpm holds the key. list it in the policy, aks = ["{challenged.name.hex()}"], or '
        f"give the operator {out_file}"
    )


@app.command()
def pack(
    activations: Annotated[list[Path], typer.Argument(help="Members' confirmations.")],
    out_file: OutFile,
) -> None:
    """Operator: join members' confirmations to the evidence's part `activations`."""
    statements = [read_file(path, "confirmation") for path in activations]
    for path, statement in zip(activations, statements, strict=True):
        try:
            Activation.from_bytes(Signed.from_bytes(statement).payload)
        except MalformedMessage as error:
            raise ConfigurationError(
                f"{path} is no member's confirmation: {error.message}",
                hint="it is what `fedenclave attest tpm confirm` writes",
            ) from error
    write_whole(out_file, pack_activations(statements))
    say(f'in aggregator.toml, [evidence_parts]: activations = "{out_file}"')


@app.command()
def counter(device: Device = "/dev/tpmrm0") -> None:
    """Operator, on the machine: define the monotonic counter, if there is none; show its name."""
    from fedenclave.host.enclave_process import enrol_tpm

    report = json.loads(enrol_tpm(device, "--establish-counter"))
    say(f'counter_name = "{report["counter_name"]}"')
    say(f"value {report['counter']}")
