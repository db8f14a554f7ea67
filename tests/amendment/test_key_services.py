"""Key services that members want to be rid of, and a state that nobody would keep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedenclave.host import aggregator_start
from fedenclave.host.aggregator_start import StartedAggregator
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.frames import AmendRequest
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import sign
from fedenclave.protocol.statements import VERSION, Approval
from tests.enclave.key_services import MEMBERS, World, know


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("notary",), ("notary", "regulator")),
        (("notary", "regulator"), ("regulator",)),
        (("notary",), ("regulator",)),
    ],
)
def test_a_key_service_can_be_taken_out_of_the_manifest(
    before: tuple[str, ...],
    after: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The host needs the old ones' commands to resume, and may not have them to amend."""
    old, new = World(before).manifest, World(after).manifest

    def asks(_: object, manifest: bytes, commands: dict[str, list[str]], parts: object) -> None:
        names = {service.name for service in Manifest.from_bytes(manifest).key_services}
        assert names == {*commands}, "`unlock` refuses other commands than the manifest's"

    monkeypatch.setattr(aggregator_start, "unlock", asks)
    host = object.__new__(StartedAggregator)
    host._folder, host._wanted = tmp_path, new.source
    host._key_services = {name: ["true"] for name in {*before, *after}}
    host._evidence_parts, host._enclave = {}, None  # type: ignore[assignment]
    host._agree(old.source, ())
    host._agree(new.source, ())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World()
    know(world, monkeypatch)
    yield world
    world.close()


def test_an_amendment_does_not_leave_the_state_with_nobody(world: World, tmp_path: Path) -> None:
    """A change without key services: nothing is sealed, and the host's newest state is the old."""
    guest = world.unlocked()
    guest.start(world, tmp_path)
    text = world.manifest.source.decode()
    named = text[text.index("[[key_services]]") :]
    end = named.rindex("key = ")
    tail = named[named.index("\n", end) :]
    digest = world.manifest.digest.hex()
    text = text[: text.index("[[key_services]]")] + tail
    text = text.replace(
        "development = false", f'development = false\ncontinues = "sha256:{digest}"', 1
    )
    after = Manifest.from_bytes(text.encode())
    assert not after.key_services
    approvals = tuple(
        sign(Approval(version=VERSION, federation=after.name, manifest=after.digest, member=n), key)
        for n, key in MEMBERS.items()
    )
    before = guest.segment
    reply = guest.do("amend", AmendRequest(manifest=after.source, approvals=approvals, time=2))
    assert reply.refusal == Refusal.STATE
    assert guest.segment == before
