"""Of what an app writes, only what FedEnclave wrote goes on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from fedenclave.node.launcher import pass_on
from fedenclave.node.log_file import LogFile

WRITTEN = b"""patient 7: ill
error: evidence is refused
  File "x.py", line 3, in train
round 3: included; receipt kept
rounds of patients
hint: ask the operator\x1b[2J
"""


def test_an_apps_own_lines_stay_out_of_the_nodes_log(capsys: pytest.CaptureFixture[str]) -> None:
    pass_on(io.BytesIO(WRITTEN), None)
    assert capsys.readouterr().out.splitlines() == [
        "error: evidence is refused",
        "round 3: included; receipt kept",
        "hint: ask the operator\\x1b[2J",
    ]


def test_all_of_them_are_kept_where_the_owner_asked_for_it(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "app.log"
    pass_on(io.BytesIO(WRITTEN), LogFile(path))
    assert "patient 7: ill" in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_a_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", max_bytes=1000)
    for number in range(200):
        log.write(f"line {number}")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2200
    assert "line 199" in (tmp_path / "a.log").read_text()
