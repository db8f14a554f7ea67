"""Does the enclave's memory grow with the number of clients, or with more than the model?

The peak of the enclave process over one round, for the mean and for the median, which has to see
all clients' values of a coordinate at once. It is to lie within the model's size and 64 MiB, and
cohorts of one size of model within 64 MiB of each other.

    python -m benchmarks.memory [--rule median] [--cohorts 2 20 200] [--parameters 1000000]
                                [--quick] [--json FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.measure import case_name, options_parser, publish
from benchmarks.rows import Row
from benchmarks.sealed_round import SealedRounds
from benchmarks.trained import first_parameters, trained_parameters
from fedenclave.protocol.aggregation import MEAN, Median, Rule
from fedenclave.simulation.federation import DEFAULT_RULES

COHORTS = (2, 20, 200)
QUICK_COHORTS = (2, 5)
QUICK_RULES = ("median",)
LIMIT = 64 << 20
RULES: dict[str, Rule] = {"mean": MEAN, "median": Median()}


def measure_cohort(clients: int, parameters: int, rule: str = "mean") -> dict[str, int]:
    """Return the enclave's memory in bytes over a round of `clients`."""
    first = first_parameters(parameters)
    with SealedRounds(first, clients, replace(DEFAULT_RULES, rule=RULES[rule])) as rounds:
        before = rounds.enclave_status
        offers = rounds.open()
        for i, name in enumerate(rounds.clients):
            sealed, _ = rounds.seal(name, offers[name], trained_parameters(first, i), i)
            rounds.submit(name, sealed)
        rounds.close_round()
        status = rounds.enclave_status
    return {
        "clients": clients,
        "started": before["VmRSS"],
        "resident": status["VmRSS"],
        "peak": status["VmHWM"],
    }


def measure(rule: str, cohorts: Sequence[int], parameters: int) -> dict[str, Any]:
    """Return the memory for each cohort, and whether it is flat in them."""
    found = [measure_cohort(clients, parameters, rule) for clients in cohorts]
    peaks = [cohort["peak"] for cohort in found]
    difference = max(peaks) - min(peaks)
    return {
        "rule": rule,
        "parameters": parameters,
        "limit": 4 * parameters + LIMIT,
        "cohorts": found,
        "difference": difference,
        "flat": difference <= LIMIT,
    }


def rows_of(found: dict[str, Any]) -> list[Row]:
    """Return what the report shows."""
    limit = found["limit"] / 2**20
    rows = [
        Row(
            question=f"{found['rule']}, {case_name(cohort['clients'], found['parameters'])}: "
            "the enclave's peak",
            unit="MiB",
            ours=cohort["peak"] / 2**20,
            at_most=round(limit, 1),
            note=f"the model and 64 MiB; {cohort['started'] / 2**20:.1f} MiB before the round",
        )
        for cohort in found["cohorts"]
    ]
    sizes = " and ".join(str(cohort["clients"]) for cohort in found["cohorts"])
    rows.append(
        Row(
            question=f"{found['rule']}, {found['parameters'] / 1e6:g} M: between peaks of {sizes}",
            unit="MiB",
            ours=found["difference"] / 2**20,
            at_most=LIMIT / 2**20,
            note="flat in clients",
        )
    )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON; 1 where memory is not flat."""
    parser = options_parser("memory", __doc__)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    parser.add_argument("--cohorts", type=int, nargs="+", default=COHORTS, help="(2 20 200)")
    parser.add_argument("--rule", action="append", choices=tuple(RULES), help="repeatable (both)")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    parameters = 10_000 if options.quick else options.parameters
    cohorts = QUICK_COHORTS if options.quick else options.cohorts
    rules = options.rule or (QUICK_RULES if options.quick else RULES)
    results = [measure(rule, cohorts, parameters) for rule in rules]
    table = Table(title=f"enclave process, {parameters / 1e6:g} M float32 parameters, MiB")
    for heading in ("rule", "clients", "before the round", "after it", "peak"):
        table.add_column(heading, justify="right")
    for found in results:
        for cohort in found["cohorts"]:
            mebibytes = (f"{cohort[key] / 2**20:.1f}" for key in ("started", "resident", "peak"))
            table.add_row(found["rule"], str(cohort["clients"]), *mebibytes)
    verdict = "\n".join(
        f"{found['rule']}: peaks lie within {found['difference'] / 2**20:.1f} MiB, want at most "
        f"{LIMIT >> 20}: {'flat' if found['flat'] else 'NOT flat'}."
        for found in results
    )
    rows = [row for found in results for row in rows_of(found)]
    publish(table, verdict, {"machine": machine, "rules": results}, options.json, rows=rows)
    return 0 if all(found["flat"] for found in results) else 1


if __name__ == "__main__":
    sys.exit(main())
