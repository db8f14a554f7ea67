"""T11: what the ServerApp's own evaluation returns is worth no run, whatever it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

from flwr.app import ArrayRecord

from fedenclave.flower.evaluations import logged


class Aggregator:
    """Logs anything."""

    def evaluated(self, digest: bytes) -> bytes:
        return digest


@pytest.mark.parametrize(
    "found",
    [
        {0: 0.9, 1: 0.8, "mean": 0.85},  # by class
        {0: np.float32(0.9)},
        {None: 1.0},
    ],
    ids=str,
)
def test_an_evaluation_with_odd_names_ends_no_run(found: Any) -> None:
    """Flower itself takes any of them; here the run ends in a traceback, behind the release."""
    evaluate = logged(lambda *_: found, lambda: Aggregator())  # type: ignore[arg-type,return-value]
    assert evaluate(1, ArrayRecord()) is found
