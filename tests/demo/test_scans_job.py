"""`fedenclave demo scans` from end to end. Slow: it trains."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'fedenclave[demo]'")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

FEDENCLAVE = [sys.executable, "-m", "fedenclave.cli"]


def test_pictures_are_sealed_trained_on_compared_and_receipted(tmp_path: Path) -> None:
    folder = tmp_path / "a demo"
    words = ["demo", "scans", "--seeds", "1", "--data", "made-up", "--json"]
    done = subprocess.run(
        [*FEDENCLAVE, *words, "--folder", str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["holds"], result["insecure"]) == (True, True)
    assert result["images"] == "made-up images"
    assert "made-up images" in (folder / "README.txt").read_text()
    rounds = result["results"]["setting"]["rounds"]
    for name in ("north", "south", "west"):
        assert [each["round"] for each in result["receipts"][name]] == list(range(1, rounds + 1))
        assert {each["data"] for each in result["receipts"][name]} == {
            result["results"]["data"][0][name]
        }
    # Far above a guess, which is .1: everybody has trained.
    for method in ("local", "federated", "pooled"):
        assert result["results"]["accuracy"][method]["all pictures"]["mean"] > 0.3
    # No picture lies there in plain text.
    assert not list(folder.rglob("*.png"))
    assert not [p for p in folder.rglob("*") if p.is_file() and b"\x89PNG" in p.read_bytes()]
    north = folder / "seed-0" / "north"
    verify = ["receipts", "verify", str(north), "--manifest", str(north.parent / "federation.toml")]
    assert subprocess.run([*FEDENCLAVE, *verify], capture_output=True, check=False).returncode == 0
    keys = ["--keyring", str(north / "keyring")]
    keys += ["--passphrase-file", str(north / "keyring.passphrase")]
    listed = subprocess.run(
        [*FEDENCLAVE, "data", "open", str(north / "sealed"), *keys, "--json"],
        capture_output=True,
        check=True,
    )
    assert len(json.loads(listed.stdout)["files"]) == 1000
