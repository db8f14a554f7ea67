"""Three enclave processes share a cohort of clients that seal as ever, over frames alone."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from fedenclave.attack_suite.world import FIRST, now
from fedenclave.client.state import MemoryStore
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.frames import (
    AdoptRequest,
    Closed,
    Empty,
    ExportRequest,
    FetchRequest,
    MergeRequest,
    Operation,
    ReportRequest,
    ShardPapers,
    SignedStatement,
    SignedStatements,
    TotalRequest,
)
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import Signed, sign
from fedenclave.protocol.statements import VERSION, Peers, Release
from tests.attacks.world import World

RecordT = TypeVar("RecordT", bound=Record)
OWNERS = {f"c{n}": ("alpha", "beta", "gamma")[n % 3] for n in range(9)}
STEPS = {name: 0.25 * (number + 1) for number, name in enumerate(OWNERS)}


def another(world: World, folder: Path, clients: Sequence[str]) -> World:
    """Start another enclave of the same federation, for these clients."""
    made = copy.copy(world)
    made.folder, made.stores = folder, {name: MemoryStore() for name in clients}
    made.sessions = {name: made.session(name) for name in clients}
    made.start()
    return made


@contextmanager
def three(tmp_path: Path) -> Iterator[tuple[World, list[World]]]:
    """One enclave that is to have everything, and three that are to share it."""
    with ExitStack() as stack:
        alone = World(tmp_path / "alone", OWNERS, weight_cap=100)
        stack.callback(alone.close)
        shared = []
        for first in (0, 3, 6):
            clients = list(OWNERS)[first : first + 3]
            shared.append(another(alone, tmp_path / f"enclave-{first}", clients))
            stack.callback(shared[-1].close)
        for world in (alone, *shared):
            world.open()
            for name in world.sessions:
                sealed = world.sealed(name, STEPS[name], 1 + 7 * int(name[1:]))
                assert world.submit(name, sealed).admitted
        yield alone, shared


def key(world: World) -> bytes:
    return world.aggregator.info()[2].signing_key


def announcement(world: World) -> bytes:
    return next(iter(world.offers.values())).announcement


def ask(
    world: World,
    operation: Operation,
    request: Record,
    reply: type[RecordT],
    paths: Sequence[Path] = (),
) -> RecordT:
    files = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
    try:
        return world.aggregator._enclave.request(operation, request, reply, files)
    finally:
        for file in files:
            os.close(file)


def peers_of(shared: Sequence[World]) -> tuple[bytes, ...]:
    manifest = shared[0].manifest
    return tuple(
        sign(
            Peers(
                version=VERSION,
                federation=manifest.name,
                manifest=manifest.digest,
                member=member,
                enclaves=tuple(sorted(map(key, shared))),
            ),
            shared[0].members[member],
        )
        for member in shared[0].members
    )


def report(shard: World, root: World, peers: tuple[bytes, ...]) -> ShardPapers:
    request = ReportRequest(peers=peers, root=key(root), announcement=announcement(root))
    signed = ask(shard, Operation.REPORT, request, SignedStatement).statement
    return ShardPapers(announcement=announcement(shard), report=signed)


def test_three_processes_release_the_model_of_one_and_go_on_together(tmp_path: Path) -> None:
    with three(tmp_path) as (alone, shared):
        (root, *shards), peers = shared, peers_of(shared)
        papers = tuple(report(shard, root, peers) for shard in shards)
        totals = ask(
            root, Operation.TOTAL, TotalRequest(peers=peers, shards=papers), SignedStatements
        ).statements
        assert [world.status().state for world in shared] == ["root", "shard", "shard"]
        sums, paths = [], []
        for number, (shard, total) in enumerate(zip(shards, totals, strict=True)):
            paths.append(tmp_path / f"sum-{number}")
            answer = ask(
                shard, Operation.EXPORT, ExportRequest(total=total), SignedStatement, [paths[-1]]
            )
            sums.append(answer.statement)
        base, new = tmp_path / "base", tmp_path / "new"
        base.write_bytes(FIRST.payload)
        request = MergeRequest(partial_sums=tuple(sums), base_offset=0, time=now())
        with pytest.raises(RequestRefused) as refused:
            ask(root, Operation.MERGE, request, Empty, [base, paths[0]])
        assert refused.value.refusal is Refusal.MALFORMED  # a file is missing
        ask(root, Operation.MERGE, request, Empty, [base, *paths])
        closed = ask(root, Operation.FETCH, FetchRequest(model_offset=0), Closed, [new])
        release, _ = alone.release(list(OWNERS))
        assert new.read_bytes() == bytes(alone.model().payload)
        theirs = Release.from_bytes(Signed.from_bytes(closed.release).payload)
        assert (theirs.model, theirs.clients, theirs.organisations) == (release.model, 9, 3)
        adopt = AdoptRequest(release=closed.release, model_offset=0, time=now())
        for shard in shards:
            ask(shard, Operation.ADOPT, adopt, SignedStatement, [new])
        assert [world.status().state for world in shared] == ["idle"] * 3
        assert {world.status().round for world in shared} == {1}


def test_a_shards_round_takes_nothing_more_and_ends_as_no_release(tmp_path: Path) -> None:
    with three(tmp_path) as (_, shared):
        root, shard, _ = shared
        report(shard, root, peers_of(shared))
        before = shard.status()
        sealed = shard.forge("c3", bytes(FIRST.schema.payload_size))
        for attempt in (lambda: shard.submit("c3", sealed), shard.coordinator.close):
            with pytest.raises(RequestRefused) as refused:
                attempt()
            assert refused.value.refusal is Refusal.WRONG_STATE
        assert shard.status() == before
        shard.coordinator.abort()
        assert shard.status().state == "idle"
