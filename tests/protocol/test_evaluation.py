"""The digest of an evaluation: of every name, value and type, in whatever order they came."""

from __future__ import annotations

import hashlib

import pytest

from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.evaluation import evaluation_digest
from fedenclave.protocol.training_config import configuration


def test_it_is_of_one_table_in_the_spelling_of_a_configuration() -> None:
    metrics = {"loss": 0.5, "hits": [1, 2]}
    spelt = configuration({"metrics": metrics})
    plain = b"fedenclave/evaluation/v1\0" + spelt.to_bytes()
    assert evaluation_digest(metrics) == hashlib.sha256(plain).digest()
    # Not that of a configuration which says the same.
    assert evaluation_digest(metrics) != spelt.digest


def test_order_means_nothing_and_everything_else_something() -> None:
    same = [{"a": 1, "b": 2.0}, {"b": 2.0, "a": 1}]
    others = [{"a": 1}, {"a": 1, "b": 2}, {"a": 1.0, "b": 2.0}, {"a": [1], "b": 2.0}, {}]
    assert len({evaluation_digest(each) for each in same}) == 1
    assert len({evaluation_digest(each) for each in (same[0], *others)}) == 1 + len(others)


def test_what_is_no_metric_has_no_digest() -> None:
    with pytest.raises(MalformedMessage, match="'loss' is NoneType"):
        evaluation_digest({"loss": None})  # type: ignore[dict-item]
