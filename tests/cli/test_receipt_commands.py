"""Receipts on disk: a real round through client folders, then the auditor's commands."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.client.folder import ClientFolder
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.errors import EnclaveRefused
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.model import Model
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.cli.bank_rounds import aggregator_of, folders_of, one_round
from tests.cli.conftest import BANKS, Command, copied


def run_round(federation: Path) -> None:
    """Run one round of the three banks with an enclave of its own."""
    folders = folders_of(federation)
    with aggregator_of(federation) as aggregator:
        one_round(RoundCoordinator(aggregator, send_manifest=False), folders, aggregator.model())


@pytest.fixture(scope="module")
def finished_once(approved_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder after one round. For copies: see `finished`."""
    folder = copied(approved_once, tmp_path_factory.mktemp("finished"))
    run_round(folder)
    return folder


@pytest.fixture
def finished(tmp_path: Path, finished_once: Path) -> Path:
    """Return the folder after one round."""
    return copied(finished_once, tmp_path)


def test_receipts_verify_from_the_client_folder(finished: Path, fedenclave: Command) -> None:
    done = fedenclave("receipts", "verify", finished / "alpha", "--json")
    assert done.status == 0
    (receipt,) = json.loads(done.out)["receipts"]
    assert receipt["verdict"] == "included"
    assert receipt["organisations"] == list(BANKS)
    assert receipt["insecure"] is True
    assert "insecure:" in done.err


def test_auditor_verifies_the_evidence_of_a_receipt_by_itself(
    finished: Path, fedenclave: Command
) -> None:
    (path,) = (finished / "alpha" / "receipts").iterdir()
    evidence = finished / "evidence.cbor"
    evidence.write_bytes(Receipt.from_bytes(path.read_bytes()).participation.evidence)
    listed = json.loads(fedenclave("receipts", "list", finished / "alpha", "--json").out)
    words = ["attest", "verify", evidence, "--policy", finished / "federation.toml", "--nonce"]
    assert fedenclave(*words, listed[0]["nonce_root"]).status == 0
    assert fedenclave(*words, "00" * 32).status == 1


def test_auditor_verifies_all_members_receipts_against_one_manifest(
    finished: Path, fedenclave: Command
) -> None:
    folders = [finished / bank for bank in BANKS]
    manifest = finished / "federation.toml"
    done = fedenclave("receipts", "verify", *folders, "--manifest", manifest, "--json")
    assert done.status == 0
    report = json.loads(done.out)
    assert len({receipt["model"] for receipt in report["receipts"]}) == 1
    assert report["contradictions"] == []


def test_one_changed_byte_ends_with_one(finished: Path, fedenclave: Command) -> None:
    (path,) = (finished / "alpha" / "receipts").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = fedenclave("receipts", "verify", finished / "alpha")
    assert done.status == 1
    assert "nothing" in done.out


def test_receipt_proves_nothing_to_a_reader_of_another_manifest(
    finished: Path, fedenclave: Command
) -> None:
    other = finished / "other.toml"
    text = (finished / "federation.toml").read_bytes()
    other.write_bytes(text.replace(b"weight_cap = 100000", b"weight_cap = 100001"))
    done = fedenclave("receipts", "verify", finished / "alpha", "--manifest", other, "--json")
    assert done.status == 1
    (receipt,) = json.loads(done.out)["receipts"]
    assert "another manifest than yours" in receipt["problem"]


def test_enclave_without_its_state_is_refused_until_the_owner_forgets_the_chain(
    finished: Path, fedenclave: Command
) -> None:
    shutil.rmtree(finished / "aggregator" / "state")
    with pytest.raises(EnclaveRefused, match="another enclave than in this client's earlier"):
        run_round(finished)
    for bank in BANKS:
        assert fedenclave("client", "forget-chain", "--dir", finished / bank, "--yes").status == 0
    (first,) = (finished / "alpha" / "receipts").iterdir()
    before = first.read_bytes()
    run_round(finished)
    assert list(finished.glob("alpha/state-*.cbor"))
    assert first.read_bytes() == before, "an earlier enclave's receipt stays"
    assert len(list((finished / "alpha" / "receipts").iterdir())) == 2


def test_another_server_app_goes_on_where_the_first_ended(
    federation: Path, fedenclave: Command
) -> None:
    model = Model.from_bytes((federation / "first-model.fem").read_bytes())
    folders = {bank: ClientFolder(federation / bank) for bank in BANKS}
    manifest, approvals = folders["alpha"].manifest().source, folders["alpha"].approvals()
    with Aggregator(
        federation / "aggregator",
        manifest=manifest,
        approvals=approvals,
        model=model,
        tee="insecure",
    ) as aggregator:
        one_round(RoundCoordinator(aggregator, send_manifest=False), folders, aggregator.model())
        # The first ServerApp opens a second round and ends in the middle of it.
        dead = RoundCoordinator(aggregator, send_manifest=False)
        dead.open(
            {bank: folder.session().hello(int(time.time())) for bank, folder in folders.items()},
            NO_TRAINING_CONFIG,
        )
        one_round(RoundCoordinator(aggregator, send_manifest=False), folders, aggregator.model())
    done = fedenclave("receipts", "verify", federation / "alpha", "--json")
    assert done.status == 0
    receipts = json.loads(done.out)["receipts"]
    assert [receipt["round"] for receipt in receipts] == [1, 3]
    assert {receipt["verdict"] for receipt in receipts} == {"included"}


@pytest.mark.parametrize("path", ["nowhere", "alpha/receipts/none.receipt"])
def test_missing_receipts_are_an_error_with_a_hint(
    federation: Path, fedenclave: Command, path: str
) -> None:
    manifest = federation / "federation.toml"
    done = fedenclave("receipts", "verify", federation / path, "--manifest", manifest)
    assert done.status == 1
    assert done.err.startswith("error: ")


def test_two_processes_never_have_one_client_folder_at_once(federation: Path) -> None:
    """Two that read one state could each seal an update on one base model, to two enclaves."""
    folder = ClientFolder(federation / "alpha")
    script = (
        "import sys; from pathlib import Path; from fedenclave.client.folder import ClientFolder\n"
        "ClientFolder(Path(sys.argv[1])).lock(); print('mine', flush=True)"
    )
    with folder.lock():
        other = subprocess.Popen(
            [sys.executable, "-c", script, str(folder.path)], stdout=subprocess.PIPE, text=True
        )
        with pytest.raises(subprocess.TimeoutExpired):
            other.communicate(timeout=2)
    said, _ = other.communicate(timeout=20)
    assert said == "mine\n"


def test_node_has_its_folder_alone_while_it_answers_a_message(federation: Path) -> None:
    pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")
    from fedenclave.flower.node import FlowerNode

    folder = ClientFolder(federation / "alpha")
    node = FlowerNode(folder)
    with (folder.path / "lock").open("ab") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        node.close()
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_folder_above_the_receipts_is_answered_with_where_they_are(
    finished: Path, fedenclave: Command
) -> None:
    manifest = finished / "federation.toml"
    (finished / "all").mkdir()
    (finished / "alpha").rename(finished / "all" / "alpha")
    done = fedenclave("receipts", "verify", finished / "all", "--manifest", manifest)
    assert done.status == 1
    assert f"did you mean {finished / 'all' / 'alpha'}?" in done.err.replace("\n", "")


@pytest.mark.parametrize("size", [0, 100])
def test_truncated_receipt_says_what_to_do(finished: Path, fedenclave: Command, size: int) -> None:
    (path,) = (finished / "alpha" / "receipts").iterdir()
    path.write_bytes(path.read_bytes()[:size])
    done = fedenclave("receipts", "verify", finished / "alpha", "--json")
    assert done.status == 1
    (receipt,) = json.loads(done.out)["receipts"]
    assert receipt["valid"] is False
    assert (
        "it is damaged or incomplete, or made by somebody else; compare a backup"
        in receipt["problem"]
    )


@pytest.mark.parametrize(
    ("shift", "said"),
    [(-200 * 24 * 3600, "and the enclave was told"), (200 * 24 * 3600, "has not come yet")],
)
def test_evidence_judged_at_an_odd_time_is_pointed_out(
    finished: Path, fedenclave: Command, shift: int, said: str
) -> None:
    (path,) = (finished / "alpha" / "receipts").iterdir()
    receipt = Receipt.from_bytes(path.read_bytes())
    part = receipt.participation
    odd = replace(receipt, participation=replace(part, time=part.time + shift))
    path.write_bytes(odd.to_bytes())
    done = fedenclave("receipts", "verify", finished / "alpha", "--json")
    assert done.status == 1
    report = json.loads(done.out)
    assert report["receipts"][0]["judged_at"] == part.time + shift
    (complaint,) = report["contradictions"]
    assert said in complaint


def test_a_clock_that_no_calendar_knows_stops_no_auditor(
    finished: Path, fedenclave: Command
) -> None:
    (path,) = (finished / "alpha" / "receipts").iterdir()
    receipt = Receipt.from_bytes(path.read_bytes())
    odd = replace(receipt, participation=replace(receipt.participation, time=2**63))
    path.write_bytes(odd.to_bytes())
    for command in ("verify", "list"):
        done = fedenclave("receipts", command, finished / "alpha")
        assert "Traceback" not in done.err
        assert "included" in done.out
