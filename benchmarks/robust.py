"""How long do robust rules and server optimisers take over sealed updates, and Flower over plain?

FedEnclave: sealed updates as they arrive, written to the ciphertext store, admitted, combined by
the rule, released and read back. Flower's FedMedian, FedTrimmedAvg and Krum: the same parameters in
plain text, in two ways. "arrived" begins with the objects of the replies at the ServerApp;
"inflated" with the messages that Flower makes of these. The targets are on "arrived", where both
sides begin with bytes. Other rules are timed without a peer.

    python -m benchmarks.robust [--rule median] [--case 10 25600000] [--repeat 5] [--quick]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flwr.serverapp.strategy import FedAvg, FedMedian, FedTrimmedAvg, Krum
from rich.table import Table

from benchmarks.flower_messages import (
    averaged_messages,
    inflated,
    parameters_of,
    reply_message,
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
from benchmarks.sealed_round import LOSS, SealedRounds, SealedTimes
from benchmarks.trained import first_parameters, trained_parameters
from fedenclave.protocol import aggregation
from fedenclave.protocol.manifest import Rules
from fedenclave.simulation.federation import DEFAULT_RULES

CASES = ((10, 25_600_000), (51, 1_000_000))
# The smallest cohort in which Krum and Bulyan can stand one client that lies.
QUICK_CASES = ((7, 20_000),)
QUICK_RULES = ("median", "krum")
TOLERANCE = 1e-5
TRIM = 0.2


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Flower's strategy for a rule.

    Attributes:
        name: as the report shows it.
        make: returns the strategy for so many clients.
        at_least: how many times as fast as it we want to be, from bytes as they arrive.
        same_model: whether it must give our model; Krum may choose another update, for its
            distances are float32 products of the parameters themselves.
    """

    name: str
    make: Callable[[int], FedAvg]
    at_least: float
    same_model: bool = True


PEERS = {
    "median": Peer(name="Flower FedMedian", make=lambda _: FedMedian(), at_least=6.0),
    "trimmed-mean": Peer(
        name="Flower FedTrimmedAvg", make=lambda _: FedTrimmedAvg(beta=TRIM), at_least=6.0
    ),
    "krum": Peer(
        name="Flower Krum",
        make=lambda clients: Krum(num_malicious_nodes=liars(clients)),
        at_least=4.0,
        same_model=False,
    ),
}


def liars(clients: int) -> int:
    """Return how many clients may lie: a fifth."""
    return clients // 5


def rules_by_name(clients: int) -> Mapping[str, Rules]:
    """Return every rule and server optimiser that is timed."""
    lie = liars(clients)
    for_bulyan = min(lie, (clients - 3) // 4)
    rules: dict[str, aggregation.Rule] = {
        "median": aggregation.Median(),
        "trimmed-mean": aggregation.TrimmedMean(trim=TRIM),
        "krum": aggregation.Krum(byzantine=lie),
        "multi-krum": aggregation.MultiKrum(byzantine=lie, selected=clients - lie),
        "bulyan": aggregation.Bulyan(byzantine=for_bulyan),
        "geometric-median": aggregation.GeometricMedian(
            iterations=100, smoothing=1e-6, tolerance=1e-6
        ),
        "q-fed-avg": aggregation.QFedAvg(q=0.2, client_learning_rate=0.1, loss=LOSS),
    }
    servers: dict[str, aggregation.ServerOptimiser] = {
        "momentum": aggregation.Momentum(learning_rate=1.0, momentum=0.9),
        "adam": aggregation.Adam(eta=0.01, beta_1=0.9, beta_2=0.99, tau=1e-3),
    }
    made = {name: replace(DEFAULT_RULES, rule=rule) for name, rule in rules.items()}
    # It weighs by loss: the manifest may not weigh by examples too.
    made["q-fed-avg"] = replace(made["q-fed-avg"], weighting="uniform")
    return made | {name: replace(DEFAULT_RULES, server=server) for name, server in servers.items()}


NAMES = tuple(rules_by_name(7))


def measure_rule(name: str, clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the times of `repeat` rounds of each, after one of each that is not counted."""
    first = first_parameters(parameters)
    trained = [trained_parameters(first, i) for i in range(clients)]
    peer = PEERS.get(name)
    replies = [sent(reply_message(array, i)) for i, array in enumerate(trained)] if peer else []
    sealed: list[SealedTimes] = []
    arrived: list[float] = []
    alone: list[float] = []
    difference = 0.0
    with SealedRounds(first, clients, rules_by_name(clients)[name]) as rounds:
        for _ in range(repeat + 1):
            sealed.append(rounds.run(rounds.seal_all(trained)))
            if peer is None:
                continue
            # Anew for every round: Flower's robust strategies empty the messages.
            messages, inflating = timed(lambda: [inflated(reply) for reply in replies])
            strategy = peer.make(clients)
            record, seconds = timed(
                lambda messages=messages, strategy=strategy: averaged_messages(messages, strategy)
            )
            alone.append(seconds)
            arrived.append(inflating + seconds)
            found = np.max(np.abs(parameters_of(record) - rounds.parameters()))
            difference = max(difference, float(found))
            del messages, record
    same = difference < TOLERANCE
    assert same or peer is None or not peer.same_model, f"the models differ by {difference}"
    return {
        "rule": name,
        "clients": clients,
        "parameters": parameters,
        "arrive": [times.arrive for times in sealed[1:]],
        "close": [times.close for times in sealed[1:]],
        "total": [times.total for times in sealed[1:]],
        "flower_arrived": arrived[1:],
        "flower_inflated": alone[1:],
        "same_model": same if peer else None,
    }


def rows_of(found: dict[str, Any]) -> list[Row]:
    """Return what the report shows of a rule."""
    question = (
        f"{found['rule']}, {case_name(found['clients'], found['parameters'])}: "
        "sealed bytes to the released model"
    )
    ours, peer = statistics.median(found["total"]), PEERS.get(found["rule"])
    if peer is None:
        return [Row(question=question, unit="s", ours=ours)]
    note = "" if found["same_model"] else "; Flower chose another update"
    return [
        Row(
            question=question,
            unit="s",
            ours=ours,
            peer_name=f"{peer.name}, plain text, from messages as they arrive",
            peer=statistics.median(found["flower_arrived"]),
            ratio=ratio_of(found["flower_arrived"], found["total"]),
            at_least=peer.at_least,
            note=f"from bytes as they arrive on both sides{note}",
        ),
        Row(
            question=question,
            unit="s",
            ours=ours,
            peer_name=f"{peer.name} alone, messages inflated already",
            peer=statistics.median(found["flower_inflated"]),
            ratio=ratio_of(found["flower_inflated"], found["total"]),
            note="Flower's inflation is not counted, our admission is",
        ),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    parser = options_parser("robust", __doc__)
    parser.add_argument("--repeat", type=int, default=5, help="counted rounds of each (5)")
    parser.add_argument("--rule", action="append", choices=NAMES, help="this one; repeatable (all)")
    add_case_option(parser)
    options = parser.parse_args(arguments)
    machine = describe_machine()
    repeat = 1 if options.quick else options.repeat
    found = [
        measure_rule(rule, clients, parameters, repeat)
        for clients, parameters in (QUICK_CASES if options.quick else options.case or CASES)
        for rule in options.rule or (QUICK_RULES if options.quick else NAMES)
    ]
    table = Table(title="clients' bytes to new model, seconds: median [range]")
    for heading in ("", "sealed, in all", "sealed, close", "Flower, arrived", "inflated"):
        table.add_column(heading)
    for each in found:
        times = [each[key] for key in ("total", "close", "flower_arrived", "flower_inflated")]
        title = f"{each['rule']}, {case_name(each['clients'], each['parameters'])}"
        table.add_row(title, *(spread(seconds) if seconds else "" for seconds in times))
    rows = [row for each in found for row in rows_of(each)]
    verdict = "\n".join(
        f"{row.question.partition(':')[0]}: {row.ratio:.2f} times as fast as {row.peer_name}."
        for row in rows
        if row.ratio is not None
    )
    publish(table, verdict, {"machine": machine, "rules": found}, options.json, rows=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
