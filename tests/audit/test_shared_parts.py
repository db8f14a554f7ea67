"""What was verified once vouches for nothing else: what differs is refused after a good receipt.

Each test warms one reader's `SharedParts` with every good receipt, then shows it a bad one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.attestation.appraise import appraise
from fedenclave.attestation.endorsements import NO_ENDORSEMENTS, Endorsements
from fedenclave.attestation.revocations import Revocations
from fedenclave.audit import shared_parts
from fedenclave.audit.folder import judge_files
from fedenclave.audit.receipt import (
    ReceiptInvalid,
    Verdict,
    verify_one_of_many,
    verify_receipt,
)
from fedenclave.audit.shared_parts import SharedParts
from fedenclave.protocol import merkle
from fedenclave.protocol.codec import encode
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import Signed, sign
from fedenclave.protocol.statements import Announcement, Approval, CohortReport, Outcome, Release
from tests.attacks.world import World

Change = Callable[[World, Receipt], Receipt]
ZERO = Digest(bytes(32))
STRANGER = Ed25519PrivateKey.generate()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two rounds of three clients that are released, and one that is aborted."""
    world = World(tmp_path_factory.mktemp("shared"))
    for _ in range(2):
        world.open()
        world.contribute({"a": 1, "b": 1, "c": 1})
        world.release("abc")
    world.open()
    world.contribute({"a": 1, "b": 1})
    deliveries = world.coordinator.abort()
    for name in "ab":
        world.sessions[name].take_delivery(deliveries[name])
    yield world
    world.close()


def receipt(world: World, name: str = "a", round_: int = 1) -> bytes:
    kept = world.stores[name].receipts.items()
    return next(data for file, data in kept if file.startswith(f"round-{round_:06d}"))


def every(world: World) -> list[bytes]:
    return [data for store in world.stores.values() for data in store.receipts.values()]


def warmed(world: World) -> SharedParts:
    """Return what a reader has after every good receipt, each seen twice."""
    shared = SharedParts(world.manifest, NO_ENDORSEMENTS)
    for data in [*every(world), *every(world)]:
        verify_one_of_many(data, shared)
    return shared


def test_receipts_say_together_what_they_say_alone(world: World) -> None:
    shared = warmed(world)
    found = [verify_one_of_many(data, shared) for data in every(world)]
    assert found == [verify_receipt(data, world.manifest) for data in every(world)]
    assert {each.verdict for each in found} == {Verdict.INCLUDED, Verdict.ABORTED}
    assert found[0].clients == ("a", "b", "c")


# -- one part at a time


def part(**changes: Any) -> Change:
    return lambda _, good: replace(good, participation=replace(good.participation, **changes))


def end(**changes: Any) -> Change:
    return lambda _, good: replace(good, delivery=replace(good.delivery, **changes))


def resigned(cls: Any, signed: bytes, **changes: Any) -> bytes:
    """Return a statement, with changes, signed by a key that is not the enclave's."""
    return sign(replace(cls.from_bytes(Signed.from_bytes(signed).payload), **changes), STRANGER)


def other_signature(signed: bytes, by: bytes) -> bytes:
    """Return a statement under the signature of another one."""
    signature = Signed.from_bytes(by).signature
    return replace(Signed.from_bytes(signed), signature=signature).to_bytes()


def others_evidence(world: World, good: Receipt) -> Receipt:
    note = good.participation
    path = {"index": note.nonce_index, "size": note.nonce_count, "path": note.nonce_path}
    root = merkle.root_from_path(note.nonce, **path)  # type: ignore[arg-type]
    assert root is not None
    return part(evidence=LyingEnclave(world.manifest).evidence(root))(world, good)


def others_announcement(world: World, good: Receipt) -> Receipt:
    forged = resigned(Announcement, good.participation.announcement)
    return part(announcement=forged)(world, good)


def announcement_with_a_releases_signature(world: World, good: Receipt) -> Receipt:
    forged = other_signature(good.participation.announcement, good.delivery.release)
    return part(announcement=forged)(world, good)


def others_release(world: World, good: Receipt) -> Receipt:
    return end(release=resigned(Release, good.delivery.release))(world, good)


def release_with_an_announcements_signature(world: World, good: Receipt) -> Receipt:
    forged = other_signature(good.delivery.release, good.participation.announcement)
    return end(release=forged)(world, good)


def report_with_one_set_aside(world: World, good: Receipt) -> Receipt:
    report = CohortReport.from_bytes(good.delivery.cohort)
    first, *rest = report.contributions
    changed = (replace(first, outcome=Outcome.SET_ASIDE), *rest)
    return end(cohort=replace(report, contributions=changed).to_bytes())(world, good)


def fewer_approvals(_: World, good: Receipt) -> Receipt:
    return replace(good, approvals=good.approvals[:-1])


def one_approval_thrice(_: World, good: Receipt) -> Receipt:
    return replace(good, approvals=good.approvals[:1] * 3)


def approval_by_a_stranger(_: World, good: Receipt) -> Receipt:
    forged = resigned(Approval, good.approvals[0])
    return replace(good, approvals=(forged, *good.approvals[1:]))


def changed_manifest(_: World, good: Receipt) -> Receipt:
    return replace(good, manifest=good.manifest + b"# and more\n")


def of_round_two(whole: str, *names: str) -> Change:
    """Return what takes parts from a's receipt of the next round."""

    def change(world: World, good: Receipt) -> Receipt:
        other = getattr(Receipt.from_bytes(receipt(world, "a", 2)), whole)
        mixed = replace(getattr(good, whole), **{name: getattr(other, name) for name in names})
        return replace(good, **{whole: mixed})

    return change


# What the refusal says, and what is changed in a's receipt of round 1. Blanks tell equals apart.
CHANGES: dict[str, Change] = {
    "another manifest than yours": changed_manifest,
    "2 members approved": fewer_approvals,
    "1 members approved": one_approval_thrice,
    "2 members approved ": approval_by_a_stranger,
    "evidence is refused: report data": of_round_two("participation", "evidence"),
    "evidence is refused: report data ": part(nonce=b"n" * 32),
    "the nonce's path is not one": part(nonce_path=()),
    "signature of the announcement does not hold": others_evidence,
    "signature of the announcement does not hold ": others_announcement,
    "signature of the announcement does not hold  ": announcement_with_a_releases_signature,
    "its parts are of several rounds": of_round_two("participation", "announcement"),
    "signature of the release does not hold": others_release,
    "signature of the release does not hold ": release_with_an_announcements_signature,
    "the release is of another round": of_round_two("delivery", "release"),
    "the release is of another round ": of_round_two("delivery", "release", "cohort"),
    "not the one that the release names": of_round_two("delivery", "cohort"),
    "not the one that the release names ": report_with_one_set_aside,
    "the log's subtrees do not make its root": end(log_roots=(ZERO, ZERO)),
    "roots of a tree of 5 leaves": end(log_roots=(ZERO,)),
}


@pytest.mark.parametrize("refusal", CHANGES)
def test_a_receipt_that_differs_in_one_part_is_refused_after_a_good_one(
    world: World, refusal: str
) -> None:
    bad = CHANGES[refusal](world, Receipt.from_bytes(receipt(world))).to_bytes()
    shared = warmed(world)
    for _ in range(2):
        # Twice: what fails is not remembered either.
        with pytest.raises(ReceiptInvalid, match=refusal.strip()) as among:
            verify_one_of_many(bad, shared)
        with pytest.raises(ReceiptInvalid) as alone:
            verify_receipt(bad, world.manifest)
        assert (among.value.message, among.value.hint) == (alone.value.message, alone.value.hint)
    assert verify_one_of_many(receipt(world), shared).verdict is Verdict.INCLUDED


def test_a_receipt_with_any_byte_changed_is_refused_after_the_good_one(world: World) -> None:
    good = receipt(world)
    # The time is the client's own note, which nobody signs (see test_receipt.py).
    plain = encode(Receipt.from_bytes(good).participation.to_plain())
    note = good.index(plain) + plain.index(encode("time"))
    shared = warmed(world)
    for position in range(0, len(good), 7):
        if note <= position < note + 10:
            continue
        changed = bytearray(good)
        changed[position] ^= 0x01
        with pytest.raises(ReceiptInvalid):
            verify_one_of_many(bytes(changed), shared)


def expiring_at(world: World, time: int) -> Endorsements:
    """Return endorsements by which nothing is accepted that is judged after `time`."""
    return Endorsements(
        revocations=Revocations(
            federation=world.manifest.name,
            serial=1,
            issued=0,
            expires=time,
            revoked=(),
            floors=(),
        )
    )


def test_evidence_is_judged_anew_for_another_time(world: World) -> None:
    good = Receipt.from_bytes(receipt(world))
    time = good.participation.time
    shared = SharedParts(world.manifest, expiring_at(world, time))
    assert verify_one_of_many(good.to_bytes(), shared).judged_at == time
    later = part(time=time + 1)(world, good).to_bytes()
    with pytest.raises(ReceiptInvalid, match="revocation list is number 1, expires"):
        verify_one_of_many(later, shared)
    earlier = part(time=time - 1)(world, good).to_bytes()
    assert verify_one_of_many(earlier, shared).judged_at == time - 1


def test_what_one_reader_accepts_another_judges_by_its_own(world: World) -> None:
    warmed(world)
    with pytest.raises(ReceiptInvalid, match="revocation list"):
        verify_one_of_many(receipt(world), SharedParts(world.manifest, expiring_at(world, 1)))
    other = Manifest.from_bytes(world.manifest.source + b"# another\n")
    with pytest.raises(ReceiptInvalid, match="another manifest than yours"):
        verify_one_of_many(receipt(world), SharedParts(other, NO_ENDORSEMENTS))


def test_the_log_after_a_round_is_that_with_its_own_end(world: World) -> None:
    shared = warmed(world)
    delivery = Receipt.from_bytes(receipt(world)).delivery
    before = Release.from_bytes(Signed.from_bytes(delivery.release).payload).checkpoint
    own, other = (
        shared.log_after(before.size, before.root, delivery.log_roots, end)
        for end in (delivery.release, b"another end")
    )
    assert own.size == other.size == before.size + 1
    assert own.root != other.root


def test_a_rounds_evidence_is_judged_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[bytes] = []

    def counting(evidence: bytes, *rest: Any) -> Any:
        judged.append(evidence)
        return appraise(evidence, *rest)

    monkeypatch.setattr(shared_parts, "appraise", counting)
    shared = SharedParts(world.manifest, NO_ENDORSEMENTS)
    for name in "abc":
        good = Receipt.from_bytes(receipt(world, name))
        verify_one_of_many(part(time=0)(world, good).to_bytes(), shared)
    assert len(judged) == 1


def test_a_folder_is_judged_in_the_order_asked_for(world: World, tmp_path: Path) -> None:
    files = []
    for number, data in enumerate(every(world)):
        files.append(tmp_path / f"{9 - number}.receipt")
        files[-1].write_bytes(data)
    files[2].write_bytes(b"damaged")
    asked = [*files, files[0]]
    judged = judge_files(asked, world.manifest, NO_ENDORSEMENTS)
    assert [each.path for each in judged] == asked
    assert [each.verified is None for each in judged] == [path == files[2] for path in asked]
    assert judged[-1] == judged[0]
