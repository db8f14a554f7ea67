"""What does sealing cost a client, opening the enclave, and both the wire?

An update of 25.6 M float32 parameters. Beside it Flower's plain serialisation of the same array, in
two ways: from numpy to the objects in which Flower 1.41 sends a message, and from numpy to one
piece of protobuf bytes and back.

    python -m benchmarks.sealing [--parameters 25600000] [--repeat 5] [--quick] [--json FILE]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from rich.table import Table

from benchmarks.flower_messages import parsed, reply_bytes, reply_message, sent
from benchmarks.machine import describe_machine
from benchmarks.measure import options_parser, publish, ratio_of, spread, timed
from benchmarks.rows import Row
from benchmarks.sealed_round import SealedRounds
from benchmarks.trained import TENSOR, first_parameters, num_examples, trained_parameters
from fedenclave.protocol.exchange import RoundOffer
from fedenclave.protocol.sealed_update import read_envelope
from fedenclave.protocol.sealing import seal_update
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Announcement
from fedenclave.protocol.tensors import schema_of

CLIENTS = 2
"""The smallest cohort that a federation can have."""

WIRE_LIMIT = 1.001
MILLISECONDS_PER_MILLION = 5.0


@dataclass(kw_only=True)
class Figures:
    """Seconds of each step, and bytes on the wire for each byte of parameters."""

    seal: list[float] = field(default_factory=list)
    client: list[float] = field(default_factory=list)
    admit: list[float] = field(default_factory=list)
    flower_objects: list[float] = field(default_factory=list)
    flower_serialise: list[float] = field(default_factory=list)
    flower_parse: list[float] = field(default_factory=list)
    wire: float = 0.0
    flower_wire: float = 0.0


def measure(parameters: int, repeat: int) -> Figures:
    """Return the figures of `repeat` rounds, after one that is not counted."""
    first = first_parameters(parameters)
    trained = [trained_parameters(first, i) for i in range(CLIENTS)]
    figures = Figures()
    with SealedRounds(first, CLIENTS) as rounds:
        for count in range(repeat + 1):
            if count == 1:
                figures = Figures()
            offers = rounds.open()
            for i, name in enumerate(rounds.clients):
                sealed, seconds = rounds.seal(name, offers[name], trained[i], i)
                figures.client.append(seconds)
                figures.seal.append(_seal_alone(sealed, offers[name], trained[i], i))
                figures.flower_objects.append(
                    timed(lambda i=i: sent(reply_message(trained[i], i)))[1]
                )
                reply, seconds = timed(lambda i=i: reply_bytes(trained[i], i))
                figures.flower_serialise.append(seconds)
                figures.admit.append(rounds.submit(name, sealed)[1])
                figures.flower_parse.append(timed(lambda reply=reply: parsed(reply))[1])
                figures.wire = len(sealed) / rounds.payload_size
                figures.flower_wire = len(reply) / rounds.payload_size
            rounds.close_round()
    return figures


def _seal_alone(
    sealed: bytes, offer: RoundOffer, values: NDArray[np.float32], client: int
) -> float:
    """Seal as many bytes under the same header once more, and return the seconds."""
    announcement = Announcement.from_bytes(Signed.from_bytes(offer.announcement).payload)
    _, seconds = timed(
        lambda: seal_update(
            update=memoryview(values).cast("B"),
            num_examples=num_examples(client),
            schema=schema_of({TENSOR: values}),
            header=read_envelope(sealed).unverified_header(),
            suite=announcement.suite,
            round_key=announcement.public_key,
            signing_key=Ed25519PrivateKey.generate(),
        )
    )
    return seconds


def rows_of(figures: Figures, parameters: int) -> list[Row]:
    """Return what the report shows: milliseconds for a million parameters, and the wire."""
    per_million = 1000 / (parameters / 1e6)
    peer = statistics.median(figures.flower_objects) * per_million
    rows = [
        Row(
            question=f"a client's {title}, for a million parameters",
            unit="ms",
            ours=statistics.median(seconds) * per_million,
            peer_name="Flower, from numpy to the objects of a plain message",
            peer=peer,
            ratio=ratio_of(figures.flower_objects, seconds),
            at_most=MILLISECONDS_PER_MILLION,
            note=f"of {parameters / 1e6:g} M; Flower then makes objects of the sealed bytes too",
        )
        for title, seconds in (
            ("seal", figures.seal),
            ("difference, NaN search, seal and state", figures.client),
        )
    ]
    rows.append(
        Row(
            question="bytes on the wire for each byte of parameters",
            unit="bytes",
            ours=figures.wire,
            peer_name="Flower, plain text",
            peer=figures.flower_wire,
            at_most=WIRE_LIMIT,
        )
    )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON; 1 where the wire carries too much."""
    parser = options_parser("sealing", __doc__)
    parser.add_argument("--parameters", type=int, default=25_600_000)
    parser.add_argument("--repeat", type=int, default=5, help="counted rounds (5)")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    # Small updates carry the same envelope, so the wire's limit is for what is not tiny.
    parameters = 1_000_000 if options.quick else options.parameters
    figures = measure(parameters, 1 if options.quick else options.repeat)
    steps: dict[str, tuple[str, list[float]]] = {
        "seal": ("client: seal", figures.seal),
        "client": ("client: difference, NaN search, seal, save state", figures.client),
        "admit": ("enclave: open and judge (admission)", figures.admit),
        "flower_objects": ("Flower: numpy to the objects of a message", figures.flower_objects),
        "flower_serialise": ("Flower: numpy to protobuf bytes", figures.flower_serialise),
        "flower_parse": ("Flower: protobuf bytes to message", figures.flower_parse),
    }
    table = Table(title=f"one update of {parameters / 1e6:g} M float32 parameters")
    for heading in ("", "seconds: median [range]", "GB/s"):
        table.add_column(heading)
    result: dict[str, Any] = {"machine": machine, "parameters": parameters}
    for key, (title, seconds) in steps.items():
        speed = 4 * parameters / statistics.median(seconds) / 1e9
        table.add_row(title, spread(seconds), f"{speed:.2f}")
        result[key] = {"seconds": seconds, "gigabytes_per_second": speed}
    result |= {"wire": figures.wire, "flower_wire": figures.flower_wire}
    verdict = (
        f"Bytes on the wire per byte of parameters: sealed {figures.wire:.6f} "
        f"(want at most {WIRE_LIMIT}), Flower {figures.flower_wire:.6f}."
    )
    rows = rows_of(figures, parameters)
    publish(table, verdict, result, options.json, rows=rows)
    return 0 if figures.wire <= WIRE_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
