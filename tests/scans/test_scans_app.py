"""The app in rounds with a real enclave, on three hospitals' sealed pictures; and compared."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[demo]'")

import torch
from flwr.app import Context, RecordDict

from fedenclave.attestation.endorsements import NO_ENDORSEMENTS
from fedenclave.audit.folder import judge_files
from fedenclave.node.bundle import read_app
from fedenclave.node.inspection import inspect
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.statements import NO_DATA
from scans import client_app, measure, server_app
from scans.initial_model import initial_arrays
from scans.training import Setting, accuracy, arrays_of, network, train
from tests.flower.memory_grid import MemoryGrid
from tests.scans.conftest import sealed, write_pictures

APP = Path(__file__).parents[2] / "clients" / "scans"
NAMES = ("north", "south", "west")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def hospitals(tmp_path: Path) -> Path:
    folder = tmp_path / "seed-0"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        sealed(folder / name, write_pictures(tmp_path / "plain" / name, seed=number))
    return folder


@pytest.mark.parametrize("module", ["scans.client_app", "scans.server_app"])
def test_importing_the_app_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([n for n in ('torch', 'PIL', 'ray') if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=APP, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_an_owner_can_approve_it_and_nothing_of_ours_is_pointed_at() -> None:
    seen = inspect(read_app(APP), None)
    assert seen.objections == ()
    client_side = ("client_app.py", "holdings.py", "training.py", "initial_model.py")
    assert not [each for each in seen.notices if each.file.endswith(client_side)]
    assert not [name for name in seen.bundle.files if "data" in name]


def test_the_first_model_is_the_networks_and_is_fixed() -> None:
    first = initial_arrays(3)
    assert {n: a.shape for n, a in arrays_of(network(first)).items()} == {
        n: a.shape for n, a in first.items()
    }
    assert all(np.array_equal(first[n], initial_arrays(3)[n]) for n in first)
    assert not np.array_equal(first["last.weight"], initial_arrays(4)["last.weight"])


def test_training_learns_depends_on_its_arguments_alone_and_leaves_them(hospitals: Path) -> None:
    setting = Setting(epochs=12, batch_size=16, learning_rate=0.01)
    with measure.ExitStack() as stack:
        held = measure.hospitals_in(hospitals, stack)["north"]
        first = initial_arrays(0)
        once, again = (train(first, held.parts["train"], setting, seed=1) for _ in range(2))
        other = train(first, held.parts["train"], setting, seed=2)
        before, after = (accuracy(each, held.parts["train"]) for each in (first, once))
        assert before < 0.6 < 0.85 < after
    assert all(np.array_equal(once[n], again[n]) for n in once)
    assert not np.array_equal(once["last.weight"], other["last.weight"])
    assert np.array_equal(first["last.weight"], initial_arrays(0)["last.weight"])


def test_rounds_through_the_mod_train_on_sealed_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = {}
    for number, name in enumerate(NAMES, start=11):
        data = sealed(tmp_path / name, write_pictures(tmp_path / f"{name}-plain", number))
        nodes[number] = {"fedenclave-insecure": True, **data.settings()}
    config = {
        "num-server-rounds": 2,
        "min-hospitals": 3,
        "local-epochs": 1,
        "batch-size": 16,
        "learning-rate": 0.01,
        "seed": 0,
        "aggregator": "",
        "root-certificate": "",
    }
    grid = MemoryGrid(client_app.app, nodes)
    for context in grid.contexts.values():
        context.run_config = dict(config)
    server = Context(
        run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=dict(config)
    )
    monkeypatch.setattr("flwr.serverapp.strategy.strategy.time.sleep", lambda _: None)
    server_app.main(grid, server)
    assert grid.errors == []
    assert capsys.readouterr().err.count("included; receipt kept") >= 6
    assert not any(b"fedenclave.lineage" in answer for answer in grid.answered)


def test_a_node_without_a_sealed_dataset_trains_on_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    context = Context(
        run_id=1,
        node_id=1,
        node_config={"data-path": "/ward", "fedenclave-plain-text": True},
        state=RecordDict(),
        run_config={"local-epochs": 1, "batch-size": 1, "learning-rate": 0.1, "seed": 0},
    )
    from flwr.app import ArrayRecord, ConfigRecord, Message
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    content = RecordDict({"arrays": ArrayRecord(), "config": ConfigRecord({"server-round": 1})})
    message = Message(content, dst_node_id=1, message_type="train")
    with pytest.raises(RuntimeError, match="could not be read"):
        client_app.train(message, context)


def test_the_comparison_is_of_equals_and_every_update_has_its_receipt(
    hospitals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "ROUNDS", 2)
    done: list[int] = []
    scores, named = measure.compare(hospitals, 0, lambda: done.append(1))
    assert len(done) == 2 * (len(NAMES) + 2)
    assert set(scores) == set(measure.METHODS)
    for method in measure.METHODS:
        assert set(scores[method]) == {*NAMES, measure.ALL}
        assert all(0 <= value <= 1 for value in scores[method].values())
    manifest = Manifest.from_bytes((hospitals / "federation.toml").read_bytes())
    assert len(set(named.values())) == len(NAMES)
    for name in NAMES:
        files = sorted((hospitals / name / "receipts").glob("*.receipt"))
        judged = judge_files(files, manifest, NO_ENDORSEMENTS)
        receipts = [each.verified for each in judged if each.verified is not None]
        assert [receipt.round for receipt in receipts] == [1, 2]
        assert NO_DATA not in [receipt.data for receipt in receipts]
        assert {f"sha256:{receipt.data.hex()}" for receipt in receipts} == {named[name]}


def test_the_best_pass_is_chosen_by_validation_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([0.5, 0.9, 0.7])
    passes = iter([{"pass": 1}, {"pass": 2}, {"pass": 3}])
    monkeypatch.setattr(measure, "ROUNDS", 3)
    monkeypatch.setattr(measure, "train", lambda *_: next(passes))
    monkeypatch.setattr(measure, "accuracy", lambda *_: next(found))
    assert measure.best([], [], 0, lambda: None) == {"pass": 2}  # type: ignore[arg-type]


def test_means_spreads_and_wins_are_what_they_say() -> None:
    def scores(local: float, together: float) -> dict[str, dict[str, float]]:
        return {"local": {"a": local}, "federated": {"a": together}, "pooled": {"a": 1.0}}

    summary = measure.summarise([scores(0.5, 0.7), scores(0.7, 0.7)])
    assert summary["accuracy"]["federated"]["a"] == {"mean": 0.7, "std": 0.0}
    assert summary["accuracy"]["local"]["a"]["mean"] == pytest.approx(0.6)
    assert summary["accuracy"]["local"]["a"]["std"] == pytest.approx(0.1414, abs=1e-4)
    # A tie is no win.
    assert summary["federated_above_local"] == {"a": 1}
