"""How long does a server need from the clients' bytes to the new model, sealed against plain?

FedEnclave: sealed updates, written to the ciphertext store, admitted, averaged exactly, released
and read back by the host. Flower: the same parameters in plain text, from the objects that have
arrived at the ServerApp through messages and `FedAvg.aggregate_train` to an ArrayRecord. Both in
one run, in turn; neither has a network in it.

Clients relay their sealed updates in Flower's messages in this version, and Flower inflates these
as it does plain ones. Two rows tell that apart: what inflating the sealed messages takes, and what
Flower takes for messages that are inflated already.

    python -m benchmarks.aggregation [--case 10 25600000] [--repeat 5] [--quick] [--json FILE]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.flower_messages import (
    ArrivedMessage,
    averaged,
    averaged_messages,
    inflated,
    parameters_of,
    reply_message,
    sealed_message,
    sent,
)
from benchmarks.machine import describe_machine
from benchmarks.measure import (
    add_case_option,
    case_name,
    options_parser,
    publish,
    ratio_of,
    spread,
    timed,
)
from benchmarks.rows import Row
from benchmarks.sealed_round import SealedRounds, SealedTimes
from benchmarks.trained import first_parameters, trained_parameters

CASES = ((10, 25_600_000), (100, 1_000_000))
QUICK_CASES = ((3, 100_000),)
# float32 in another order than the exact sum: what Flower's own rounding explains.
TOLERANCE = 1e-5
AT_LEAST = 3.0
AIM = {CASES[0]: 5.0}


def measure_case(clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the times of `repeat` rounds of each, after one of each that is not counted."""
    first = first_parameters(parameters)
    trained = [trained_parameters(first, i) for i in range(clients)]
    in_memory = [reply_message(array, i) for i, array in enumerate(trained)]
    replies = [sent(message) for message in in_memory]
    sealed: list[SealedTimes] = []
    messages: list[ArrivedMessage] = []
    relayed: list[float] = []
    plain: list[float] = []
    inflated_plain: list[float] = []
    with SealedRounds(first, clients) as rounds:
        for _ in range(repeat + 1):
            updates = rounds.seal_all(trained)
            sealed.append(rounds.run(updates))
            # The first round's stand for all: like Flower's, they lie in memory that is warm.
            messages = messages or [sent(sealed_message(u, i)) for i, u in enumerate(updates)]
            relayed.append(_inflation(messages))
            del updates
            record, seconds = timed(lambda: averaged(replies))
            plain.append(seconds)
            inflated_plain.append(timed(lambda: averaged_messages(in_memory))[1])
            difference = np.max(np.abs(parameters_of(record) - rounds.parameters()))
            assert difference < TOLERANCE, f"the two models differ by {difference}"
            del record
    return {
        "clients": clients,
        "parameters": parameters,
        "first_round": {"sealed": sealed[0].total, "plain": plain[0]},
        "arrive": [times.arrive for times in sealed[1:]],
        "close": [times.close for times in sealed[1:]],
        "total": [times.total for times in sealed[1:]],
        "relayed": relayed[1:],
        "plain": plain[1:],
        "plain_inflated": inflated_plain[1:],
        "times_as_fast": ratio_of(plain[1:], [times.total for times in sealed[1:]]),
        "times_as_fast_at_the_end": ratio_of(plain[1:], [times.close for times in sealed[1:]]),
    }


def _inflation(messages: Sequence[ArrivedMessage]) -> float:
    """Return the seconds that Flower needs to inflate messages that carry sealed updates."""
    made, seconds = timed(lambda: [inflated(message) for message in messages])
    assert len(made) == len(messages)
    return seconds


def rows_of(case: dict[str, Any]) -> list[Row]:
    """Return what the report shows of a case."""
    size = case["clients"], case["parameters"]
    name = case_name(*size)
    aim = f"; aim {AIM[size]:g}" if size in AIM else ""
    inflated_ratio = ratio_of(case["plain_inflated"], case["total"])
    return [
        Row(
            question=f"{name}: sealed bytes as they arrive to the released model",
            unit="s",
            ours=statistics.median(case["total"]),
            peer_name="Flower FedAvg, plain text, from messages as they arrive",
            peer=statistics.median(case["plain"]),
            ratio=case["times_as_fast"],
            at_least=AT_LEAST,
            note=f"from bytes as they arrive on both sides{aim}",
        ),
        Row(
            question=f"{name}: what the round's end waits for",
            unit="s",
            ours=statistics.median(case["close"]),
            peer_name="Flower FedAvg, plain text, from messages as they arrive",
            peer=statistics.median(case["plain"]),
            ratio=case["times_as_fast_at_the_end"],
            note="ours without admission, which happens while updates arrive",
        ),
        Row(
            question=f"{name}: sealed bytes to the released model",
            unit="s",
            ours=statistics.median(case["total"]),
            peer_name="Flower FedAvg alone, messages inflated already",
            peer=statistics.median(case["plain_inflated"]),
            ratio=inflated_ratio,
            note="the basis for relayed updates, which Flower inflates too",
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    parser = options_parser("aggregation", __doc__)
    parser.add_argument("--repeat", type=int, default=5, help="counted rounds of each (5)")
    add_case_option(parser)
    options = parser.parse_args(arguments)
    machine = describe_machine()
    repeat = 1 if options.quick else options.repeat
    wanted = QUICK_CASES if options.quick else options.case or CASES
    cases = [measure_case(clients, parameters, repeat) for clients, parameters in wanted]
    table = Table(title="clients' bytes to new model, seconds: median [range]")
    for heading in ("", *(f"{c['clients']} x {c['parameters'] / 1e6:g} M" for c in cases)):
        table.add_column(heading)
    titles = {
        "arrive": "sealed: written to the store, and admitted",
        "close": "sealed: close, what the round's end waits for",
        "total": "sealed: total",
        "relayed": "where relayed: Flower inflates the sealed messages",
        "plain": "Flower FedAvg, plain text",
        "plain_inflated": "Flower FedAvg alone, messages inflated already",
    }
    for key, title in titles.items():
        table.add_row(title, *(spread(case[key]) for case in cases))
    for key, title in (
        ("times_as_fast", "times as fast as Flower, in all"),
        ("times_as_fast_at_the_end", "times as fast, at the round's end"),
    ):
        table.add_row(title, *(f"{case[key]:.2f}" for case in cases))
    verdict = "Both give the same model, but for Flower's rounding to float32 at every step."
    rows = [row for case in cases for row in rows_of(case)]
    publish(table, verdict, {"machine": machine, "cases": cases}, options.json, rows=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
