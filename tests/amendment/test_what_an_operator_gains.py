"""What an operator gains at an amendment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attack_suite.world import SCHEMA
from fedenclave.enclave import amendment
from fedenclave.enclave.agreed import Agreed
from fedenclave.enclave.transitions import FormerClient, Snapshot, first_snapshot
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from tests.amendment.world import ChangingWorld


def released(world: ChangingWorld, names: list[str]) -> None:
    """On a model that stays as it was."""
    world.open(names)
    world.contribute(dict.fromkeys(names, 0.0))
    world.release(names)


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[list[ChangingWorld]]:
    made: list[ChangingWorld] = []
    yield made
    for world in made:
        world.close()


def test_a_client_does_not_move_to_another_organisation(
    tmp_path: Path, worlds: list[ChangingWorld]
) -> None:
    """T5. Released: alpha's a and x, b, c. Then x moves to omega, and b, c are released.

    Both a and x were alpha's when they were released; the guard goes by who owns them now.
    """
    before = {"a": "alpha", "x": "alpha", "b": "beta", "c": "gamma"}
    world = ChangingWorld(tmp_path / "host", before, min_cohort=2)
    worlds.append(world)
    released(world, ["a", "b", "c", "x"])
    # As a control: without the change the guard refuses.
    world.open(["b", "c"])
    world.contribute({"b": 0.0, "c": 0.0})
    with pytest.raises(RequestRefused) as error:
        world.coordinator.close()
    assert error.value.refusal is Refusal.DIFFERENCING
    world.coordinator.abort()
    world.close()
    with pytest.raises(RequestRefused) as error:
        world.amend(world.draft({**before, "x": "omega"}))
    assert error.value.refusal is Refusal.MANIFEST
    world.start()


def test_a_clients_name_is_not_given_to_another_organisation(
    tmp_path: Path, worlds: list[ChangingWorld]
) -> None:
    """T5. a, b, c are released; c is given to omega, which is the operator's; a, b, c again.

    "Equal cohorts may repeat": the difference is gamma's update less omega's, which is known.
    """
    before = {"a": "alpha", "b": "beta", "c": "gamma"}
    world = ChangingWorld(tmp_path / "host", before, min_cohort=2)
    worlds.append(world)
    released(world, ["a", "b", "c"])
    world.close()
    world.keys["c"] = Ed25519PrivateKey.generate()
    del world.stores["c"]
    with pytest.raises(RequestRefused) as error:
        world.amend(world.draft({**before, "c": "omega"}))
    assert error.value.refusal is Refusal.MANIFEST
    world.start()


def test_a_power_failure_behind_an_amendment_leaves_a_state_that_is_resumed(
    tmp_path: Path, worlds: list[ChangingWorld], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new segment is on the disk, and the log that it builds on was never flushed."""
    world = ChangingWorld(tmp_path / "host", {"a": "alpha", "b": "beta", "c": "gamma"})
    worlds.append(world)
    log = world.folder / "statements.fel"
    durable = [0]
    fdatasync, fsync = os.fdatasync, os.fsync

    def noting(sync):  # type: ignore[no-untyped-def]
        def call(descriptor: int) -> None:
            sync(descriptor)
            if os.path.samestat(os.fstat(descriptor), log.stat()):
                durable[0] = log.stat().st_size

        return call

    monkeypatch.setattr(os, "fdatasync", noting(fdatasync))
    monkeypatch.setattr(os, "fsync", noting(fsync))
    world.open()
    world.contribute({"a": 1.0, "b": 1.0, "c": 1.0})
    world.release("abc")
    world.close()
    world.amend(world.draft({"a": "alpha", "b": "beta", "c": "gamma"}, rules={"max_abs": 7.0}))
    world.close()
    # The power fails: what nobody has flushed is gone.
    os.truncate(log, durable[0])
    world.start()
    assert world.status().round == 1


def test_clients_that_left_do_not_fill_the_state(
    tmp_path: Path, worlds: list[ChangingWorld]
) -> None:
    """A record has a limited number of values, and `former` grows with every amendment."""
    former = tuple(FormerClient(name=f"c{n:06d}", member="m") for n in range(amendment.MAX_EVER))
    snapshot = first_snapshot(Ed25519PrivateKey.generate(), Digest(bytes(32)))
    sealed = replace(snapshot, former=former).to_bytes()
    assert Snapshot.from_bytes(sealed).former == former
    world = ChangingWorld(tmp_path / "host", {"a": "alpha", "b": "beta", "c": "gamma"})
    worlds.append(world)
    after = world.draft({"a": "alpha", "b": "beta", "d": "delta"})
    federation = SimpleNamespace(
        manifest=world.manifest, owner_of={each.name: each.member for each in former}
    )
    both = Agreed(manifest=after, schema=SCHEMA, approved_by=())
    with pytest.raises(RequestRefused) as error:
        amendment.amended(federation, both, [], None, 1)  # type: ignore[arg-type]
    assert error.value.refusal is Refusal.MANIFEST
