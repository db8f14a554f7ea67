"""`fedenclave log`: judge an enclave's log, look into it, and prove that there are two."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fedenclave.attestation.collateral import iso
from fedenclave.audit.folder import JudgedFile
from fedenclave.audit.fork import Fork, verify_fork
from fedenclave.audit.lineage import steps
from fedenclave.audit.log import Signatures, VerifiedLog, summary, verify_log
from fedenclave.audit.log_entry import open_entry
from fedenclave.audit.receipts_in_log import missing_from_log
from fedenclave.audit.round_history import End, RoundHistory
from fedenclave.cli import log_notes
from fedenclave.cli.enclave_key import (
    Client,
    Key,
    ManifestPath,
    enclave_key,
    former_manifests,
    receipts_of,
    trusted_manifest,
)
from fedenclave.cli.fork_files import denounce_files
from fedenclave.cli.terminal import cell, err, out, print_json, say
from fedenclave.client.files import contents_of, read_file, write_whole
from fedenclave.client.folder import LOG_FILE
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage, printable
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.log_file import LogEntry, read_log
from fedenclave.protocol.signing import PublicKey, key_to_text, statement_digest

app = typer.Typer(
    help="Judge an enclave's log, offline, and prove that there are two.", no_args_is_help=True
)
LogFile = Annotated[Path, typer.Argument(metavar="FILE", help="The log file.")]
AsJson = Annotated[bool, typer.Option("--json")]

app.command()(log_notes.checkpoint)
app.command()(log_notes.cosign)
app.command("witness-key")(log_notes.witness_key)

_MOST_ROUNDS = 200
"""Of a table: nobody reads more, and to lay out thousands takes longer than to verify them."""
_LONG = 8 << 20
"""Bytes of a file that takes a second or more: it gets a progress bar, and every core."""


@app.command()
def verify(
    file: LogFile,
    manifest: ManifestPath = None,
    former: Annotated[
        list[Path] | None,
        typer.Option(help="A manifest before it; default: those in former/ beside it."),
    ] = None,
    key: Key = None,
    client: Client = None,
    signatures: Annotated[
        Signatures,
        typer.Option(
            help="Check those of statements that stand for all before them, or all one by one: "
            "that each entry would hold for who sees it alone. It takes ten times as long."
        ),
    ] = Signatures.CHECKPOINTS,
    as_json: AsJson = False,
) -> None:
    """Verify every entry of a log; exit 1 at the first that cannot be there.

    With a client folder, also that what its receipts hold is in this log; but for the newest, where
    it is the folder's own copy: that is ahead until the next round.
    """
    trusted = trusted_manifest(file, manifest, client)
    beside = manifest.parent if manifest is not None else client or file.parent
    before = former_manifests(trusted, beside, former or [])
    receipts = receipts_of(client, manifest, former or [])
    judged_by = enclave_key(key, receipts)
    with _opened(file) as (stream, size), _progress(size) as advance:
        found = verify_log(
            stream,
            judged_by,
            trusted,
            former=before,
            signatures=signatures,
            processes=len(os.sched_getaffinity(0)) if size > _LONG else 1,
            progress=advance,
        )
    shown = [each for each in receipts if _is_of(each, judged_by)]
    if client is not None and file.resolve() == (client / LOG_FILE).resolve():
        # A client's own copy grows with the next round's offer.
        shown = [each for each in shown if _round_of(each) <= len(found.rounds)]
    missing = _missing(file, shown)
    if as_json:
        lineage = [step.summary() for step in steps(found.rounds)]
        print_json({**summary(found), "lineage": lineage, "missing": missing})
    else:
        out.print(_rounds_table(found))
        out.print(_lineage_table(found))
        if len(found.rounds) > _MOST_ROUNDS:
            say(f"the newest {_MOST_ROUNDS} of {len(found.rounds)} rounds; --json has all")
        _say_totals(found)
    for line in missing:
        err.print(f"error: {printable(line)}", markup=False)
    if missing:
        err.print("hint: is it an older copy? fedenclave log denounce says if there are two logs")
        raise typer.Exit(1)


@app.command()
def show(file: LogFile, as_json: AsJson = False) -> None:
    """List the entries of a log, not verified."""
    with _opened(file) as (stream, _):
        _list(read_log(stream), as_json=as_json)


@app.command()
def tail(
    file: LogFile,
    number: Annotated[int, typer.Option("-n", min=1, max=100_000, help="How many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """List the newest entries of a log, not verified."""
    with _opened(file) as (stream, _):
        _list(deque(read_log(stream), maxlen=number), as_json=as_json)


@app.command()
def denounce(
    first: Annotated[Path, typer.Argument(help="A log, a receipt, or a signed statement.")],
    second: Annotated[Path, typer.Argument(help="Another one, of the same enclave.")],
    proof: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the proof goes.")],
    key: Key = None,
) -> None:
    """Write the proof that an enclave keeps two logs; exit 1 where there is none."""
    found = denounce_files(first, second, key)
    write_whole(proof, found.to_bytes())
    fork = verify_fork(found.to_bytes(), PublicKey(found.key))
    out.print(_fork_table(fork))
    say(f"the proof: {proof}")


@app.command("verify-fork")
def verify_fork_file(
    file: Annotated[Path, typer.Argument(help="The proof that `denounce` wrote.")],
    key: Key = None,
    client: Client = None,
    manifest: ManifestPath = None,
    as_json: AsJson = False,
) -> None:
    """Verify a proof that an enclave keeps two logs; exit 0 where it holds."""
    known = enclave_key(key, receipts_of(client, manifest))
    fork = verify_fork(read_file(file, "proof"), known)
    if as_json:
        print_json(_fork_summary(fork))
    else:
        out.print(_fork_table(fork))


@contextmanager
def _opened(file: Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a log file; its size says how long it will take."""
    try:
        stream = file.open("rb")
    except OSError as error:
        raise ConfigurationError(
            f"cannot read log {file}: {error.strerror}",
            hint="is the path right, and may this user read it?",
        ) from error
    with stream, contents_of(file):
        yield stream, os.fstat(stream.fileno()).st_size


def _is_of(receipt: JudgedFile, key: PublicKey) -> bool:
    return receipt.verified is not None and receipt.verified.attestation.signing_key == key


def _round_of(receipt: JudgedFile) -> int:
    return receipt.verified.round if receipt.verified is not None else 0


def _missing(file: Path, receipts: Sequence[JudgedFile]) -> list[str]:
    """Return what receipts hold and the log lacks; the log is read once more for it."""
    if not receipts:
        return []
    held = {each.path.name: Receipt.from_bytes(each.path.read_bytes()) for each in receipts}
    with _opened(file) as (stream, _):
        return missing_from_log(stream, held)


@contextmanager
def _progress(size: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("verifying"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=size <= _LONG) as progress:
        task = progress.add_task("verifying", total=size)
        yield lambda done: progress.update(task, completed=done)


def _list(entries: Iterable[LogEntry], *, as_json: bool) -> None:
    """Print entries as they are; what cannot be decoded is said to be so, and the rest goes on."""
    listed = (_entry_summary(entry) for entry in entries)
    if as_json:
        print_json(list(listed))
    else:
        table = Table(title="log, not verified")
        for heading in ("entry", "type", "round", "client", "digest"):
            table.add_column(heading, overflow="fold")
        for each in listed:
            table.add_row(*(cell("" if value is None else value) for value in each.values()))
        out.print(table)
    err.print("warning: nothing here is verified: fedenclave log verify does that", markup=False)


def _entry_summary(entry: LogEntry) -> dict[str, object]:
    digest = to_text(statement_digest(entry.unverified))
    try:
        opened = open_entry(entry.unverified)
    except MalformedMessage:
        return {"entry": entry.index, "type": "?", "round": None, "client": None, "digest": digest}
    return {
        "entry": entry.index,
        "type": opened.type,
        "round": getattr(opened.unverified, "round", None),
        "client": getattr(opened.unverified, "client", None),
        "digest": digest,
    }


def _rounds_table(found: VerifiedLog) -> Table:
    table = Table(title=f"log of {found.federation}")
    for heading in ("round", "end", "model", "on", "cohort", "with", "rejected", "announced"):
        table.add_column(heading, overflow="fold")
    for each in found.rounds[-_MOST_ROUNDS:]:
        table.add_row(
            str(each.round),
            each.end.value,
            _short(each.model) if each.model is not None else "none",
            _short(each.base_model),
            str(len(each.cohort)),
            _with(each),
            str(each.rejected + len(each.set_aside)),
            iso(each.announced),
        )
    return table


def _lineage_table(found: VerifiedLog) -> Table:
    table = Table(title="where its models come from")
    for heading in ("round", "config", "said of data", "on", "model", "evaluation"):
        table.add_column(heading, overflow="fold")
    for step in steps(found.rounds[-_MOST_ROUNDS:]):
        distinct = f", {step.distinct_data} distinct" if step.said_data else ""
        table.add_row(
            str(step.round),
            _short(step.training_config),
            f"{step.said_data} of {step.clients}{distinct}",
            _short(step.base_model),
            _short(step.model) if step.model is not None else "none",
            _short(step.evaluation) if step.evaluation is not None else "none",
        )
    return table


def _with(each: RoundHistory) -> str:
    if each.end is not End.RELEASED:
        return "nobody"
    return f"{each.clients} of {each.organisations} orgs"


def _short(digest: bytes) -> str:
    return digest.hex()[:8]


def _say_totals(found: VerifiedLog) -> None:
    refused = sum(found.rejections.values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in found.rejections.items())
    checked = "every signature" if found.signatures is Signatures.ALL else "signed checkpoints"
    say(f"{found.checkpoint.size} entries, verified by {checked}, of {key_to_text(found.key)}")
    say(f"root: {to_text(found.checkpoint.root)}")
    for digest, names in found.approved_by:
        say(f"manifest {to_text(digest)}, approved by {', '.join(names)}")
    say(
        f"{found.ended(End.RELEASED)} releases, {found.ended(End.ABORTED)} aborts, "
        f"{found.ended(End.ADOPTED)} adoptions, {found.shutdowns} shutdowns; "
        f"{found.admissions} admissions, "
        f"{refused} rejections{f' ({reasons})' if reasons else ''}"
    )
    say(f"newest model: {to_text(found.model)}")


def _fork_summary(fork: Fork) -> dict[str, object]:
    return {
        "key": key_to_text(fork.key),
        "federation": fork.federation,
        "why": fork.why,
        "first": to_text(fork.first),
        "second": to_text(fork.second),
    }


def _fork_table(fork: Fork) -> Table:
    table = Table(title="a fork is proved", show_header=False)
    for name, value in _fork_summary(fork).items():
        table.add_row(name, cell(value))
    return table
