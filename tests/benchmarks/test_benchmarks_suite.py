"""The suite runs, and its report says what it must. How fast is not for a test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr")
pytest.importorskip("matplotlib")

from benchmarks import foreign, plots, report, robust, suite
from benchmarks.machine import NO_TEE
from benchmarks.rows import Row, as_json, from_json
from benchmarks.suite import Measured
from fedenclave.protocol.model import Model
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.simulation.federation import development_manifest
from tests.house.tree import ROOT

COMMAND = [sys.executable, "-m", "fedenclave.cli", "bench"]
PNG = b"\x89PNG\r\n"
MACHINE: dict[str, Any] = {
    "processor": "a processor",
    "cores": 2,
    "virtual": True,
    "memory_gib": 1.0,
    "python": "3.11",
    "versions": {"flwr": "1.41.0"},
    "time": "2026-01-01T00:00:00+0000",
    "load_before": 0.1,
    "load_after": 1.0,
}
FASTER = Row(
    question="who wins", unit="s", ours=1.0, peer_name="them", peer=4.0, ratio=4.0, at_least=3.0
)
LARGE = Row(question="how large", unit="MiB", ours=70.0, at_most=68.0, note="with everything")
ABSENT = Row(question="and they", unit="s", peer_name="others", note=foreign.NOT_MEASURED)


def bench(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def sections(*rows: Row) -> list[Measured]:
    return [Measured(section=suite.SECTIONS[0], rows=list(rows))]


def written(*rows: Row, quick: bool = False, load: float = 0.1) -> str:
    machine = {**MACHINE, "load_before": load}
    return report.markdown(sections(*rows), machine, [], quick=quick, repeat=5)


def test_a_quick_run_writes_tables_figures_and_plots(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    only = [word for name in ("throughput", "memory", "foreign") for word in ("--only", name)]
    done = bench("--quick", "--json", "--out", folder, *only)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads((folder / "report.json").read_text("utf-8"))
    assert [each["name"] for each in printed["sections"]] == ["throughput", "memory", "foreign"]
    assert printed["quick"] is True
    assert printed["machine"]["tee_hardware"] is False
    assert {"load_before", "load_after", "versions"} <= printed["machine"].keys()
    for section in printed["sections"]:
        assert section["failures"] == []
        assert section["rows"]
    for row in (row for section in printed["sections"][:2] for row in section["rows"]):
        assert row["ours"] > 0 or "between peaks" in row["question"]
        assert row["verdict"] in {"not judged", ""}
    text = (folder / "report.md").read_text("utf-8")
    assert NO_TEE in text
    assert report.QUICK in text
    assert f"warning: {report.QUICK}" in done.stderr
    for name in ("ratios", "memory"):
        assert (folder / f"{name}.png").read_bytes().startswith(PNG)
        assert f"({name}.png)" in text


@pytest.mark.parametrize("package", ["matplotlib", "flwr"])
def test_a_missing_package_is_named_before_anything_is_measured(
    tmp_path: Path, package: str
) -> None:
    # None in sys.modules is how Python marks a module that cannot be imported.
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules[{package!r}] = None\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = bench("--quick", "--out", tmp_path / "report", PYTHONPATH=path)
    assert done.returncode == 1
    assert f"error: the benchmarks need {package}, not installed here" in done.stderr
    assert "hint: pip install 'fedenclave[demo]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "report").exists()


def test_what_needs_the_tests_tools_is_left_out_where_they_are_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    section = next(each for each in suite.SECTIONS if each.name == "attestation")
    assert suite.why_left_out(section, quick=False, asked_for=False) == ""
    monkeypatch.setattr(suite, "find_spec", lambda name: None)
    said = suite.why_left_out(section, quick=False, asked_for=True)
    assert "needs pytest: make bench" in said


def test_an_unknown_benchmark_is_a_usage_error(tmp_path: Path) -> None:
    done = bench("--only", "nonsense", "--out", tmp_path / "report")
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def test_the_help_names_every_benchmark() -> None:
    words = bench("--help", COLUMNS="200").stdout.replace("│", " ").replace(",", " ").split()
    assert set(suite.NAMES) <= {word.rstrip(";") for word in words}


def test_a_folder_that_cannot_be_made_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = bench("--quick", "--out", tmp_path / "file" / "report")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_signal_ends_the_part_that_runs_and_leaves_no_files(tmp_path: Path) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    running = subprocess.Popen(
        [*COMMAND, "--only", "aggregation", "--out", tmp_path / "report"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(place.glob("bench-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 143
    assert list(place.iterdir()) == []


class LeftWhileWaiting(subprocess.Popen[bytes]):
    """A part; the first wait for it is when SIGTERM reaches us."""

    told = False

    def wait(self, timeout: float | None = None) -> int:
        if not self.told:
            self.told = True
            raise SystemExit(143)
        return super().wait(timeout)


def test_a_part_that_ignores_the_signal_is_killed_and_the_exit_status_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(suite, "GRACE_S", 0.1)
    deaf = "import signal as s; s.signal(s.SIGINT, s.SIG_IGN); print(flush=True); s.pause()"
    with LeftWhileWaiting([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"\n"
        with pytest.raises(SystemExit) as left:
            suite._wait(child)
        assert left.value.code == 143
        assert child.returncode == -signal.SIGKILL


def test_verdicts_follow_the_targets_and_quick_runs_have_none() -> None:
    text = written(FASTER, LARGE, ABSENT)
    assert "| who wins | 1 s | them: 4 s | 4.00× | ≥ 3× | met |" in text
    assert "| how large | 70 MiB |  |  | ≤ 68 MiB | missed |" in text
    assert f"| and they |  | others |  |  | {foreign.NOT_MEASURED} |" in text
    assert "how large: with everything." in text
    quick = written(FASTER, LARGE, quick=True)
    assert quick.count("| not judged |") == 2


def test_every_report_says_that_no_tee_was_there_and_whether_others_were_busy() -> None:
    assert NO_TEE in written()
    assert "Other programs were busy" not in written()
    assert "Other programs were busy" in written(load=3.0)


def test_a_failed_part_is_in_the_report() -> None:
    failed = Measured(section=suite.SECTIONS[0], failures=["--case 1 2: killed"])
    text = report.markdown([failed], MACHINE, [], quick=False, repeat=5)
    assert "failed: `--case 1 2: killed`" in text


def test_rows_survive_json() -> None:
    rows = [FASTER, LARGE, ABSENT]
    assert from_json(json.loads(json.dumps(as_json(rows)))) == rows


def test_plots_are_drawn_only_of_what_was_measured(tmp_path: Path) -> None:
    assert plots.draw(tmp_path, sections(LARGE, ABSENT), quick=False) == []
    drawn = plots.draw(tmp_path, sections(FASTER), quick=False)
    assert [file.name for file in drawn] == ["seconds.png", "ratios.png"]


def test_the_suite_names_every_rule_and_every_foreign_peer() -> None:
    assert suite.RULES == robust.NAMES
    assert tuple(foreign.PEERS) == suite.FOREIGN


@pytest.mark.parametrize("clients", [10, 51])
def test_every_rule_is_one_that_a_manifest_may_name(clients: int) -> None:
    first = {"parameters": robust.first_parameters(4)}
    schema = schema_of(first)
    model = Model(schema=schema, payload=bytes(pack(schema, first)))
    keys = {f"client-{i}": bytes([i]) * 32 for i in range(clients)}
    for rules in robust.rules_by_name(clients).values():
        development_manifest(model, keys, rules=rules, measurement="sha256:" + "00" * 32)


def test_foreign_peers_that_are_not_there_are_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(foreign, "run_peer", lambda: None)
    found = foreign.measure_peer("nvflare_mean", 3, 1000, 1)
    (row,) = foreign.rows_of(found)
    assert (row.ours, row.peer, row.note) == (None, None, "not measured: make bench-peers")


def test_a_foreign_peer_is_timed_before_and_after_us(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int, int, int]] = []

    def run(name: str, clients: int, parameters: int, repeat: int) -> dict[str, Any]:
        calls.append((name, clients, parameters, repeat))
        return {"seconds": {"arrived": [float(len(calls))] * repeat}}

    monkeypatch.setattr(foreign, "run_peer", lambda: run)
    monkeypatch.setattr(foreign, "_our_seconds", lambda *_: [0.5] * 4)
    found = foreign.measure_peer("openfl_mean", 3, 1000, 4)
    assert calls == [("openfl_mean", 3, 1000, 2)] * 2
    (row,) = foreign.rows_of(found)
    assert (row.ours, row.peer, row.ratio) == (0.5, 1.5, 3.0)
