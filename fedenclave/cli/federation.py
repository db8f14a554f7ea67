"""`fedenclave federation`: write, approve and read a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fedenclave.attestation.policy import read_policies, read_policy_file
from fedenclave.attestation.revocations import Revocations, SignedRevocations
from fedenclave.cli.aggregation_file import read_aggregation, rule_template
from fedenclave.cli.attest_policy import warn_of_zeros
from fedenclave.cli.federation_change import amend, compare
from fedenclave.cli.manifest_facts import manifest_facts, plain
from fedenclave.cli.terminal import cell, err, out, print_insecure, print_json, say
from fedenclave.client.files import read_file, write_whole
from fedenclave.client.folder import ClientFolder
from fedenclave.client.manifest_files import read_manifest
from fedenclave.host.enclave_process import measure_enclave
from fedenclave.membership.enrolment import read_enrolment, roster_of
from fedenclave.membership.first_model import read_first_model
from fedenclave.protocol.cohort import DrawnCohort
from fedenclave.protocol.digests import Digest, from_text
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.key_release import KeyService
from fedenclave.protocol.manifest import Manifest, Rules, approving_members
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.signing import key_from_text
from fedenclave.protocol.statements import Suite, checked_name
from fedenclave.protocol.toml_table import parse

app = typer.Typer(help="Write, approve and read a federation's manifest.", no_args_is_help=True)


_FRESHNESS_SECONDS = 600
_IN_THE_FILE = {
    "--insecure-measurement": "put [attestation.insecure] into the file, if development mode is "
    "accepted too",
    "--freshness-seconds": "say freshness_seconds under [attestation] in the file",
}


app.command(name="rule-template")(rule_template)
app.command()(amend)
app.command()(compare)


def _drawn(size: int | None, of_at_least: int | None) -> DrawnCohort | None:
    if size is None:
        if of_at_least is not None:
            raise ConfigurationError(
                "--draw-of is given and --draw is not", hint="say how many are drawn of them"
            )
        return None
    return DrawnCohort(size=size, of_at_least=size if of_at_least is None else of_at_least)


@app.command()
def init(
    name: Annotated[str, typer.Option(help="The federation's name.")],
    enrolment: Annotated[list[Path], typer.Option(help="An enrolment file; once per client.")],
    model: Annotated[Path, typer.Option(help="The agreed first model: .npz or .fem.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path(),
    threshold: Annotated[int | None, typer.Option(help="Approvals needed; default: all.")] = None,
    min_cohort: Annotated[int, typer.Option(help="Organisations in every release.")] = 3,
    draw: Annotated[
        int | None,
        typer.Option(
            help="Let the enclave draw so many clients for each round; default: the operator "
            "names them."
        ),
    ] = None,
    draw_of: Annotated[
        int | None, typer.Option(help="Of at least so many available ones; default: --draw.")
    ] = None,
    weight_cap: Annotated[int, typer.Option(help="Examples a client counts at most.")] = 100_000,
    max_abs: Annotated[float, typer.Option(help="Largest element of an update.")] = 100.0,
    max_norm: Annotated[float, typer.Option(help="Largest norm of an update.")] = 1000.0,
    over_norm: Annotated[str, typer.Option(help="Above it: reject or clip.")] = "reject",
    weighting: Annotated[str, typer.Option(help="examples or uniform.")] = "examples",
    weighted_by: Annotated[
        str, typer.Option(help="Metric in which the app reports its examples.")
    ] = "num-examples",
    aggregation: Annotated[
        Path | None,
        typer.Option(
            help="File with rule, server optimiser and released metrics; default: the mean. "
            "`fedenclave federation rule-template`."
        ),
    ] = None,
    freshness_seconds: Annotated[
        int | None, typer.Option(help=f"Evidence's greatest age; default: {_FRESHNESS_SECONDS}.")
    ] = None,
    suite: Annotated[Suite, typer.Option(help="HPKE suite.")] = Suite.HYBRID,
    insecure_measurement: Annotated[
        list[str] | None,
        typer.Option(
            help="Development measurement to accept; default: that of the installed code."
        ),
    ] = None,
    key_service: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=KEY of who keeps a share of the key to the enclave's state, where no "
            "hardware does; once per service: `fedenclave key-service init`."
        ),
    ] = None,
    attestation: Annotated[
        Path | None,
        typer.Option(
            help="File with the attestation tables, in place of development mode: "
            "`fedenclave attest policy template`."
        ),
    ] = None,
) -> None:
    """Write federation.toml and first-model.fem from enrolments and a model."""
    for path in (out_dir / "federation.toml", out_dir / "first-model.fem"):
        if path.exists():
            raise ConfigurationError(
                f"{path} exists already", hint="members may have approved it; choose another --out"
            )
    rule, server, metrics = read_aggregation(aggregation)
    members, clients = roster_of([read_enrolment(path) for path in enrolment])
    first = read_first_model(model)
    policy = _attestation(
        attestation,
        given={
            "--insecure-measurement": insecure_measurement,
            "--freshness-seconds": freshness_seconds,
        },
    )
    measurements = [] if policy else _measurements(insecure_measurement)
    source = write_manifest(
        ManifestDraft(
            name=name,
            threshold=len(members) if threshold is None else threshold,
            development=False,
            members=members,
            clients=clients,
            freshness_seconds=(
                _FRESHNESS_SECONDS if freshness_seconds is None else freshness_seconds
            ),
            insecure_measurements=measurements,
            suite=suite,
            schema=first.schema.digest,
            initial_model=first.digest(),
            rules=Rules(
                rule=rule,
                server=server,
                metrics=metrics,
                weighting=weighting,
                weighted_by=weighted_by,
                weight_cap=weight_cap,
                max_abs=max_abs,
                max_norm=max_norm,
                over_norm=over_norm,
                min_cohort=min_cohort,
                drawn=_drawn(draw, draw_of),
            ),
            attestation=policy,
            key_services=_key_services(key_service or []),
        )
    )
    write_whole(out_dir / "federation.toml", source)
    write_whole(out_dir / "first-model.fem", first.to_bytes())
    say(f"wrote {out_dir / 'federation.toml'} and {out_dir / 'first-model.fem'}")
    say("next: every member reviews it and runs `fedenclave federation approve`")
    if Manifest.from_bytes(source).attestation.insecure:
        print_insecure(
            "the manifest accepts development evidence; no hardware vouches for the code"
        )


def _key_services(given: list[str]) -> list[KeyService]:
    try:
        return [
            KeyService(name=checked_name(name, "key service"), key=key_from_text(key))
            for name, _, key in (text.partition("=") for text in given)
        ]
    except MalformedMessage as error:
        raise ConfigurationError(
            error.message, hint="as in --key-service notary=ed25519:…"
        ) from error


def _measurements(given: list[str] | None) -> list[Digest]:
    pins = given or [str(json.loads(measure_enclave())["measurement"])]
    try:
        return [from_text(pin) for pin in pins]
    except MalformedMessage as error:
        raise ConfigurationError(error.message) from error


def _attestation(path: Path | None, *, given: Mapping[str, object]) -> str:
    """Return the text of the policy's tables, once every pin in them has been read.

    Args:
        path: of the file; None for development mode.
        given: options that say what the file says; None for those that were not used.
    """
    if path is None:
        return ""
    for option in (option for option, value in given.items() if value is not None):
        raise ConfigurationError(
            f"both --attestation and {option} are given, want one of them",
            hint=_IN_THE_FILE[option],
        )
    source = read_file(path, "attestation policy")
    read_policy_file(source)
    # The file goes into the manifest as it is: it must not bring members of its own.
    others = [key for key in parse(source, str(path)).names() if key != "attestation"]
    if others:
        raise ConfigurationError(
            f"{path} holds {', '.join(others)[:200]} besides [attestation]",
            hint="only the policy's tables belong there",
        )
    warn_of_zeros(source)
    text = source.decode()
    odd = sorted({c for c in text if not c.isprintable() and c not in "\n\r\t"})
    if odd:
        raise ConfigurationError(
            f"{path} holds characters that do not print: {', '.join(map(ascii, odd))[:80]}",
            hint="members must see all of what they approve",
        )
    return text


@app.command()
def approve(
    manifest: Annotated[Path, typer.Argument(help="federation.toml")],
    folder: Annotated[Path, typer.Option("--dir", help="The client folder.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Give up the folder's other manifest.")
    ] = False,
) -> None:
    """Approve a manifest as this folder's organisation; print where the approval lies."""
    path = ClientFolder(folder).approve(manifest, replace=replace)
    say(f"approved; send this file to the operator and the other members: {path}")


@app.command()
def revocations(
    source: Annotated[Path, typer.Argument(help="The list in TOML, or signed by others already.")],
    folder: Annotated[Path, typer.Option("--dir", help="The client folder.")],
    out_file: Annotated[Path, typer.Option("--out", help="File to write.")],
) -> None:
    """Sign a list of what the members no longer trust; hand the file to the next member."""
    signed = ClientFolder(folder).sign_revocations(read_file(source, "revocation list"))
    write_whole(out_file, signed)
    listed = Revocations.from_toml(SignedRevocations.from_bytes(signed).revocations)
    for entry in listed.revoked:
        say(f"revoked {entry.format} {entry.what} {entry.value}: {entry.reason}")
    for floor in listed.floors:
        say(f"floor {floor.format} {floor.level} at least {floor.at_least}: {floor.reason}")
    say(f"signed; when enough members have: fedenclave client revocations {out_file}")


@app.command()
def show(
    manifest: Annotated[Path, typer.Argument(help="federation.toml")],
    approvals: Annotated[
        Path | None, typer.Option(help="Folder with *.approval files to check.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Print a manifest's rules, digest and approvals."""
    parsed = read_manifest(manifest)
    if approvals is not None and not approvals.is_dir():
        raise ConfigurationError(f"there is no folder {approvals}")
    files = sorted(approvals.glob("*.approval")) if approvals is not None else []
    by_file = {path: approving_members(parsed, [read_file(path, "approval")]) for path in files}
    policies = read_policies(parsed.attestation)
    facts = manifest_facts(parsed, {member for members in by_file.values() for member in members})
    strangers = [path.name for path, members in by_file.items() if not members]
    if strangers:
        err.print(
            f"warning: no approval of exactly this file: {', '.join(strangers)}. of an earlier or "
            "a later manifest, or was this one edited after they were made?",
            markup=False,
        )
    if as_json:
        print_json(facts)
        return
    table = Table(title=f"federation {parsed.name}", show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in facts.items():
        if value == []:
            continue
        table.add_row(key.replace("_", " "), cell(plain(value)))
    out.print(table)
    for name, pins in policies.items():
        for exception in sorted(pins.exceptions | (pins.gpu.exceptions if pins.gpu else set())):
            err.print(f"warning: [attestation.{name}] lets pass: {exception}", markup=False)
    if parsed.attestation.insecure:
        print_insecure("this manifest accepts development evidence")
