"""`fedenclave attest`: look at evidence, verify it, and have a TEE make some."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from fedenclave.attestation import ear
from fedenclave.attestation.appraise import appraise_parts
from fedenclave.attestation.checklist import vector_of
from fedenclave.attestation.collateral import EMPTY, iso, read_bundle
from fedenclave.attestation.detect import Detected, detect, from_parts, with_parts
from fedenclave.attestation.format import Question
from fedenclave.attestation.policy import read_policies, read_policy_file
from fedenclave.attestation.result import Appraisal, Check, EvidenceRefused, Trust
from fedenclave.attestation.revocations import Revocations, verify_revocations
from fedenclave.cli import attest_collateral, attest_policy, attest_tpm
from fedenclave.cli.terminal import (
    cell,
    err,
    out,
    print_error,
    print_insecure,
    print_json,
    say,
)
from fedenclave.client.files import read_file, write_whole
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.evidence import (
    INSECURE,
    NONCE_SIZE,
    REPORT_DATA_SIZE,
    collected_report_data,
    report_data,
)
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.toml_table import parse

_DEVELOPMENT = "development evidence: no hardware vouches for it"

app = typer.Typer(help="Look at evidence, verify it, make some.", no_args_is_help=True)
app.add_typer(attest_policy.app, name="policy")
app.add_typer(attest_collateral.app, name="collateral")
app.add_typer(attest_tpm.app, name="tpm")

EvidenceFile = Annotated[
    Path | None, typer.Argument(help="Evidence of any format, as FedEnclave or the vendor wrote it")
]
FormatName = Annotated[str, typer.Option("--format", help="Its format, if it is not recognised.")]
PartFiles = Annotated[
    list[str] | None,
    typer.Option("--part", help="NAME=FILE: a part in a file of its own; once per part."),
]
AsJson = Annotated[bool, typer.Option("--json")]


@app.command()
def inspect(
    file: EvidenceFile = None,
    format_name: FormatName = "",
    part: PartFiles = None,
    as_json: AsJson = False,
) -> None:
    """Show what evidence says. Nothing is verified."""
    detected = _read_evidence(file, format_name, part or [])
    try:
        claims = dict(detected.format.inspect(detected.parts))
    except KeyError as error:
        raise ConfigurationError(
            f"evidence of format {detected.format.name} has no part {error.args[0]}",
            hint=f"name its file: --part {error.args[0]}=FILE",
        ) from error
    except MalformedMessage as error:
        raise ConfigurationError(
            f"evidence of format {detected.format.name} does not decode: {error.message}",
            hint="was it cut off on its way?",
        ) from error
    parts = {name: len(data) for name, data in detected.parts.items()}
    if as_json:
        print_json(
            {
                "format": detected.format.name,
                "verified": False,
                "parts": parts,
                "unverified_claims": claims,
            }
        )
        return
    table = Table(title=f"{detected.format.title}: inspected, NOT verified")
    table.add_column("claim")
    table.add_column("says", overflow="fold")
    for name, size in parts.items():
        table.add_row(cell(f"part {name}"), f"{size} bytes")
    for name, value in claims.items():
        table.add_row(cell(name), cell(_shown(value)))
    out.print(table)
    err.print("inspected, NOT verified: anybody can write such bytes", style="bold yellow")


@app.command()
def verify(
    policy: Annotated[Path, typer.Option(help="A federation.toml, or its attestation tables.")],
    nonce: Annotated[
        str,
        typer.Option(
            help="Hex of what the evidence must bind. Evidence by FedEnclave: the nonces' root (32 "
            "bytes; --policy is then the federation.toml) or the report data (64). Else exactly "
            "what the vendor's field must hold."
        ),
    ] = "",
    challenge: Annotated[
        str, typer.Option(help="Instead of --nonce: the challenge of `attest collect`, hex.")
    ] = "",
    file: EvidenceFile = None,
    at: Annotated[str, typer.Option(help="UTC time to judge at, ISO; default: now.")] = "",
    collateral: Annotated[Path | None, typer.Option(help="The collateral bundle.")] = None,
    revocations: Annotated[Path | None, typer.Option(help="The members' signed list.")] = None,
    format_name: FormatName = "",
    part: PartFiles = None,
    as_json: AsJson = False,
) -> None:
    """Verify evidence offline, and list every check. Exit 0 if it is accepted, 1 if refused."""
    detected = _read_evidence(file, format_name, part or [])
    source = read_file(policy, "policy")
    rules = read_policy_file(source)
    pins = read_policies(rules).get(detected.format.name)
    if pins is None:
        raise ConfigurationError(
            f"policy {policy} does not accept evidence of format {detected.format.name}",
            hint=f"fedenclave attest policy template --format {detected.format.name}",
        )
    now = _time(at)
    bound, behind = _bound(detected, nonce, challenge, source)
    question = Question(
        bound=bound,
        now=now,
        freshness_seconds=rules.freshness_seconds,
        collateral=read_bundle(collateral) if collateral is not None else EMPTY,
        collateral_max_age_seconds=rules.collateral_max_age_seconds,
        report_data=behind,
    )
    listed = _revocations(revocations, source)
    try:
        result = appraise_parts(
            detected.parts, pins, question, listed, revocations_required=rules.revocations
        )
    except EvidenceRefused as refusal:
        _print_refused(detected, refusal, source, now, as_json=as_json)
        raise typer.Exit(1) from refusal
    _print_affirmed(detected, result, source, now, as_json=as_json)


@app.command()
def collect(
    challenge: Annotated[str, typer.Option(help="Hex of up to 64 bytes to bind (hashed).")],
    out_file: Annotated[Path, typer.Option("--out", help="File to write.")],
    tee: Annotated[str, typer.Option(help="Which TEE; auto takes what the machine has.")] = "auto",
) -> None:
    """On a TEE: make evidence over a challenge; judge it with `verify --challenge`."""
    from fedenclave.host.enclave_process import collect_evidence

    evidence = collect_evidence(tee, _hex(challenge, "--challenge"))
    write_whole(out_file, evidence)
    detected = detect(evidence)
    say(f"{detected.format.title}: {out_file}")
    if detected.format.name == INSECURE:
        print_insecure(_DEVELOPMENT)


def _read_evidence(file: Path | None, format_name: str, parts: list[str]) -> Detected:
    named = _named_parts(parts)
    if file is not None:
        return with_parts(detect(read_file(file, "evidence"), format_name), named)
    if not named or not format_name:
        raise ConfigurationError(
            "no evidence is named",
            hint="fedenclave attest inspect FILE, or --format tpm --part quote=FILE ...",
        )
    return from_parts(format_name, named)


def _named_parts(parts: list[str]) -> dict[str, bytes]:
    named: dict[str, bytes] = {}
    for text in parts:
        name, equals, path = text.partition("=")
        if not equals or name in named:
            raise ConfigurationError(f"--part is {text[:80]!r}, want NAME=FILE, each name once")
        named[name] = read_file(Path(path), f"part {name}")
    return named


def _hex(text: str, option: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise ConfigurationError(f"{option} is {text[:80]!r}, want hex digits") from error


def _bound(detected: Detected, nonce: str, challenge: str, policy: bytes) -> tuple[bytes, bytes]:
    """Return what the evidence's binding field must hold, and the report data behind it."""
    if bool(nonce) == bool(challenge):
        raise ConfigurationError(
            "what must be bound is not said, or said twice",
            hint="give --nonce, or the --challenge of `attest collect`",
        )
    given = _hex(nonce or challenge, "--nonce" if nonce else "--challenge")
    own = detected.evidence
    if own is None:
        if challenge:
            raise ConfigurationError(
                "--challenge is for evidence that `attest collect` wrote", hint="give --nonce"
            )
        # A GPU beside a vendor's raw evidence must bind the same bytes, where they are all there.
        return given, given if detected.format.bind(given) == given else b""
    if challenge:
        given = collected_report_data(given)
    elif len(given) == NONCE_SIZE:
        given = report_data(given, own.signing_key, _manifest(policy).digest)
    if len(given) != REPORT_DATA_SIZE:
        raise ConfigurationError(
            f"--nonce has {len(given)} bytes, want 32 (the nonces' root) or 64 (the report data)"
        )
    return detected.format.bind(given), given


def _time(text: str) -> int:
    if not text:
        return int(datetime.now(UTC).timestamp())
    try:
        when = datetime.fromisoformat(text)
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"--at is {text[:40]!r}, want a time such as 2026-11-25T10:00:00Z"
        ) from error


def _revocations(path: Path | None, policy: bytes) -> Revocations | None:
    if path is None:
        return None
    return verify_revocations(read_file(path, "revocation list"), _manifest(policy))


def _manifest(policy: bytes) -> Manifest:
    """Return the whole manifest; for what tables alone do not say: members, and the digest."""
    if set(parse(policy, "policy").names()) == {"attestation"}:
        raise ConfigurationError(
            "policy holds the attestation tables alone, and members and digest are wanted too",
            hint="give the federation.toml itself as --policy",
        )
    return Manifest.from_bytes(policy)


def _print_affirmed(
    detected: Detected, result: Appraisal, policy: bytes, now: int, *, as_json: bool
) -> None:
    if as_json:
        print_json(ear.affirmed(result, policy=policy, now=now))
    else:
        out.print(_checks(result.checks, f"{detected.format.title}, judged at {iso(now)}"))
        out.print(_vector(result.vector))
        out.print(f"accepted: ear.status is {result.status.value}", style="bold", markup=False)
    for check in result.checks:
        if check.excepted:
            err.print(
                f"warning: {check.name} is {check.found}; the policy's exception "
                f"{check.excepted!r} lets it pass",
                style="yellow",
                markup=False,
            )
    if detected.format.name == INSECURE:
        print_insecure(_DEVELOPMENT)


def _print_refused(
    detected: Detected, refusal: EvidenceRefused, policy: bytes, now: int, *, as_json: bool
) -> None:
    if as_json:
        name = detected.format.name
        print_json(ear.refused(name, refusal.checks, refusal.message, policy=policy, now=now))
        return
    out.print(_checks(refusal.checks, f"{detected.format.title}, judged at {iso(now)}"))
    out.print(_vector(vector_of(refusal.checks)))
    out.print("refused: ear.status is contraindicated", style="bold red", markup=False)
    for number, check in enumerate(refusal.checks, 1):
        if not check.holds:
            say(f"  {number}. {check.name}: found {check.found}; wanted {check.wanted}")
    print_error(refusal)


def _checks(checks: tuple[Check, ...], title: str) -> Table:
    table = Table(title=title)
    table.add_column("", justify="right")
    table.add_column("check", overflow="fold")
    table.add_column("found", overflow="fold")
    table.add_column("wanted", overflow="fold")
    table.add_column("")
    for number, check in enumerate(checks, 1):
        verdict = Text("holds", style="green") if check.holds else Text("FAILS", style="bold red")
        if check.excepted:
            verdict = Text("excepted", style="yellow")
        table.add_row(str(number), Text(check.name), Text(check.found), Text(check.wanted), verdict)
    return table


def _vector(vector: Mapping[Trust, int]) -> str:
    return "trustworthiness: " + ", ".join(f"{claim.value} {n}" for claim, n in vector.items())


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
