"""Run every benchmark, one after the other: `python -m benchmarks`."""

from __future__ import annotations

import sys

from benchmarks import aggregation, flower_round, memory, sealing


def main() -> int:
    """Return 0 where every one does."""
    statuses = [benchmark.main([]) for benchmark in (sealing, aggregation, memory, flower_round)]
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
