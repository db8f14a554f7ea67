"""What an app returns is sealed if it is right; else nothing is sent, and why stays here."""

from __future__ import annotations

import numpy as np
import pytest
from flwr.app import (
    ConfigRecord,
    MetricRecord,
)

from fedenclave.host.aggregator import Aggregator
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Admission
from tests.flower.conftest import NO_UPDATE, add_node_number, development_grid, make_app, run


@pytest.mark.parametrize("examples", [0, -1, 2.5, float("nan")])
def test_bad_example_count_is_refused_at_the_client(
    examples: float, capsys: pytest.CaptureFixture[str]
) -> None:
    app = make_app(add_node_number, num_examples=examples)
    grid = development_grid(app)
    run(grid)
    assert "want a whole number from 1" in capsys.readouterr().err
    assert set(grid.errors) == {NO_UPDATE}
    assert not any(b"FEU1" in answer for answer in grid.answered)


def test_the_digest_of_the_data_is_in_the_log_and_nothing_else_of_its_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logs = []
    close = Aggregator.close

    def keep_log(aggregator: Aggregator) -> None:
        logs.append(aggregator._statements.statements())
        close(aggregator)

    monkeypatch.setattr(Aggregator, "close", keep_log)
    digest = b"\xff" * 32
    grid = development_grid(make_app(add_node_number, lineage=ConfigRecord({"data": digest})))
    run(grid)
    said = [Signed.from_bytes(signed) for signed in logs[0]]
    admissions = [Admission.from_bytes(each.payload) for each in said if each.type == "admission"]
    assert [admission.data for admission in admissions] == [digest] * 3
    assert grid.errors == []
    assert not any(b"fedenclave.lineage" in answer for answer in grid.answered)


@pytest.mark.parametrize(
    ("lineage", "match"),
    [
        (ConfigRecord({"data": b"short"}), "is not one entry data of 32 bytes"),
        (ConfigRecord({"data": b"d" * 33}), "is not one entry data of 32 bytes"),
        (ConfigRecord({"data": "d" * 32}), "is not one entry data of 32 bytes"),
        (ConfigRecord({"data": b"d" * 32, "more": 1}), "is not one entry data of 32 bytes"),
        (ConfigRecord({"digest": b"d" * 32}), "is not one entry data of 32 bytes"),
        (ConfigRecord(), "is not one entry data of 32 bytes"),
        (MetricRecord({"data": 1}), "is not one entry data of 32 bytes"),
        (ConfigRecord({"data": bytes(32)}), "32 zero bytes"),
    ],
)
def test_another_record_about_the_data_is_refused_at_the_client(
    lineage: object, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = development_grid(make_app(add_node_number, lineage=lineage))
    run(grid)
    said = capsys.readouterr().err
    assert match in said
    assert "hint: return" in said
    assert set(grid.errors) == {NO_UPDATE}
    assert not any(b"FEU1" in answer for answer in grid.answered)


def test_model_with_other_tensors_is_refused_at_the_client(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def step(node: int, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**arrays, "extra": np.zeros(2, dtype=np.float32)}

    grid = development_grid(make_app(step))
    run(grid)
    assert "does not fit the agreed one" in capsys.readouterr().err
    assert set(grid.errors) == {NO_UPDATE}


@pytest.mark.parametrize("examples", [2**64, 1e300])
def test_example_count_beyond_64_bits_is_refused_at_the_client(
    examples: float, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = development_grid(make_app(add_node_number, num_examples=float(examples)))
    run(grid)
    assert "want a whole number from 1" in capsys.readouterr().err
    assert set(grid.errors) == {NO_UPDATE}
    assert not any(b"FEU1" in answer for answer in grid.answered)
