"""The aggregator's own files: what cannot be used is said, and a refusal loses no model."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from fedenclave.host.aggregator import Aggregator
from fedenclave.host.enclave_process import EnclaveDied, EnclaveProcess
from fedenclave.host.store import CiphertextStore
from fedenclave.protocol.errors import ConfigurationError, Refusal, RequestRefused
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import Arrays, SimulatedFederation
from tests.host.test_tee import aggregator


def train(_: str, arrays: Arrays) -> tuple[Arrays, int]:
    return {name: array + np.float32(1) for name, array in arrays.items()}, 10


def models(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "models").iterdir()}


def refused_close(made: Aggregator, cohort: list[str]) -> None:
    made.open_round(cohort, NO_TRAINING_CONFIG)
    with pytest.raises(RequestRefused) as refused:
        made.close_round()
    assert refused.value.refusal is Refusal.COHORT_TOO_SMALL
    made.abort_round()


def test_a_refused_close_leaves_both_models_as_they_were(tmp_path: Path) -> None:
    first: Arrays = {"w": np.zeros(1000, np.float32)}
    with SimulatedFederation.create(first, clients=3, folder=tmp_path) as federation:
        for _ in range(2):
            federation.run_round(train)
        before = models(tmp_path)
        assert set(before) == {"round-1.fem", "round-2.fem"}
        refused_close(federation.aggregator, list(federation.sessions))
        assert models(tmp_path) == before
        # And the file that was spared is written over once there is something to write.
        federation.run_round(train)
        after = models(tmp_path)
        assert set(after) == {"round-2.fem", "round-4.fem"}
        assert after["round-2.fem"] == before["round-2.fem"]


def is_free(folder: Path) -> bool:
    CiphertextStore(folder / "ciphertext", 1 << 20).close()
    return True


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_a_log_that_cannot_be_written_is_an_error_and_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "enclave.log").mkdir()
    before = open_files()
    with pytest.raises(ConfigurationError, match=r"cannot write .*enclave\.log: Is a directory"):
        aggregator(tmp_path, "insecure")
    assert open_files() == before
    assert is_free(tmp_path)


def test_a_model_that_cannot_be_written_leaves_the_store_to_others(tmp_path: Path) -> None:
    (tmp_path / "models" / "round-0.fem").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"cannot use folder .*: Is a directory"):
        aggregator(tmp_path, "insecure")
    assert is_free(tmp_path)


def test_a_process_that_cannot_be_started_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", no_more)
    before = open_files()
    with pytest.raises(EnclaveDied, match="cannot be started: Resource temporarily"):
        EnclaveProcess(tee="insecure", log=tmp_path / "log")
    assert open_files() == before
