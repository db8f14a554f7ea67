"""The demonstration's folder: made, replaced if it is its own, and refused otherwise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fedenclave.demo.errors import DeploymentError
from fedenclave.demo.hospital import MARKER, prepare_folder


def test_only_what_a_demonstration_made_is_replaced(tmp_path: Path) -> None:
    said: list[str] = []

    def prepare(name: str) -> list[str]:
        prepare_folder(tmp_path / name, lambda step, why: said.append(why))
        return [path.name for path in (tmp_path / name).iterdir()]

    (tmp_path / "empty").mkdir()
    assert prepare("new") == prepare("empty") == [MARKER]
    assert not said
    (tmp_path / "new" / "left").write_text("x")
    assert prepare("new") == [MARKER]
    assert said == ["replacing what an earlier demonstration left in new"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("other", "file"):
        with pytest.raises(DeploymentError) as refused:
            prepare(name)
        assert "--folder" in refused.value.hint
    assert (tmp_path / "other" / "thesis.tex").read_text() == "x"


@pytest.mark.parametrize("name", ['it\'s "odd"', "two\nlines", "a:b", "\udcff", "it's a \\"])
def test_a_folder_that_a_program_could_not_read_is_refused_and_not_made(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(DeploymentError, match="folder is ") as refused:
        prepare_folder(tmp_path / name, lambda step, why: None)
    assert "name one without" in refused.value.hint
    assert not list(tmp_path.iterdir())


def test_a_demonstration_that_still_runs_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from fedenclave.demo.hospital import prepare_folder\n"
        "prepare_folder(Path(sys.argv[1]), lambda *_: None)\nprint('held', flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            (folder / "made").touch()
            with pytest.raises(DeploymentError, match=f"still runs in .*process {other.pid}"):
                prepare_folder(folder, lambda *_: None)
            assert (folder / "made").exists()
        finally:
            other.kill()
    # Once it has ended, however, it is; and by the process that has it, as often as it likes.
    for _ in range(2):
        prepare_folder(folder, lambda *_: None)
        assert not (folder / "made").exists()
