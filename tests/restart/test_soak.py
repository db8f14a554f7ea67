"""SIGKILL at random moments to a real aggregator, its gateway or its enclave, over and over.

The ServerApp and the clients live on and ask again. Nothing that they were told may turn out false.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedenclave.attack_suite.world import FIRST
from fedenclave.client.state import MemoryStore
from fedenclave.demo.ports import pick_free_ports
from fedenclave.host.enclave_process import EnclaveDied
from fedenclave.host.remote import AggregatorUnreachable, RemoteAggregator
from fedenclave.host.serve import READY
from fedenclave.protocol.aggregation import Adam
from fedenclave.protocol.model import Model
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World
from tests.restart.driver import Driver

FEW, MANY = 8, 500
LONGEST = 0.4
"""Seconds within which a kill comes: a round takes about a quarter of that."""


class Operator:
    """Runs the aggregator's program in a folder, and kills it."""

    def __init__(self, folder: Path, world: World) -> None:
        (folder / "approvals").mkdir()
        (folder / "federation.toml").write_bytes(world.manifest.source)
        for number, approval in enumerate(world.approvals):
            (folder / "approvals" / f"{number}.approval").write_bytes(approval)
        (folder / "first.fem").write_bytes(FIRST.to_bytes())
        (self.port,) = pick_free_ports(1)
        self.config, self.state = folder / "aggregator.toml", folder / "state"
        self.config.write_text(
            'folder = "state"\nmanifest = "federation.toml"\napprovals = "approvals"\n'
            f'model = "first.fem"\nlisten = "127.0.0.1:{self.port}"\nstore_limit = 1073741824\n'
            'tee = "insecure"\ninsecure_plaintext = true\n'
        )
        self.kills = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """Run the program until the block ends, by whatever."""
        command = [sys.executable, "-m", "fedenclave.cli", "aggregator", "run", "--config"]
        with subprocess.Popen(
            [*command, str(self.config)], stderr=subprocess.PIPE, text=True, start_new_session=True
        ) as process:
            assert process.stderr is not None
            lines = []
            for line in process.stderr:
                lines.append(line)
                if READY.search(line):
                    break
            else:
                pytest.fail("the aggregator does not start again: " + "".join(lines[-5:]))
            drain = threading.Thread(target=process.stderr.read)
            drain.start()
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                drain.join()

    def kill(self, process: subprocess.Popen[str], *, enclave_alone: bool) -> None:
        """Kill the enclave, or all; the enclave's death ends its host."""
        self.kills += 1
        if enclave_alone:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text("ascii")
            for child in children.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
            assert process.wait(30) == 1
        else:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def test_a_few_kills_lose_nothing(new_world: NewWorld, tmp_path: Path) -> None:
    soak(new_world(), tmp_path, FEW, seed=1)


@pytest.mark.slow
def test_a_few_kills_lose_nothing_of_the_optimisers_memory(
    new_world: NewWorld, tmp_path: Path
) -> None:
    adam = Adam(eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3)
    soak(new_world(server=adam), tmp_path, FEW, seed=3)


@pytest.mark.slow
def test_five_hundred_kills_lose_nothing(new_world: NewWorld, tmp_path: Path) -> None:
    soak(new_world(), tmp_path, MANY, seed=2)


def undisturbed(world: World, rounds: int) -> bytes:
    """Return the payload that so many rounds make, played in the world's own folder."""
    driver = Driver(world)
    for _ in range(rounds):
        driver.play()
    return bytes(Model.from_bytes(world.aggregator.model()).payload)


def soak(world: World, folder: Path, kills: int, *, seed: int) -> None:
    """Kill `kills` times; then play a last round, and judge everything that was said."""
    moments = np.random.default_rng(seed)
    operator, driver = Operator(folder, world), Driver(world)
    own, own_folder = world.aggregator, world.folder
    while operator.kills < kills:
        with operator.running() as process, connected(operator, world):
            moment = moments.uniform(0, LONGEST)
            alone = moments.random() < 0.5
            timer = threading.Timer(moment, operator.kill, (process,), {"enclave_alone": alone})
            timer.start()
            with contextlib.suppress(AggregatorUnreachable, EnclaveDied):
                while timer.is_alive() or process.poll() is None:
                    driver.play()
            timer.join()
    world.folder = operator.state
    with operator.running(), connected(operator, world):
        driver.play()
        driver.check()
        released, model = len(world.aggregator.releases()), driver.model()
    assert released > kills // 10, "the kills left no time for rounds"
    # The same rounds without a kill, by the world's own aggregator and clients that know of none.
    world.aggregator, world.folder = own, own_folder
    world.stores = {name: MemoryStore() for name in world.stores}
    world.sessions = {name: world.session(name) for name in world.stores}
    assert model == undisturbed(world, released)
    print(f"{kills} kills, {released} releases, {len(driver.admissions)} admissions")


@contextlib.contextmanager
def connected(operator: Operator, world: World) -> Iterator[None]:
    """Let the world's ServerApp speak to the operator's gateway."""
    with RemoteAggregator(
        f"127.0.0.1:{operator.port}", root_certificate=None, insecure=True
    ) as remote:
        world.aggregator = remote  # type: ignore[assignment]
        world.coordinator._aggregator = remote
        yield
