"""Models and the optimiser's state on the host's disk: which files count, and what they hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fedenclave.attack_suite.world import FIRST, payload_of
from fedenclave.host.model_files import ModelFiles
from fedenclave.host.optimiser_files import OptimiserFiles
from fedenclave.protocol.aggregation import Adam
from fedenclave.protocol.model import Model
from tests.enclave.shards import manifest_of
from tests.enclave.test_resume import ADAM


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def filled(models: ModelFiles, round_: int, value: float) -> None:
    at = len(models.head)
    models.write(round_, lambda file: os.pwrite(file, payload_of(value), at))


def newest(models: ModelFiles) -> bytes:
    return bytes(Model.from_bytes(models.newest.read_bytes()).payload)


def test_a_model_is_whole_whatever_was_left_where_it_is_written(tmp_path: Path) -> None:
    models = ModelFiles(tmp_path, FIRST, flushed=False)
    models.begin(FIRST)
    (tmp_path / "next.partial").write_bytes(b"x" * 2 * len(FIRST.to_bytes()))
    filled(models, 1, 1.0)
    assert newest(models) == payload_of(1.0)
    filled(models, 2, 2.0)
    assert newest(models) == payload_of(2.0)
    assert ModelFiles(tmp_path, FIRST, flushed=False).round == 2
    assert files(tmp_path) == {"round-1.fem", "round-2.fem"}


def test_a_model_that_could_not_be_written_leaves_the_newest(tmp_path: Path) -> None:
    def failing(_: int) -> None:
        raise OSError(28, "No space left on device")

    models = ModelFiles(tmp_path, FIRST, flushed=False)
    models.begin(FIRST)
    filled(models, 1, 1.0)
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            models.write(2, failing)
        assert (models.round, newest(models)) == (1, payload_of(1.0))
        assert ModelFiles(tmp_path, FIRST, flushed=False).round == 1
    filled(models, 2, 2.0)
    assert newest(models) == payload_of(2.0)


def test_a_new_federation_takes_no_model_of_an_earlier_one_for_its_newest(tmp_path: Path) -> None:
    models = ModelFiles(tmp_path, FIRST, flushed=False)
    models.begin(FIRST)
    filled(models, 7, 1.0)
    models.begin(FIRST)
    for opened in (models, ModelFiles(tmp_path, FIRST, flushed=False)):
        assert (opened.round, newest(opened)) == (0, bytes(FIRST.payload))


def test_a_file_of_somebody_elses_is_no_model(tmp_path: Path) -> None:
    names = {"round-.fem", "round-x.fem", "round-²3.fem", "round-12 (copy).fem"}
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    models = ModelFiles(tmp_path, FIRST, flushed=False)
    assert models.round == 0
    models.begin(FIRST)
    filled(models, 1, 1.0)
    assert names < files(tmp_path)


def test_the_optimisers_newest_two_states_are_kept_and_to_promote_again_changes_nothing(
    tmp_path: Path,
) -> None:
    assert isinstance(ADAM.server, Adam)
    states = OptimiserFiles(tmp_path, manifest_of(ADAM).source)
    for round_ in range(1, 4):
        with states.opened(round_ - 1) as (_, new):
            os.pwrite(new, b"%d" % round_, 0)
        for _ in range(2):
            states.promote(round_, round_ - 1, flushed=False)
            kept = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
            assert kept == {
                f"round-{n}.sealed": b"%d" % n if n else b"" for n in (round_ - 1, round_)
            }
