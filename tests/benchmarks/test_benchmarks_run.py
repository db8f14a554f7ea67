"""The benchmarks run, and their JSON says what README.md says. How fast is not for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flwr")

from benchmarks import (
    aggregation,
    attestation,
    data_at_rest,
    log,
    memory,
    receipts,
    robust,
    sealing,
    synthetic_log,
    throughput,
)

pytestmark = pytest.mark.filterwarnings("default")


def figures(file: Path) -> dict[str, Any]:
    """Return the JSON that a benchmark wrote, after a look at what every one says."""
    result = json.loads(file.read_text("utf-8"))
    machine = result["machine"]
    assert machine["cores"] >= 1
    assert machine["tee_hardware"] is False
    assert {"load_before", "load_after", "processor", "time"} <= machine.keys()
    assert {"flwr", "numpy", "cryptography"} <= machine["versions"].keys()
    return result


def test_aggregation_times_both_ways_to_the_same_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "aggregation.json"
    assert aggregation.main(["--quick", "--json", str(file)]) == 0
    (case,) = figures(file)["cases"]
    assert (case["clients"], case["parameters"]) == aggregation.QUICK_CASES[0]
    for key in ("arrive", "close", "total", "relayed", "plain", "plain_inflated"):
        assert len(case[key]) == 1
        assert case[key][0] > 0
    assert case["total"][0] == pytest.approx(case["arrive"][0] + case["close"][0])
    assert case["times_as_fast"] == pytest.approx(case["plain"][0] / case["total"][0])
    assert case["times_as_fast_at_the_end"] > case["times_as_fast"]
    assert "No TEE hardware" in capsys.readouterr().out


def test_memory_is_that_of_the_enclave_for_each_cohort(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    assert memory.main(["--quick", "--json", str(file)]) == 0
    result = figures(file)
    (found,) = result["rules"]
    assert [cohort["clients"] for cohort in found["cohorts"]] == list(memory.QUICK_COHORTS)
    assert all(0 < cohort["resident"] <= cohort["peak"] for cohort in found["cohorts"])
    assert found["flat"] is True


def test_sealing_adds_next_to_nothing_to_the_wire(tmp_path: Path) -> None:
    file = tmp_path / "sealing.json"
    assert sealing.main(["--quick", "--json", str(file)]) == 0
    result = figures(file)
    for key in ("seal", "client", "admit", "flower_objects", "flower_serialise", "flower_parse"):
        assert result[key]["gigabytes_per_second"] > 0
    assert 1 < result["wire"] <= sealing.WIRE_LIMIT


def test_data_at_rest_times_every_way(tmp_path: Path) -> None:
    file = tmp_path / "data.json"
    assert data_at_rest.main(["--quick", "--json", str(file)]) == 0
    ways = figures(file)["ways"]
    assert {"seal", "copy", "read", "read plain", "random rows"} <= ways.keys()
    assert all(way["gigabytes_per_cpu_second"] > 0 for way in ways.values())


def test_robust_rules_give_flowers_models(tmp_path: Path) -> None:
    file = tmp_path / "robust.json"
    assert robust.main(["--quick", "--json", str(file)]) == 0
    found = {each["rule"]: each for each in figures(file)["rules"]}
    assert tuple(found) == robust.QUICK_RULES
    assert found["median"]["same_model"] is True
    for each in found.values():
        assert each["flower_arrived"][0] > each["flower_inflated"][0] > 0


def test_the_enclave_is_timed_beside_decryption_alone(tmp_path: Path) -> None:
    file = tmp_path / "throughput.json"
    assert throughput.main(["--quick", "--json", str(file)]) == 0
    (case,) = figures(file)["cases"]
    gigabytes = 4 * case["clients"] * case["parameters"] / 1e9
    for way, seconds in case["seconds"].items():
        assert case["gigabytes_per_second"][way] == pytest.approx(gigabytes / seconds[0])


def test_judging_evidence_is_timed_for_every_format_at_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "attestation.json"
    assert attestation.main(["--quick", "--json", str(file)]) == 0
    result = figures(file)
    assert {"sgx", "tdx", "sev-snp"} <= result["formats"].keys()
    assert all(found["milliseconds"] > 0 for found in result["formats"].values())
    assert result["cohort"]["tree"] > 0
    assert "100 clients, one piece of evidence" in capsys.readouterr().out


def test_a_whole_log_is_timed_by_the_command_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "log.json"
    assert log.main(["--quick", "--json", str(file)]) == 0
    result = figures(file)
    found = result["log"]
    # A start, and rounds of an announcement, a rejection, admissions and an end.
    assert found["entries"] == 1 + 3 * found["rounds"] + found["admissions"]
    assert found["entries"] >= log.QUICK_EVENTS
    assert found["aborts"] == found["rounds"] // synthetic_log.ABORTED_EVERY
    assert found["ways"].keys() == {"all", "checkpoints"}
    assert all(way["seconds"] > 0 < way["mib"] for way in found["ways"].values())
    assert all(row["met"] is None for row in result["rows"])
    assert "this log is shorter" in capsys.readouterr().out


def test_receipts_are_timed_alone_in_a_folder_and_as_they_are_made(tmp_path: Path) -> None:
    file = tmp_path / "receipts.json"
    assert receipts.main(["--quick", "--json", str(file)]) == 0
    result = figures(file)
    development = result["development"]
    assert development["receipts"] == receipts.QUICK_ROUNDS * receipts.QUICK_CLIENTS
    keys = ("alone_ms", "folder_ms", "command_ms", "made_a_second")
    assert all(development[key] > 0 for key in keys)
    assert len(result["rows"]) >= len(keys)
