"""How many bytes of plaintext a second, beside decryption alone on the same cores?

FedEnclave in two ways. "enclave" is what the enclave does: every update's admission, one after the
other, and the close, without the host's writing of the store before each admission. "whole" is how
a server runs it: handed over side by side, writing included.

The bound: `AESGCM.decrypt_into` over as many bytes, a key for each client, chunks of 256 KiB, two
threads, into scratch that stays in the cache. The ciphertext is read once a round and comes from
memory. A sealed update cannot be faster than that, and the enclave reads each twice.

    python -m benchmarks.throughput [--case 10 25600000] [--repeat 5] [--quick] [--json FILE]
"""

from __future__ import annotations

import secrets
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray
from rich.table import Table

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
from benchmarks.sealed_round import SealedRounds
from benchmarks.trained import first_parameters, trained_parameters

CASES = ((10, 25_600_000),)
QUICK_CASES = ((3, 100_000),)
CHUNK = 256 << 10
TAG = 16
THREADS = 2
AT_LEAST = 0.5


class Encrypted:
    """One client's parameters under AES-256-GCM, chunk after chunk, each with its tag."""

    def __init__(self, values: NDArray[np.float32]) -> None:
        """Encrypt them under a key of their own."""
        self._cipher = AESGCM(secrets.token_bytes(32))
        plain = memoryview(values).cast("B")
        self._data = memoryview(
            b"".join(
                self._cipher.encrypt(_nonce(number), plain[start : start + CHUNK], None)
                for number, start in enumerate(range(0, len(plain), CHUNK))
            )
        )

    def open(self, first: int, step: int, scratch: memoryview) -> None:
        """Decrypt every `step`-th chunk, beginning with number `first`, into `scratch`."""
        size = CHUNK + TAG
        for start in range(first * size, len(self._data), step * size):
            sealed = self._data[start : start + size]
            into = scratch[: len(sealed) - TAG]
            self._cipher.decrypt_into(_nonce(start // size), sealed, None, into)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def decrypt_all(updates: Sequence[Encrypted], pool: ThreadPoolExecutor) -> None:
    """Decrypt everything, two threads sharing each update."""

    def share(first: int) -> None:
        scratch = memoryview(bytearray(CHUNK))
        for update in updates:
            update.open(first, THREADS, scratch)

    list(pool.map(share, range(THREADS)))


def measure_case(clients: int, parameters: int, repeat: int) -> dict[str, Any]:
    """Return the seconds of each way, in turn, after one round that is not counted."""
    first = first_parameters(parameters)
    trained = [trained_parameters(first, i) for i in range(clients)]
    encrypted = [Encrypted(values) for values in trained]
    seconds: dict[str, list[float]] = {"enclave": [], "whole": [], "aes_gcm": []}
    with (
        SealedRounds(first, clients) as rounds,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        for _ in range(repeat + 1):
            updates = rounds.seal_all(trained)
            admissions = [
                rounds.submit(name, update)[1]
                for name, update in zip(rounds.clients, updates, strict=True)
            ]
            seconds["enclave"].append(sum(admissions) + rounds.close_round())
            seconds["whole"].append(rounds.run(rounds.seal_all(trained)).total)
            seconds["aes_gcm"].append(timed(lambda: decrypt_all(encrypted, pool))[1])
    counted = {way: found[1:] for way, found in seconds.items()}
    gigabytes = 4 * parameters * clients / 1e9
    return {
        "clients": clients,
        "parameters": parameters,
        "seconds": counted,
        "gigabytes_per_second": {
            way: gigabytes / statistics.median(found) for way, found in counted.items()
        },
    }


WAYS = {
    "enclave": "admission and aggregation, the enclave alone",
    "whole": "sealed bytes to the released model, the host's store included",
}


def rows_of(case: dict[str, Any]) -> list[Row]:
    """Return what the report shows of a case."""
    speed, seconds = case["gigabytes_per_second"], case["seconds"]
    return [
        Row(
            question=f"{case_name(case['clients'], case['parameters'])}: {title}",
            unit="GB/s",
            ours=speed[way],
            peer_name="AES-256-GCM alone, two threads, cold data",
            peer=speed["aes_gcm"],
            ratio=ratio_of(seconds["aes_gcm"], seconds[way]),
            at_least=AT_LEAST if way == "enclave" else None,
            note="a bound, no peer: decryption with nothing else to do",
        )
        for way, title in WAYS.items()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    parser = options_parser("throughput", __doc__)
    parser.add_argument("--repeat", type=int, default=5, help="counted rounds of each (5)")
    add_case_option(parser)
    options = parser.parse_args(arguments)
    machine = describe_machine()
    repeat = 1 if options.quick else options.repeat
    wanted = QUICK_CASES if options.quick else options.case or CASES
    cases = [measure_case(clients, parameters, repeat) for clients, parameters in wanted]
    table = Table(title="plaintext through the enclave")
    for heading in ("", "seconds: median [range]", "GB/s"):
        table.add_column(heading)
    for case in cases:
        for way, title in {**WAYS, "aes_gcm": "AES-256-GCM alone"}.items():
            speed = f"{case['gigabytes_per_second'][way]:.2f}"
            name = f"{case_name(case['clients'], case['parameters'])}: {title}"
            table.add_row(name, spread(case["seconds"][way]), speed)
    rows = [row for case in cases for row in rows_of(case)]
    verdict = f"The enclave alone has {rows[0].ratio:.0%} of decryption's speed, want 50 %."
    publish(table, verdict, {"machine": machine, "cases": cases}, options.json, rows=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
