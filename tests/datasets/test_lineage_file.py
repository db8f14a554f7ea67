"""A kept lineage: comes back as it was, says what its stages give, and is read strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.datasets.contents import contents_digest
from fedenclave.datasets.lineage import Lineage, Parameter
from fedenclave.datasets.lineage_file import KeptLineage, read_lineage
from fedenclave.datasets.source import LocalFiles
from fedenclave.keys.keyring import Keyring
from fedenclave.protocol.digests import sha256
from fedenclave.protocol.errors import ConfigurationError
from tests.datasets.conftest import opened

DATASET = sha256(b"data")
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
PLAIN |= st.binary(max_size=5)
PARAMETER = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


def kept_in(path: Path, lineage: Lineage) -> Path:
    path.write_bytes(KeptLineage.of(lineage).to_json())
    return path


@given(parameters=st.dictionaries(st.text(max_size=5), PARAMETER, max_size=4))
def test_a_lineage_comes_back_from_its_file(
    tmp_path_factory: pytest.TempPathFactory, parameters: dict[str, Parameter]
) -> None:
    lineage = Lineage.of(DATASET).then("first").then("second", parameters=parameters)
    path = kept_in(tmp_path_factory.getbasetemp() / "kept.json", lineage)
    kept = read_lineage(path)
    assert kept == KeptLineage.of(lineage)
    assert kept.digest_from(DATASET) == lineage.digest == kept.digest
    assert kept.digest_from(sha256(b"other")) != lineage.digest


def test_a_lineage_of_several_datasets_is_not_kept() -> None:
    with pytest.raises(ValueError, match="want one dataset"):
        KeptLineage.of(Lineage.of(DATASET, DATASET))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "fedenclave-lineage-2"},
        {"more": 1},
        {"salt": "00"},
        {"salt": 5},
        {"dataset": "sha256:00"},
        {"stages": [{"stage": "a"}]},
        {"stages": [{"stage": 1, "parameters": {}}]},
        {"stages": [{"stage": "a", "parameters": {}, "more": 1}]},
        {"stages": [{"stage": "a", "parameters": {"x": 1}}]},
        {"stages": [{"stage": "a", "parameters": {"x": ["int", 1]}}]},
        {"stages": [{"stage": "a", "parameters": {"x": ["what", "1"]}}]},
        {"stages": [{"stage": "a", "parameters": {"x": ["bytes", "0"]}}]},
        {"stages": 3},
    ],
)
def test_a_file_that_is_no_lineage_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    path = kept_in(tmp_path / "kept.json", Lineage.of(DATASET).then("a", x=1))
    read_lineage(path)
    path.write_text(json.dumps(json.loads(path.read_bytes()) | change))
    with pytest.raises(ConfigurationError, match="is no lineage file") as refused:
        read_lineage(path)
    assert refused.value.hint


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(data)
    with pytest.raises(ConfigurationError, match="is no lineage file"):
        read_lineage(path)


def test_a_parameter_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = kept_in(tmp_path / "kept.json", Lineage.of(DATASET))
    deep: list[object] = ["int", "1"]
    for _ in range(20):
        deep = ["list", [deep]]
    stage = {"stage": "a", "parameters": {"x": deep}}
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"stages": [stage]}))
    with pytest.raises(ConfigurationError, match="is no lineage file"):
        read_lineage(path)


def test_the_data_and_the_salt_give_the_digest_of_the_sealed_dataset(
    sealed: Path, plain: Path, ring: Keyring
) -> None:
    with opened(sealed, ring) as dataset:
        digest, salt = dataset.digest, dataset.salt
    assert contents_digest(LocalFiles(plain), salt) == digest
    assert contents_digest(LocalFiles(plain), bytes(32)) != digest
