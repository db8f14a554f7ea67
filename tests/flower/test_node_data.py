"""What an app reads its data by: what the node's owner named, and nothing that a server says."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("flwr")

from flwr.app import Context, RecordDict

from fedenclave.datasets.errors import DatasetDamaged, DatasetMissing
from fedenclave.datasets.lineage import Lineage
from fedenclave.datasets.lineage_file import read_lineage
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.node_data import NodeData
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import Options, seal
from fedenclave.flower import lineage_record, open_node_dataset, plain_file
from fedenclave.keys.keyring import create_keyring
from fedenclave.protocol.digests import sha256, to_text
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError
from tests.keys.conftest import CHEAP, PASSPHRASE


def context(settings: dict[str, str | bool]) -> Context:
    # As it came from Flower: what the server says is in run_config.
    told = {"data-path": "/server/says.csv", "fedenclave-plain-text": True}
    return Context(
        run_id=1, node_id=1, node_config=dict(settings), state=RecordDict(), run_config=told
    )


@pytest.fixture
def data(tmp_path: Path) -> NodeData:
    ring = create_keyring(tmp_path / "ring", PASSPHRASE, cost=CHEAP)
    ring.create("node")
    (tmp_path / "passphrase").write_bytes(PASSPHRASE)
    (tmp_path / "passphrase").chmod(0o600)
    (tmp_path / "rows.csv").write_text("1,2\n")
    options = Options(clock=lambda: 1000.0)
    head = seal(
        LocalFiles(tmp_path / "rows.csv"), LocalStore(tmp_path / "sealed"), ring, "node", options
    )
    (tmp_path / "rows.csv").unlink()
    return NodeData(
        dataset="sealed",
        keys="keyring:ring",
        passphrase_file="passphrase",
        digest=to_text(head.digest),
    ).below(tmp_path)


def test_the_named_dataset_is_read_without_a_plaintext_file(data: NodeData, tmp_path: Path) -> None:
    before = {path.name for path in tmp_path.rglob("*")}
    with open_node_dataset(context(data.settings())) as dataset:
        assert dataset is not None
        assert bytes(dataset.read("rows.csv")) == b"1,2\n"
    assert {path.name for path in tmp_path.rglob("*")} - before <= {"ring.audit.jsonl"}


def test_without_a_name_there_is_none_whatever_the_server_says() -> None:
    with open_node_dataset(context({})) as dataset:
        assert dataset is None
    assert plain_file(context({})) is None


def test_plain_text_is_read_only_where_the_owner_said_so() -> None:
    named = {"data-path": "/ward.csv"}
    with pytest.raises(ConfigurationError, match="not allowed") as refused:
        plain_file(context(named))
    assert "plain-text = true" in refused.value.hint
    allowed = NodeData(plain_text=True).settings()
    assert plain_file(context(named | allowed)) == Path("/ward.csv")
    # Only true is: what is said in any other way allows nothing.
    for wrong in ("true", 1, "false", False):
        with pytest.raises(ConfigurationError, match="not allowed"):
            plain_file(context(named | {"fedenclave-plain-text": wrong}))


def test_another_state_of_the_dataset_is_not_read(data: NodeData) -> None:
    other = data.settings() | {"fedenclave-dataset-digest": to_text(sha256(b"newer"))}
    with (
        pytest.raises(DatasetDamaged, match="want sha256"),
        open_node_dataset(context(other)),
    ):
        pytest.fail("an older state was read")


def test_what_is_missing_or_wrong_is_one_of_our_errors(data: NodeData, tmp_path: Path) -> None:
    right = data.settings()
    for key, value, error in (
        ("fedenclave-dataset", str(tmp_path / "none"), DatasetMissing),
        ("fedenclave-dataset", 5, ConfigurationError),
        ("fedenclave-keys", f"keyring:{tmp_path / 'none'}", ConfigurationError),
        ("fedenclave-keys", "", ConfigurationError),
        ("fedenclave-keys", str(tmp_path / "ring"), ConfigurationError),
        ("fedenclave-passphrase-file", "", ConfigurationError),
        ("fedenclave-passphrase-file", str(tmp_path / "none"), ConfigurationError),
        ("fedenclave-dataset-digest", "sha256:0", ConfigurationError),
        ("fedenclave-dataset", "", ConfigurationError),
    ):
        with pytest.raises(error), open_node_dataset(context(right | {key: value})):  # type: ignore[dict-item]
            pytest.fail(f"{key} = {value} was taken")
    (tmp_path / "passphrase").write_bytes(b"another")
    with pytest.raises(FedEnclaveError, match="passphrase") as refused:
        NodeData.of_settings(right).open()
    assert "another" not in str(refused.value)


def test_what_the_record_stands_for_is_kept_on_the_node_once(tmp_path: Path) -> None:
    lineage = Lineage.of(sha256(b"data")).then("scale", divisor=255)
    here = context({"fedenclave-dir": str(tmp_path)})
    for _ in range(2):
        assert lineage_record(here, lineage)["data"] == lineage.digest
    (file,) = (tmp_path / "lineage").iterdir()
    assert file.stem == lineage.digest.hex()
    assert file.stat().st_mode & 0o077 == 0
    assert read_lineage(file).digest_from(sha256(b"data")) == lineage.digest
    # In a simulation there is no folder to keep it in.
    assert lineage_record(context({}), lineage)["data"] == lineage.digest
