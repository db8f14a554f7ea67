"""Run every benchmark, one after the other: `python -m benchmarks`."""

from __future__ import annotations

import sys

from benchmarks import aggregation, attestation, flower_round, memory, sealing

ALL = (sealing, aggregation, memory, attestation, flower_round)


def main() -> int:
    """Return 0 where every one does."""
    statuses = [benchmark.main([]) for benchmark in ALL]
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
