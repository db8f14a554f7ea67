"""`fedenclave attest tpm`: enrol a machine's TPM, operator's and member's side."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from fedenclave.attestation.certificates import parse_certificates
from fedenclave.attestation.tpm.enrolment import challenge_keys, confirm, read_keys
from fedenclave.attestation.tpm.statements import pack_activations
from fedenclave.cli.terminal import out
from fedenclave.client.files import read_file, read_key, write_whole
from fedenclave.client.folder import ClientFolder
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage

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
    out.print(f"attestation key {read_keys(report).name.hex()}", highlight=False, soft_wrap=True)
    out.print(f"send the members {out_file}", highlight=False, markup=False, soft_wrap=True)


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
    credential, hidden = challenge_keys(found, roots, int(time.time()))
    write_whole(secret, hidden.hex().encode(), mode=0o600)
    write_whole(out_file, credential.to_file())
    out.print(
        f"chain verified; send the operator {out_file}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


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
    out.print(f"answered; send it back: {out_file}", highlight=False, markup=False, soft_wrap=True)


@app.command("confirm")
def confirm_answer(
    machine: KeysFile,
    secret: Annotated[Path, typer.Option(help="The challenge's secret.")],
    answer_file: Annotated[Path, typer.Option("--answer", help="The machine's answer.")],
    folder: Annotated[Path, typer.Option("--dir", help="The client folder.")],
    out_file: OutFile,
) -> None:
    """Member: compare the answer, and sign that this TPM holds this key."""
    found = read_keys(read_file(machine, "keys of the machine"))
    try:
        hidden = bytes.fromhex(read_file(secret, "secret").decode())
        given = bytes.fromhex(json.loads(read_file(answer_file, "answer"))["secret"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            "secret or answer cannot be read", hint="they are what `challenge` and `answer` wrote"
        ) from error
    signed = confirm(
        found,
        secret=hidden,
        answer=given,
        member=ClientFolder(folder).identity().member,
        key=read_key(folder / "member.key"),
        now=int(time.time()),
    )
    write_whole(out_file, signed)
    out.print(
        f'the tpm holds the key. list it in the policy, aks = ["{found.name.hex()}"], or give '
        f"the operator {out_file}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command()
def pack(
    activations: Annotated[list[Path], typer.Argument(help="Members' confirmations.")],
    out_file: OutFile,
) -> None:
    """Operator: join members' confirmations to the evidence's part `activations`."""
    write_whole(out_file, pack_activations([read_file(p, "confirmation") for p in activations]))
    out.print(
        f'in aggregator.toml, [evidence_parts]: activations = "{out_file}"',
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@app.command()
def counter(device: Device = "/dev/tpmrm0") -> None:
    """Operator, on the machine: define the monotonic counter, if there is none; show its name."""
    from fedenclave.host.enclave_process import enrol_tpm

    report = json.loads(enrol_tpm(device, "--establish-counter"))
    out.print(
        f'counter_name = "{report["counter_name"]}"', highlight=False, markup=False, soft_wrap=True
    )
    out.print(f"value {report['counter']}", highlight=False, soft_wrap=True)
