"""The operator who changes a line: the copy runs, steals, and measures otherwise."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import fedenclave
from fedenclave.demo.operator import SWAPPED_FILE, change_a_line
from fedenclave.host.enclave_process import measure_enclave


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
