"""The operator who changes a line: the copy runs, steals, and measures otherwise."""

from __future__ import annotations

import ast
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

import fedenclave
from fedenclave.demo.certificates import make_server_certificate
from fedenclave.demo.operator import SWAPPED_FILE, _configuration, change_a_line
from fedenclave.host.enclave_process import measure_enclave
from fedenclave.host.serve import read_config


def test_one_line_is_added_where_updates_are_open_and_the_measurement_changes(
    tmp_path: Path,
) -> None:
    folder = change_a_line(tmp_path)
    original = (Path(fedenclave.__file__).parent / SWAPPED_FILE).read_text().splitlines()
    changed = (folder / "fedenclave" / SWAPPED_FILE).read_text()
    added = [line for line in changed.splitlines() if line not in original]
    assert len(added) == 1
    assert "stolen-updates" in added[0]
    ast.parse(changed)
    assert len(changed.splitlines()) == len(original) + 1
    honest, swapped = (json.loads(measure_enclave(code)) for code in (None, folder))
    assert honest["measurement"] != swapped["measurement"]
    differing = {f for f in honest["files"] if honest["files"][f] != swapped["files"][f]}
    assert differing == {SWAPPED_FILE}


@pytest.mark.parametrize("name", ["plain", 'a "quoted" one', "back\\slash", "münchen \U0001f3e5"])
def test_the_aggregator_reads_the_operators_configuration_whatever_folders_are_called(
    tmp_path: Path, name: str
) -> None:
    federation = tmp_path / name
    folder = federation / "aggregator"
    tls = make_server_certificate(folder / "tls", now=datetime.now(UTC))
    text = _configuration(folder, federation, tls, "127.0.0.1:1", f"tpm:{federation}/socket")
    (folder / "aggregator.toml").write_text(text, encoding="utf-8")
    config = read_config(folder / "aggregator.toml")
    assert (config.folder, config.manifest) == (folder, federation / "federation.toml")
    assert config.tee == f"tpm:{federation}/socket"
    assert config.tls is not None
    assert config.tls.key == tls.private_key
