"""Does the enclave's memory grow with the number of clients?

The resident memory of the enclave process after a round, and its peak, for 2, 20 and 200 clients.
They are to lie within 64 MiB of each other.

    python -m benchmarks.memory [--parameters 1000000] [--quick] [--json FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.measure import options_parser, publish
from benchmarks.sealed_round import SealedRounds
from benchmarks.trained import first_parameters, trained_parameters

COHORTS = (2, 20, 200)
QUICK_COHORTS = (2, 5)
LIMIT = 64 << 20


def measure_cohort(clients: int, parameters: int) -> dict[str, int]:
    """Return the enclave's memory in bytes after a round of `clients`."""
    first = first_parameters(parameters)
    with SealedRounds(first, clients) as rounds:
        offers = rounds.open()
        for i, name in enumerate(rounds.clients):
            sealed, _ = rounds.seal(name, offers[name], trained_parameters(first, i), i)
            rounds.submit(name, sealed)
        rounds.close_round()
        status = rounds.enclave_status
    return {"clients": clients, "resident": status["VmRSS"], "peak": status["VmHWM"]}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON; 1 where memory is not flat."""
    parser = options_parser("memory", __doc__)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    options = parser.parse_args(arguments)
    machine = describe_machine()
    parameters = 10_000 if options.quick else options.parameters
    cohorts = [
        measure_cohort(clients, parameters)
        for clients in (QUICK_COHORTS if options.quick else COHORTS)
    ]
    peaks = [cohort["peak"] for cohort in cohorts]
    difference = max(peaks) - min(peaks)
    flat = difference <= LIMIT
    table = Table(title=f"enclave process, {parameters / 1e6:g} M float32 parameters, MiB")
    for heading in ("clients", "resident after the round", "peak"):
        table.add_column(heading, justify="right")
    for cohort in cohorts:
        mebibytes = (f"{cohort[key] / 2**20:.1f}" for key in ("resident", "peak"))
        table.add_row(str(cohort["clients"]), *mebibytes)
    verdict = (
        f"Peaks lie within {difference / 2**20:.1f} MiB, want at most {LIMIT >> 20}: "
        f"{'flat' if flat else 'NOT flat'}."
    )
    result = {
        "machine": machine,
        "parameters": parameters,
        "cohorts": cohorts,
        "difference": difference,
        "flat": flat,
    }
    publish(table, verdict, result, options.json)
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
