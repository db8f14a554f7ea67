"""A federation with a real enclave process, and a gateway in front of it on loopback."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from fedenclave.host.enclave_process import measure_enclave
from fedenclave.host.gateway import Gateway
from fedenclave.host.remote import RemoteAggregator
from fedenclave.simulation.federation import Arrays, SimulatedFederation

# More than two parts of 1 MiB, and no whole number of them.
PARAMETERS = 600_000


def first_arrays() -> Arrays:
    return {"w": np.linspace(-1, 1, PARAMETERS, dtype=np.float32)}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_grpc_proxy", "127.0.0.1,localhost")


@pytest.fixture(scope="session")
def measurement() -> str:
    """What the installed enclave measures: asked once, as half a second goes by each time."""
    return str(json.loads(measure_enclave())["measurement"])


@pytest.fixture
def federation(tmp_path: Path, measurement: str) -> Iterator[SimulatedFederation]:
    with SimulatedFederation.create(
        first_arrays(), clients=3, folder=tmp_path / "host", measurement=measurement
    ) as made:
        yield made


@pytest.fixture
def gateway(federation: SimulatedFederation) -> Iterator[Gateway]:
    with Gateway(
        federation.aggregator, "127.0.0.1:0", tls=None, insecure_plaintext=True
    ) as running:
        yield running


@pytest.fixture
def remote(gateway: Gateway) -> Iterator[RemoteAggregator]:
    with RemoteAggregator(gateway.address, root_certificate=None, insecure=True) as connected:
        yield connected


@pytest.fixture
def channel(gateway: Gateway) -> Iterator[grpc.Channel]:
    """A channel for what another program than ours might send."""
    with grpc.insecure_channel(gateway.address) as opened:
        yield opened


@pytest.fixture
def ciphertexts(tmp_path: Path) -> Callable[[], list[Path]]:
    """Tell which sealed updates lie on the host's disk."""
    return lambda: list((tmp_path / "host" / "ciphertext").glob("*.feu"))


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Wait for what happens on another thread."""

    def wait(holds: Callable[[], bool]) -> bool:
        end = time.monotonic() + 10
        while not holds():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    return wait
