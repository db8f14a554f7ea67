"""What is wrong with a node's folder, disk or clock is one row with a hint, and harms nothing."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedenclave.client.folder import ClientFolder
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.node import check_folder
from fedenclave.node.check import check
from fedenclave.node.row import Row, State
from fedenclave.node.status import StatusReader
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.exchange import Delivery
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.cli.bank_rounds import aggregator_of, folders_of, one_round
from tests.cli.conftest import BANKS, Command
from tests.cli.test_node_status import after_two_rounds as after_two_rounds  # fixtures
from tests.cli.test_node_status import cut, files_of
from tests.cli.test_node_status import node as node
from tests.node.full_disk import full_after


def rows_of(node: Path, now: datetime | None = None) -> dict[str, Row]:
    before = files_of(node)
    rows = check(node, now, caller={})
    assert files_of(node) == before
    assert all(row.found for row in rows)
    assert all(row.hint for row in rows if row.bad)
    return {row.what: row for row in rows}


def stopping(node: Path, now: datetime | None = None) -> list[str]:
    return [what for what, row in rows_of(node, now).items() if row.stops]


def test_a_node_after_rounds_lacks_nothing(node: Path) -> None:
    # Its key for the SuperLink has not been made.
    assert stopping(node) == ["node key"]
    rows = rows_of(node)
    assert rows["state"].found == "sealed for round 2"
    assert rows["collateral"].found == "0 files of vendors, no list of revocations"
    assert "MiB free" in rows["disk"].found


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("client.toml", "client"),
        ("federation.toml", "manifest"),
        ("client.key", "client key"),
        ("member.key", "member key"),
        ("state.cbor", "state"),
        ("log.fel", "copy of the log"),
        ("checkpoint", "copy of the log"),
        ("superlink-ca.pem", "root certificate"),
        ("node.toml", "node.toml"),
        ("revocations.signed", "collateral"),
    ],
)
@pytest.mark.parametrize("harm", [cut, "empty", "folder", "bytes"])
def test_half_a_file_an_empty_one_and_none_at_all_are_named(
    node: Path, name: str, what: str, harm: Callable[[Path], None] | str
) -> None:
    path = node / name
    if not path.exists():
        path.write_bytes(b"some of what should be here")
    if harm == "empty":
        path.write_bytes(b"")
    elif harm == "bytes":
        path.write_bytes(os.urandom(100))
    elif harm == "folder":
        path.unlink()
        path.mkdir()
    else:
        assert callable(harm)
        harm(path)
    row = rows_of(node)[what]
    assert row.stops, row
    assert len(row.found) < 600


def test_a_key_of_somebody_else_is_said_before_any_round(
    node: Path, after_two_rounds: Path
) -> None:
    shutil.copy(after_two_rounds / BANKS[1] / "client.key", node / "client.key")
    row = rows_of(node)["client key"]
    assert row.stops
    assert "not on the roster" in row.found


def test_what_this_user_may_not_read_is_named(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name in ("state.cbor", "superlink-ca.pem", "node.toml"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    rows = {row.what: row for row in check(node, caller={})}
    for what in ("state", "node.toml"):
        assert rows[what].stops
        assert "Permission denied" in rows[what].found
        assert rows[what].hint


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_another_user_gets_rows_and_no_traceback(node: Path) -> None:
    os.seteuid(65534)
    try:
        bad = [row for row in check(node, caller={}) if row.stops]
    finally:
        os.seteuid(0)
    assert bad
    assert all(row.hint for row in bad)
    assert any("Permission denied" in row.found for row in bad)


@pytest.mark.parametrize(
    ("days", "what"), [(-1, "clock"), (-30, "root certificate"), (30, "root certificate")]
)
def test_a_clock_that_is_days_off_is_said_with_both_times(node: Path, days: int, what: str) -> None:
    # It has asked for a round with its clock as it is.
    ClientFolder(node).session().hello(int(time.time()))
    now = datetime.now(UTC) + timedelta(days=days)
    row = rows_of(node, now)[what]
    assert row.stops
    assert f"{now:%Y-%m-%d}" in row.found
    assert f"{datetime.now(UTC):%Y-%m-%d}" in row.found or what == "root certificate"
    assert "clock" in row.found
    assert "timedatectl" in row.hint


def test_an_enclave_that_was_told_another_day_is_said(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rows_of(node)["clock"].state is State.OK
    ours, theirs = int(time.time()), int(time.time()) + 86_400
    monkeypatch.setattr(check_folder, "newest_times", lambda _folder: (ours, theirs))
    row = rows_of(node)["clock"]
    assert row.state is State.NOTE
    assert f"{datetime.fromtimestamp(theirs, UTC):%Y-%m-%d}" in row.found
    assert "operator's" in row.hint


def test_a_clock_a_few_minutes_off_stops_nothing(node: Path) -> None:
    ClientFolder(node).session().hello(int(time.time()))
    assert rows_of(node, datetime.now(UTC) - timedelta(minutes=10))["clock"].state is State.OK


@pytest.mark.parametrize(
    ("free", "state"), [(2**40, State.OK), (2**29, State.NOTE), (2**20, State.MISSING)]
)
def test_a_disk_that_is_full_is_said(
    node: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: State
) -> None:
    usage = shutil.disk_usage(node)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert rows_of(node)["disk"].state is state


# --- a full disk, while something is written ---------------------------------------------------


@pytest.mark.parametrize("written", [0, 1, 2])
def test_init_on_a_full_disk_leaves_nothing_and_can_be_given_again(
    federation: Path, fedenclave: Command, written: int
) -> None:
    node = federation / BANKS[0]
    before = files_of(node)
    words = ("node", "init", "--dir", node, "--superlink", "superlink.example:9092")
    with full_after(written):
        done = fedenclave(*words)
    assert done.status == 1
    assert "No space left on device" in done.err
    assert "hint: " in done.err
    assert files_of(node) == before
    assert fedenclave(*words).status == 0


@pytest.mark.parametrize("written", [0, 1])
def test_approving_on_a_full_disk_approves_nothing(
    federation: Path, tmp_path: Path, fedenclave: Command, written: int
) -> None:
    from tests.node.apps import fab, files

    app = tmp_path / "small.fab"
    app.write_bytes(fab(files()))
    words = ("node", "approve", app, "--dir", federation / BANKS[0], "--yes")
    with full_after(written):
        done = fedenclave(*words)
    assert done.status == 1
    assert "No space left on device" in done.err
    listed = fedenclave("node", "apps", "--dir", federation / BANKS[0], "--json").out
    assert json.loads(listed) == []
    assert fedenclave(*words).status == 0


def test_a_disk_that_fills_up_within_a_round_costs_that_round_and_nothing_else(
    federation: Path,
) -> None:
    folders, unlucky = folders_of(federation), federation / BANKS[0]
    steps = []
    with aggregator_of(federation) as aggregator:
        coordinator = RoundCoordinator(aggregator, send_manifest=False)
        one_round(coordinator, folders, aggregator.model())
        for written in range(8):
            with full_after(written, below=unlucky):
                model, later = aggregator.model(), list[Delivery]()
                steps.append(_unlucky_round(coordinator, folders, model, later))
            assert not [path for path in unlucky.rglob(".*") if path.is_file()]
            for delivery in later:
                session = folders[BANKS[0]].session()
                if session.awaits(delivery.round):
                    session.take_delivery(delivery)
            one_round(coordinator, folders, aggregator.model())
    assert set(steps) == {"hello", "accept", "seal", "delivery", "nothing"}
    # A receipt for each round that it has sealed for: also where it could not be kept at once.
    status = StatusReader(unlucky).read()
    assert status.receipts is not None
    assert status.receipts.total == 1 + 8 + sum(step in ("delivery", "nothing") for step in steps)
    assert not status.receipts.unverifiable
    assert status.state is not None
    assert status.state.awaited == ()


def _refused(step: Callable[[], object]) -> bool:
    """Return whether the disk was full for a step."""
    try:
        step()
    except ConfigurationError as error:
        return "No space left" in error.message
    return False


def _unlucky_round(
    coordinator: RoundCoordinator,
    folders: dict[str, ClientFolder],
    model_file: bytes,
    later: list[Delivery],
) -> str:
    """Run a round in which one bank's disk may be full; return the step that was refused.

    A delivery that could not be taken is put into `later`, to be brought again.
    """
    now, unlucky = int(time.time()), BANKS[0]
    sessions = {bank: folder.session() for bank, folder in folders.items()}
    hellos = {}

    def greet(bank: str) -> None:
        hellos[bank] = sessions[bank].hello(now)

    if _refused(lambda: greet(unlucky)):
        return "hello"
    for bank in BANKS[1:]:
        greet(bank)
    offers, accepted, sealed = coordinator.open(hellos, NO_TRAINING_CONFIG), {}, {}

    def accept(bank: str) -> None:
        accepted[bank] = sessions[bank].accept(
            offers[bank], model_file, now, training_config=NO_TRAINING_CONFIG
        )

    def seal(bank: str) -> None:
        sealed[bank] = sessions[bank].seal(accepted[bank], bytes(accepted[bank].base.payload), 7)

    for step in (accept, seal):
        if _refused(lambda step=step: step(unlucky)):  # type: ignore[misc]
            coordinator.abort()
            return step.__name__
    for bank in BANKS[1:]:
        accept(bank)
        seal(bank)
    for bank in BANKS:
        assert coordinator.submit(bank, sealed[bank]).admitted
    _, deliveries = coordinator.close()
    for bank in BANKS[1:]:
        folders[bank].session().take_delivery(deliveries[bank])

    def take() -> None:
        folders[unlucky].session().take_delivery(deliveries[unlucky])

    if _refused(take):
        later.append(deliveries[unlucky])
        return "delivery"
    return "nothing"
