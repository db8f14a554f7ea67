"""`fedenclave node status`, and the same for Prometheus: of real rounds, and of damaged folders."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedenclave.client.events import Asked, EventFile, Kind
from fedenclave.client.refusals import Cause
from fedenclave.demo.certificates import make_server_certificate
from fedenclave.demo.ports import pick_free_ports
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.node.approvals import AppApprovals
from fedenclave.node.configuration import read_configuration, write_configuration
from fedenclave.node.metrics import serving
from fedenclave.node.run_lock import running_on
from fedenclave.protocol.errors import ConfigurationError
from tests.cli.bank_rounds import aggregator_of, folders_of, one_round
from tests.cli.conftest import BANKS, Command, copied
from tests.node.apps import bundle

prometheus_client = pytest.importorskip(
    "prometheus_client", reason="not installed: pip install 'fedenclave[metrics]'"
)


@pytest.fixture(scope="module")
def after_two_rounds(approved_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return three banks after two rounds. For copies."""
    federation = copied(approved_once, tmp_path_factory.mktemp("rounds"))
    with aggregator_of(federation) as aggregator:
        coordinator = RoundCoordinator(aggregator, send_manifest=False)
        for _ in range(2):
            one_round(coordinator, folders_of(federation), aggregator.model())
    return federation


@pytest.fixture
def node(tmp_path: Path, after_two_rounds: Path) -> Path:
    """Return a node that is well, but for a certificate that is over soon."""
    folder = copied(after_two_rounds / BANKS[0], tmp_path / "node")
    AppApprovals(folder).approve(bundle(), by="anna", now=1)
    made = make_server_certificate(tmp_path / "keys", now=datetime.now(UTC))
    (folder / "superlink-ca.pem").write_bytes(made.ca_certificate.read_bytes())
    (port,) = pick_free_ports(1)
    write_configuration(folder, address="superlink.example:9092", port=port)
    return folder


@pytest.fixture
def running(node: Path, tmp_path: Path) -> Iterator[Path]:
    """Return the node while a supervisor holds it, and its SuperNode is connected."""
    with running_on(node):
        events = EventFile(node)
        events.write(Kind.STARTED, pid=1)
        events.write(Kind.CONNECTED)
        yield node


def status_of(fedenclave: Command, node: Path) -> dict[str, object]:
    done = fedenclave("node", "status", "--dir", node, "--json")
    assert "Traceback" not in done.err
    return json.loads(done.out)


def attention(status: dict[str, object]) -> dict[str, str]:
    return {each["what"]: each["found"] for each in status["attention"]}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_node_that_has_taken_part_says_what_it_has_and_changes_nothing(
    running: Path, fedenclave: Command
) -> None:
    before = files_of(running)
    status = status_of(fedenclave, running)
    assert files_of(running) == before
    assert status["node"]["running"] is True
    assert status["node"]["connected"] is True
    assert status["node"]["pid"]
    assert status["rounds"]["last"] == 2
    assert status["rounds"]["outcomes"]["released"] == 2
    assert status["rounds"]["awaited"] == []
    assert status["receipts"]["files"] == 2
    assert status["receipts"]["verdicts"]["included"] == 2
    assert status["receipts"]["not_verifiable"] == {}
    assert status["evidence"]["format"] == "insecure"
    assert status["evidence"]["insecure"] is True
    assert status["manifest"]["digest"].startswith("sha256:")
    assert [app["app"] for app in status["apps"]] == ["clinic/small"]
    assert status["log"]["entries"] > 0
    assert status["log"]["bytes"] > 0
    assert status["privacy"].startswith("off")
    # The demonstration's certificates are valid for a week.
    assert set(attention(status)) == {"root certificate"}
    assert attention(status)["root certificate"].startswith("valid until ")


def test_people_read_the_same_and_insecure_evidence_is_said_loudly(
    running: Path, fedenclave: Command
) -> None:
    done = fedenclave("node", "status", "--dir", running)
    assert "insecure: the last evidence is a development enclave's" in done.err
    words = " ".join(done.out.split())
    assert "INSECURE" in words
    assert "included 2" in words
    assert "off: this version adds no noise" in words


def test_a_node_that_does_not_run_needs_attention_and_shows_the_rest(
    node: Path, fedenclave: Command
) -> None:
    EventFile(node).write(Kind.CONNECTED)
    done = fedenclave("node", "status", "--dir", node, "--json")
    assert done.status == 1
    status = json.loads(done.out)
    assert status["node"] == {
        "running": False,
        "pid": None,
        "since": None,
        "connected": False,
        "restarts": {"supernode": 0, "launcher": 0},
    }
    assert attention(status)["node"] == "does not run"
    assert status["receipts"]["files"] == 2


def test_refusals_are_counted_and_the_grave_ones_need_attention(
    running: Path, fedenclave: Command
) -> None:
    events = EventFile(running)
    text = "the aggregator is another enclave\x1b[2J"
    events.write(Kind.REFUSED, cause=Cause.HISTORY, asked=Asked.TRAIN, text=text)
    events.write(Kind.REFUSED, cause=Cause.APP, asked=Asked.UNKNOWN, text="not approved")
    status = status_of(fedenclave, running)
    assert status["refusals"]["counts"]["history"] == 1
    assert status["rounds"]["outcomes"]["refused"] == 1
    assert [each["cause"] for each in status["refusals"]["last"]] == ["history", "app-not-approved"]
    assert "another enclave" in attention(status)["refused"]
    assert "\x1b" not in fedenclave("node", "status", "--dir", running).out
    # A round that it has taken part in since puts an end to the alarm.
    time.sleep(1.1)
    events.write(Kind.SEALED, round=3)
    assert "refused" not in attention(status_of(fedenclave, running))


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("name", "harm", "what"),
    [
        ("state.cbor", cut, "state"),
        ("federation.toml", cut, "manifest"),
        ("log.fel", cut, "log"),
        ("events.jsonl", damage, "events"),
        ("node.toml", cut, "root certificate"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(
    running: Path, fedenclave: Command, name: str, harm: Callable[[Path], None], what: str
) -> None:
    harm(running / name)
    done = fedenclave("node", "status", "--dir", running, "--json")
    assert done.status == 1
    status = json.loads(done.out)
    assert what in attention(status)
    assert status["apps"]
    assert status["client"]


def test_a_receipt_that_proves_nothing_is_counted_and_named(
    running: Path, fedenclave: Command
) -> None:
    first, _ = sorted((running / "receipts").glob("*.receipt"))
    damage(first)
    status = status_of(fedenclave, running)
    assert list(status["receipts"]["not_verifiable"]) == [first.name]
    assert status["receipts"]["verdicts"]["included"] == 1
    assert first.name in attention(status)["receipts"]


def test_a_damaged_record_of_an_app_is_named(running: Path, fedenclave: Command) -> None:
    (record,) = (running / "apps").glob("*.toml")
    cut(record)
    status = status_of(fedenclave, running)
    assert status["apps"] is None
    assert "apps" in attention(status)


def test_a_folder_without_a_client_is_one_error(tmp_path: Path, fedenclave: Command) -> None:
    done = fedenclave("node", "status", "--dir", tmp_path)
    assert done.status == 1
    assert done.err.startswith("error: ")
    assert not list(tmp_path.iterdir())


# --- Prometheus -------------------------------------------------------------------------------


@pytest.fixture
def scraped(running: Path) -> Iterator[int]:
    (port,) = pick_free_ports(1)
    path = running / "node.toml"
    text = path.read_text().replace("# [metrics]", "[metrics]")
    path.write_text(text.replace("# port = 9464", f"port = {port}"))
    with serving(read_configuration(running)):
        yield port


def scrape(port: int) -> dict[str, float]:
    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        text = reply.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        assert re.fullmatch(r"fedenclave_node_[a-z_]+", family.name), family.name
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[f"{sample.name.removeprefix('fedenclave_node_')}{{{labels}}}"] = sample.value
    return found


def test_metrics_say_what_status_says(running: Path, scraped: int, fedenclave: Command) -> None:
    refused = {"cause": Cause.EVIDENCE, "asked": Asked.TRAIN}
    EventFile(running).write(Kind.REFUSED, text="digest-4711", **refused)
    found, status = scrape(scraped), status_of(fedenclave, running)
    assert found["up{}"] == 1
    assert found["connected{}"] == 1
    for outcome, number in status["rounds"]["outcomes"].items():
        assert found[f"rounds_total{{outcome={outcome}}}"] == number
    for cause, number in status["refusals"]["counts"].items():
        assert found[f"refusals_total{{reason={cause}}}"] == number
    assert found["refusals_total{reason=evidence}"] == 1
    assert found["receipts_total{verdict=included}"] == 2
    assert found["receipts_total{verdict=not-verifiable}"] == 0
    assert found["last_round{}"] == 2
    assert found["last_round_timestamp_seconds{}"] == status["rounds"]["last_at"]
    assert found["restarts_total{part=supernode}"] == 0
    assert found["evidence_insecure{}"] == 1
    assert found["attention{}"] == len(status["attention"])


def test_no_label_has_a_value_that_somebody_else_chose(running: Path, scraped: int) -> None:
    refused = {"cause": Cause.EVIDENCE, "asked": Asked.TRAIN}
    EventFile(running).write(Kind.REFUSED, text="digest-4711", **refused)
    damage(next((running / "receipts").glob("*.receipt")))
    before = len(scrape(scraped))
    names = " ".join(scrape(scraped))
    assert "4711" not in names
    assert ".receipt" not in names
    assert "sha256" not in names
    assert before == len(scrape(scraped)) < 60


def test_metrics_are_there_with_a_damaged_folder_and_gone_with_the_node(
    running: Path, scraped: int
) -> None:
    cut(running / "state.cbor")
    assert scrape(scraped)["attention{}"] >= 1
    (running / "client.toml").unlink()
    assert scrape(scraped) == {"up{}": 1, "attention{}": 1}


def test_metrics_are_served_on_this_machine_alone(running: Path, scraped: int) -> None:
    with socket.socket() as other, pytest.raises(OSError, match="refused"):
        other.connect(("127.0.0.2", scraped))
    path = running / "node.toml"
    for address in ("192.0.2.1", "10.0.0.1", "node.example", "::", ""):
        text = re.sub(r"\[metrics\]\n", f'[metrics]\naddress = "{address}"\n', path.read_text())
        with pytest.raises(ConfigurationError, match=r"want 127\.0\.0\.1"):
            _read(running, text)


def test_metrics_are_off_unless_asked_for(node: Path) -> None:
    assert read_configuration(node).metrics_port is None
    with serving(read_configuration(node)):
        pass


def test_a_taken_port_is_an_error_with_a_hint(running: Path, scraped: int) -> None:
    with (
        pytest.raises(ConfigurationError, match="cannot serve metrics") as refused,
        serving(read_configuration(running)),
    ):
        pass
    assert refused.value.hint


def _read(node: Path, text: str) -> None:
    other = node.parent / "other"
    other.mkdir(exist_ok=True)
    (other / "node.toml").write_text(text)
    read_configuration(other)
