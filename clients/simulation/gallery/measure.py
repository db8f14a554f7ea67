"""Run the gallery: `python -m gallery.measure --out DIR`.

Every federation is run with the full protocol, several side by side in processes of their own. What
is printed is for a program: one JSON object a line. The first says what is to be done ("planned",
"seconds", "images"), then "done" counts the federations, and the last has "results" and "files".

Writes results.json, attacks.png and minority.png into DIR.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from pathlib import Path
from typing import Any

from gallery.experiment import Job, Result, jobs, prepare, run_job
from gallery.images import GalleryError
from gallery.settings import FULL, QUICK, Setting
from gallery.summary import summarise

RESULTS = "results.json"

# Of one core: to start an enclave, and a round of ten clients. Then what comes before and after.
_START_SECONDS, _ROUND_SECONDS, _AROUND_SECONDS = 0.75, 0.12, 5
# Set before a process loads numpy: the matrices are small, and a second thread only waits.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def seconds(setting: Setting, planned: Sequence[Job], workers: int) -> float:
    """Return roughly how long it takes."""
    rounds = sum(setting.minority_rounds if job.minority else setting.rounds for job in planned)
    busy = len(planned) * _START_SECONDS + rounds * _ROUND_SECONDS
    return busy / workers + _AROUND_SECONDS


def run_all(
    source: str, setting: Setting, planned: Sequence[Job], workers: int
) -> Iterator[Result]:
    """Run every federation, and yield results as they come.

    Raises:
        GalleryError: one cannot be run; the others that were begun are finished.
    """
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        waiting = [pool.submit(run_job, source, setting, job) for job in planned]
        for done in as_completed(waiting):
            yield done.result()
    finally:
        # Not `with pool`, which would take back that the others are cancelled.
        pool.shutdown(wait=True, cancel_futures=True)


def measure(source: str, setting: Setting, seeds: int, out: Path) -> None:
    """Run, write the files, and print a line for each step.

    Raises:
        GalleryError: a federation cannot be run, or `out` cannot be written.
    """
    planned, workers = jobs(setting, range(seeds)), len(os.sched_getaffinity(0))
    images = prepare(source, setting, 0, minority=False).images
    try:
        out.mkdir(parents=True, exist_ok=True)
        # Now, and not after minutes.
        (out / RESULTS).write_text("", encoding="utf-8")
    except OSError as error:
        raise GalleryError(f"{out} cannot be written: {error.strerror}") from error
    _say(
        {
            "planned": len(planned),
            "seconds": seconds(setting, planned, workers),
            "images": images.name,
        }
    )
    results = []
    with closing(run_all(source, setting, planned, workers)) as running:
        for result in running:
            results.append(result)
            _say({"done": len(results)})
    summary = summarise(results, setting, images=images.name, seeds=seeds)
    _say({"results": summary, "files": [str(path) for path in write(summary, out)]})


def write(summary: Mapping[str, Any], out: Path) -> list[Path]:
    """Write the figures and what they show, and return the files."""
    # Here, for only this process needs it: what runs a federation does not load matplotlib.
    from gallery.plot import draw_attacks, draw_minority

    data, attacks, minority = (out / name for name in (RESULTS, "attacks.png", "minority.png"))
    data.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    draw_attacks(summary, attacks)
    draw_minority(summary, minority)
    return [data, attacks, minority]


def _say(line: Mapping[str, object]) -> None:
    print(json.dumps(line), flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the attack gallery."""
    parser = argparse.ArgumentParser(prog="gallery.measure", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="two rules, few rounds")
    parser.add_argument("--data", default="", help="a folder of Fashion-MNIST's files, or made-up")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}, want at least 1")
    # As at an interrupt: workers end with their pool, and every enclave with its worker.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        measure(options.data, QUICK if options.quick else FULL, options.seeds, options.out)
    except GalleryError as error:
        print(f"error: {error.message}\nhint: {error.hint}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
