"""How fast is a dataset sealed and read on one core, beside copying it and beside age?

Everything runs on one core and on files in memory (`/dev/shm`, where there is one), so that no disk
is measured: what `fedenclave data seal` writes, it also syncs. Each way has its turn in every
round, and the first round is not counted. What is aimed at is on the processor's seconds, the
kernel's among them: other programs on the core do not count. Both are printed.

  * one large file: sealed, copied (`shutil.copyfile`), and encrypted by age (pyrage, the Rust
    implementation, ChaCha20-Poly1305), where that is installed;
  * the same read as a stream into one buffer: sealed, plain, and by age;
  * a folder of small files, sealed and copied;
  * random rows of an array: sealed, and mapped into memory by NumPy.

    python -m benchmarks.data_at_rest [--mebibytes 512] [--repeat 5] [--quick] [--json FILE]
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.machine import describe_machine
from benchmarks.measure import options_parser, publish, ratio_of, spread, timed
from benchmarks.rows import Row
from fedenclave.datasets.arrays import SealedArray
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.reader import SealedDataset, open_dataset
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import Options, seal
from fedenclave.keys.keyring import Keyring, create_keyring
from fedenclave.keys.keyring_file import Cost

MEBIBYTES, QUICK_MEBIBYTES = 512, 2
SMALL_FILES, SMALL_SIZE = 5000, 20_000
ROWS, ROW_SIZE = 5000, 3072
SECONDS_PER_GB = 1.0
"""What is aimed at, on one core, to seal and to read."""
MADE = ("sealed", "copy", "large.age", "sealed-small", "copies")
AGE_ABSENT = "not measured: pip install pyrage"


@dataclass(frozen=True, kw_only=True)
class Time:
    """Seconds by the clock, and of the processor, in all threads and in the kernel."""

    wall: float
    cpu: float


Times = dict[str, list[Time]]


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process, and the threads that it makes, to one core."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


class Bench:
    """A folder with plain data, a keyring, and what is made of them."""

    def __init__(self, folder: Path, mebibytes: int, small_files: int) -> None:
        """Write the plain data: random, since nothing here compresses."""
        self.folder, self.bytes = folder, mebibytes << 20
        random = np.random.default_rng(1)
        self.large = folder / "large.npy"
        rows = self.bytes // ROW_SIZE
        np.save(self.large, random.integers(0, 256, (rows, ROW_SIZE), dtype=np.uint8))
        self.bytes = self.large.stat().st_size
        self.small = folder / "small"
        self.small.mkdir()
        for i in range(small_files):
            (self.small / f"{i:06}").write_bytes(random.bytes(SMALL_SIZE))
        self.small_bytes = small_files * SMALL_SIZE
        # The passphrase is not what is measured, and opens nothing but this.
        cost = Cost(memory_kib=64, passes=1, lanes=1)
        self.ring: Keyring = create_keyring(folder / "keyring", b"benchmark", cost=cost)
        self.ring.create("node")
        self.buffer = memoryview(bytearray(1 << 20))

    def sealed(self, source: Path, name: str) -> None:
        """Seal `source` into a new folder."""
        options = Options(clock=time.time)
        seal(LocalFiles(source), LocalStore(self.folder / name), self.ring, "node", options)

    def opened(self, name: str) -> SealedDataset:
        """Open what was sealed."""
        return open_dataset(LocalStore(self.folder / name), self.ring)

    def read(self, stream: Any) -> int:
        """Read a stream to its end into one buffer; return its bytes."""
        total = 0
        while count := stream.readinto(self.buffer):
            total += count
        return total


def in_turn(
    ways: Mapping[str, Callable[[], object]], repeat: int, made: Sequence[Path] = ()
) -> Times:
    """Return the seconds of each way, by rounds; the first round is not counted.

    Before each round what the last one has made is deleted: that takes time, too.
    """
    times: Times = {name: [] for name in ways}
    for _ in range(repeat + 1):
        for path in made:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for name, way in ways.items():
            before = time.process_time()
            wall = timed(way)[1]
            times[name].append(Time(wall=wall, cpu=time.process_time() - before))
    return {name: found[1:] for name, found in times.items()}


def age_ways(bench: Bench) -> dict[str, Callable[[], object]]:
    """Return how age seals and reads the large file; nothing where it is not installed."""
    if find_spec("pyrage") is None:
        return {}
    pyrage = import_module("pyrage")
    identity = pyrage.x25519.Identity.generate()
    target = bench.folder / "large.age"

    class Nowhere:
        def write(self, data: bytes) -> int:
            return len(data)

        def flush(self) -> None:
            pass

    def read() -> None:
        with target.open("rb") as stream:
            pyrage.decrypt_io(stream, Nowhere(), [identity])

    return {
        "seal by age": lambda: pyrage.encrypt_file(
            str(bench.large), str(target), [identity.to_public()]
        ),
        "read by age": read,
    }


def measure(bench: Bench, repeat: int) -> Times:
    """Return the seconds of every way."""

    def read_sealed() -> None:
        with bench.opened("sealed") as dataset, dataset.open("large.npy") as stream:
            assert bench.read(stream.raw) == bench.bytes

    def read_plain() -> None:
        with bench.large.open("rb", buffering=0) as stream:
            assert bench.read(stream) == bench.bytes

    def copy_small() -> None:
        shutil.copytree(bench.small, bench.folder / "copies", copy_function=shutil.copyfile)

    ways = {
        "seal": lambda: bench.sealed(bench.large, "sealed"),
        "copy": lambda: shutil.copyfile(bench.large, bench.folder / "copy"),
        "read": read_sealed,
        "read plain": read_plain,
        **age_ways(bench),
        "seal small files": lambda: bench.sealed(bench.small, "sealed-small"),
        "copy small files": copy_small,
    }
    made = [bench.folder / name for name in MADE]
    return in_turn(ways, repeat, made)


def measure_rows(bench: Bench, repeat: int) -> Times:
    """Return the seconds for ROWS random rows, sealed and mapped."""
    with bench.opened("sealed") as dataset:
        array = SealedArray(dataset, "large.npy")
        mapped = np.load(bench.large, mmap_mode="r", allow_pickle=False)
        wanted = np.random.default_rng(2).integers(0, len(array), ROWS).tolist()
        assert np.array_equal(array[wanted[0]], mapped[wanted[0]])
        return in_turn(
            {
                "random rows": lambda: [array[row] for row in wanted],
                "random rows, mapped": lambda: [np.array(mapped[row]) for row in wanted],
            },
            repeat,
        )


def cpus(times: Sequence[Time]) -> list[float]:
    """Return the processor's seconds."""
    return [time.cpu for time in times]


def cpu_of(times: Sequence[Time]) -> float:
    """Return the median of the processor's seconds."""
    return statistics.median(cpus(times))


def rows_of(times: Times, bench: Bench) -> list[Row]:
    """Return what the report shows."""

    def per_gb(way: str, size: int) -> float | None:
        return cpu_of(times[way]) / size * 1e9 if way in times else None

    rows = []
    for title, way, peers, size, limit in (
        ("seal one large file", "seal", ("copy", "seal by age"), bench.bytes, SECONDS_PER_GB),
        ("read it", "read", ("read plain", "read by age"), bench.bytes, SECONDS_PER_GB),
        ("seal small files", "seal small files", ("copy small files",), bench.small_bytes, None),
    ):
        for peer in peers:
            ours, theirs = per_gb(way, size), per_gb(peer, size)
            ratio = ratio_of(cpus(times[peer]), cpus(times[way])) if peer in times else None
            rows.append(
                Row(
                    question=f"{title}, on one core, for a GB",
                    unit="s of CPU",
                    ours=ours,
                    peer_name=peer,
                    peer=theirs,
                    ratio=ratio,
                    at_most=limit,
                    note=AGE_ABSENT if theirs is None else "",
                )
            )
    plain = times["random rows, mapped"]
    rows.append(
        Row(
            question=f"a random row of {ROW_SIZE} bytes",
            unit="µs of CPU",
            ours=cpu_of(times["random rows"]) / ROWS * 1e6,
            peer_name="mapped by NumPy, plain",
            peer=cpu_of(plain) / ROWS * 1e6,
            ratio=ratio_of(cpus(plain), cpus(times["random rows"])),
            note="a chunk of 256 KiB is decrypted for it",
        )
    )
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON; 1 where sealing or reading is slower than is aimed at."""
    parser = options_parser("data_at_rest", __doc__)
    parser.add_argument("--mebibytes", type=int, default=MEBIBYTES, help="of the large file (512)")
    parser.add_argument("--repeat", type=int, default=5, help="counted rounds (5)")
    options = parser.parse_args(arguments)
    machine = describe_machine()
    memory = Path("/dev/shm")  # noqa: S108 - where there is one, files lie in memory
    place = memory if memory.is_dir() and os.access(memory, os.W_OK) else None
    size = QUICK_MEBIBYTES if options.quick else options.mebibytes
    repeat = 1 if options.quick else options.repeat
    with tempfile.TemporaryDirectory(dir=place) as folder, one_core():
        bench = Bench(Path(folder), size, 50 if options.quick else SMALL_FILES)
        times = measure(bench, repeat) | measure_rows(bench, repeat)
    sizes = {way: bench.small_bytes if "small" in way else bench.bytes for way in times}
    sizes |= {way: ROWS * ROW_SIZE for way in times if "rows" in way}
    large, small = bench.bytes / 1e6, bench.small_bytes / 1e6
    table = Table(title=f"one core: a file of {large:g} MB, small files of {small:g} MB")
    for heading in ("", "seconds: median [range]", "of CPU", "GB for a second of CPU"):
        table.add_column(heading)
    result: dict[str, Any] = {"machine": machine, "bytes": bench.bytes, "ways": {}}
    for way, found in times.items():
        speed, walls = sizes[way] / cpu_of(found) / 1e9, [time.wall for time in found]
        table.add_row(way, spread(walls), spread(cpus(found)), f"{speed:.2f}")
        result["ways"][way] = {
            "seconds": walls,
            "cpu_seconds": cpus(found),
            "gigabytes_per_cpu_second": speed,
        }
    rows = rows_of(times, bench)
    missed = [row.question for row in rows if row.met is False]
    verdict = f"Aimed at: {SECONDS_PER_GB} s of CPU for a GB, to seal and to read: "
    publish(table, verdict + ("missed" if missed else "met"), result, options.json, rows=rows)
    return 1 if missed and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
