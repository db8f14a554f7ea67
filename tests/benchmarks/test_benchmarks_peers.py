"""Peers give figures in one shape, their models are right, and one that is absent is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("flwr")

from benchmarks import peers
from benchmarks.peers.figures import ARRIVED

pytestmark = pytest.mark.filterwarnings("default")

CLIENTS, PARAMETERS, REPEAT = 4, 10_000, 2

# The largest error that the rule and its arithmetic explain: float32 sums, or SecAgg+'s steps.
MODELS = {
    "flower_median": 1e-6,
    "flower_trimmed_mean": 1e-6,
    "flower_krum": 1e-6,
    "flower_secagg": 1e-3,
}


@pytest.fixture
def no_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed beside the project."""
    monkeypatch.setenv("PEERS_VENV", str(tmp_path))


@pytest.mark.parametrize("name", MODELS)
def test_a_peer_that_runs_here_gives_the_model_that_its_rule_says(name: str) -> None:
    found = peers.run_peer(name, CLIENTS, PARAMETERS, REPEAT)
    assert found is not None
    assert ARRIVED in found["seconds"]
    for way, seconds in found["seconds"].items():
        assert len(seconds) == REPEAT
        assert min(seconds) <= found["median"][way] <= max(seconds)
        assert min(seconds) > 0
    assert found["largest_error"] < MODELS[name]
    assert found["wire"] > 1
    assert found["versions"]["flwr"]


def test_decryption_alone_is_timed_with_one_thread_and_with_two() -> None:
    found = peers.run_peer("aes_gcm", CLIENTS, 200_000, REPEAT)
    assert found is not None
    assert found["seconds"].keys() == {ARRIVED, "one thread"}
    assert all(speed > 0 for speed in found["gigabytes_per_second"].values())


@pytest.mark.usefixtures("no_peers")
@pytest.mark.parametrize("name", peers.OWN_PROCESS)
def test_a_peer_that_is_not_installed_gives_nothing(name: str) -> None:
    assert peers.run_peer(name, CLIENTS, PARAMETERS, REPEAT) is None


def test_a_peer_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(KeyError, match="nobody"):
        peers.run_peer("nobody", CLIENTS, PARAMETERS, REPEAT)


@pytest.mark.skipif(
    not peers.peers_python().exists(), reason="other frameworks are installed by make bench-peers"
)
@pytest.mark.parametrize(
    ("name", "largest_error"),
    [
        ("nvflare_mean", 2e-6),
        ("openfl_mean", 2e-6),
        ("openfl_geometric_median", 1e-2),  # it drifts from the median: see its docstring
        ("nvflare_homomorphic", 1e-4),
    ],
)
def test_a_peer_in_its_own_process_gives_the_model_that_its_rule_says(
    name: str, largest_error: float
) -> None:
    found = peers.run_peer(name, CLIENTS, PARAMETERS, REPEAT)
    assert found is not None
    assert found["seconds"][ARRIVED]
    assert found["largest_error"] < largest_error
    assert found["wire"] > 1


@pytest.mark.skipif(
    not peers.peers_python().exists(), reason="other frameworks are installed by make bench-peers"
)
def test_a_peer_whose_process_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="nvflare_mean exited with 1"):
        peers.run_peer("nvflare_mean", 0, PARAMETERS, REPEAT)
