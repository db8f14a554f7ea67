"""The journal: what is sealed opens again for the same code and machine, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.journal import Journal, Remembered, read_segment
from fedenclave.enclave.sealing.insecure import InsecureSealer
from fedenclave.enclave.sealing.sealer import SealingFailed
from fedenclave.enclave.transitions import (
    ReleasedCohort,
    Snapshot,
    first_snapshot,
    join_checkpoints,
    join_numbers,
    split_checkpoints,
    split_equal,
    split_numbers,
)
from fedenclave.protocol import segment
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Refusal, RequestRefused
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.segment import SegmentHead
from fedenclave.protocol.statements import Checkpoint
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.shards import manifest_of

SNAPSHOT = first_snapshot(Ed25519PrivateKey.generate(), Digest(bytes(32)))


class AnchoredSealer(InsecureSealer):
    """Hardware with a register that can only be extended."""

    def __init__(self, value: bytes = b"v" * 32) -> None:
        self.value = value
        self.extended = 0

    def establish_anchor(self) -> bytes:
        return self.value

    def anchor(self) -> bytes:
        return self.value

    def extend(self, mark: bytes) -> bytes:
        assert len(mark) == 32
        self.value = hashlib.sha256(self.value + mark).digest()
        self.extended += 1
        return self.value


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return manifest_of(DEFAULT_RULES)


def written(journal: Journal, *statements: bytes) -> bytes:
    """Return a segment with a transition for each statement."""
    journal.begin(SNAPSHOT)
    data = b""
    for statement in statements:
        journal.notes.statements.append(statement)
        data += journal.take()
    return data


def refusal(data: bytes, manifest: Manifest, sealer: InsecureSealer | None) -> Refusal:
    with pytest.raises(RequestRefused) as refused:
        read_segment(data, sealer, manifest)
    return refused.value.refusal


def said(remembered: Remembered) -> list[tuple[bytes, ...]]:
    return [transition.statements for transition in remembered.transitions]


def test_what_was_noted_is_remembered_in_order_and_goes_on(manifest: Manifest) -> None:
    sealer = InsecureSealer()
    data = written(Journal(sealer, manifest), b"one", b"two")
    remembered = read_segment(data, sealer, manifest)
    assert remembered.snapshot == SNAPSHOT
    assert said(remembered) == [(b"one",), (b"two",)]
    assert remembered.size == len(data)
    journal = Journal(sealer, manifest)
    journal.follow(remembered)
    journal.notes.statements.append(b"three")
    more = journal.take()
    assert not segment.begins_segment(more)
    assert said(read_segment(data + more, sealer, manifest)) == [(b"one",), (b"two",), (b"three",)]
    # From an older place it goes on otherwise, and the two do not mix.
    journal.follow(remembered)
    journal.notes.statements.append(b"other")
    assert refusal(data + more + journal.take(), manifest, sealer) is Refusal.STATE


def test_nothing_is_written_where_nothing_has_changed_or_nothing_seals(manifest: Manifest) -> None:
    journal = Journal(InsecureSealer(), manifest)
    written(journal, b"one")
    assert journal.take() == b""
    journal.notes.handed_out.append(Checkpoint(size=1, root=Digest(bytes(32))))
    assert journal.take() == b""
    assert written(Journal(None, manifest), b"one") == b""


def test_equal_states_are_sealed_under_other_keys_and_nonces(manifest: Manifest) -> None:
    journal = Journal(InsecureSealer(), manifest)
    first, second = written(journal, b"one"), written(journal, b"one")
    assert not {e.data for e in segment.entries(first)} & {e.data for e in segment.entries(second)}


def flipped(part: bytes, at: int) -> bytes:
    return part[:at] + bytes([part[at] ^ 1]) + part[at + 1 :]


def joined(parts: list[bytes]) -> bytes:
    return segment.MAGIC + b"".join(map(segment.frame, parts))


def swapped(parts: list[bytes], one: int, other: int) -> list[bytes]:
    parts = list(parts)
    parts[one], parts[other] = parts[other], parts[one]
    return parts


def with_head(parts: list[bytes], **changes: object) -> list[bytes]:
    head = replace(SegmentHead.from_bytes(parts[0]), **changes)  # type: ignore[arg-type]
    return [head.to_bytes(), *parts[1:]]


CHANGES: dict[str, Callable[[list[bytes]], bytes]] = {
    "a bit of the snapshot": lambda p: joined([p[0], flipped(p[1], 40), *p[2:]]),
    "a bit of a nonce": lambda p: joined([*p[:2], flipped(p[2], 0), *p[3:]]),
    "a bit of the last entry": lambda p: joined([*p[:-1], flipped(p[-1], len(p[-1]) - 1)]),
    "an entry left out": lambda p: joined([*p[:3], *p[4:]]),
    "the snapshot left out": lambda p: joined([p[0], *p[2:]]),
    "two entries exchanged": lambda p: joined(swapped(p, 3, 4)),
    "an entry twice": lambda p: joined([*p[:4], p[3], *p[4:]]),
    "an entry of one byte": lambda p: joined([*p, b"x"]),
    "an empty entry": lambda p: joined([*p, b""]),
    "nothing but the head": lambda p: joined(p[:1]),
    "nothing but the snapshot": lambda p: joined(p[:2]),
    "no entry": lambda _: segment.MAGIC,
    "nothing": lambda _: b"",
    "no segment": lambda p: b"FEL1" + joined(p)[4:],
    "an endless entry": lambda p: joined(p) + bytes.fromhex("ffffffff"),
    "another sealer": lambda p: joined(with_head(p, sealer="tpm")),
    "another manifest": lambda p: joined(with_head(p, manifest=Digest(bytes(32)))),
    "another version": lambda p: joined(with_head(p, version=2)),
    "another key": lambda p: joined(with_head(p, wrapped_key=InsecureSealer().wrap(bytes(32)))),
    "no key": lambda p: joined(with_head(p, wrapped_key=bytes(32))),
    "another name": lambda p: joined(with_head(p, federation="other")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_segment_that_was_changed_does_not_open(
    manifest: Manifest, change: Callable[[list[bytes]], bytes]
) -> None:
    sealer = InsecureSealer()
    data = written(Journal(sealer, manifest), b"one", b"two", b"three", b"four")
    parts = [entry.data for entry in segment.entries(data)]
    assert joined(parts) == data
    assert refusal(change(parts), manifest, sealer) is Refusal.STATE


def test_every_cut_leaves_the_transitions_before_it(manifest: Manifest) -> None:
    sealer = InsecureSealer()
    data = written(Journal(sealer, manifest), b"one", b"two")
    ends = [entry.end for entry in segment.entries(data)]
    for size in range(ends[2], len(data)):
        remembered = read_segment(data[:size], sealer, manifest)
        assert said(remembered) == [(b"one",)]
        assert remembered.size == ends[2]
    for size in range(ends[2]):
        assert refusal(data[:size], manifest, sealer) is Refusal.STATE


def test_a_state_of_another_version_is_refused_although_this_machine_has_sealed_it(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealer = InsecureSealer()
    with monkeypatch.context() as patch:
        patch.setattr("fedenclave.enclave.journal.VERSION", 2)
        data = written(Journal(sealer, manifest), b"one")
        assert said(read_segment(data, sealer, manifest)) == [(b"one",)]
    assert refusal(data, manifest, sealer) is Refusal.STATE


def test_a_state_of_another_kind_of_sealer_is_refused_although_its_key_opens(
    manifest: Manifest,
) -> None:
    class Other(InsecureSealer):
        name = "other"

    data = written(Journal(InsecureSealer(), manifest), b"one")
    assert refusal(data, manifest, Other()) is Refusal.STATE


def test_no_nonce_is_drawn_twice_under_a_key_not_even_after_a_restart(manifest: Manifest) -> None:
    sealer = InsecureSealer()
    journal = Journal(sealer, manifest)
    data = written(journal, b"one", b"two")
    remembered = read_segment(data, sealer, manifest)
    entries = [entry.data for entry in segment.entries(data)][1:]
    for _ in range(2):  # wound back, and both times under the same key
        again = Journal(sealer, manifest)
        again.follow(remembered)
        again.notes.statements.append(b"three")
        (entry,) = segment.entries(segment.MAGIC + again.take())
        entries.append(entry.data)
    assert len({entry[:12] for entry in entries}) == len(entries) == 5


def test_a_cohort_that_may_be_released_is_sealed_though_nothing_was_signed_for_the_log(
    manifest: Manifest,
) -> None:
    """A shard's answer to a total is no statement of its log, and its guard must remember it."""
    sealer = InsecureSealer()
    journal = Journal(sealer, manifest)
    data = written(journal, b"one")
    cohort = ReleasedCohort.of(Digest(bytes(32)), ["a", "b"], ["a", "b", "c"])
    journal.notes.released.append(cohort)
    data += journal.take()
    assert read_segment(data, sealer, manifest).transitions[-1].released == (cohort,)


def test_without_a_sealer_no_state_is_taken_up(manifest: Manifest) -> None:
    data = written(Journal(InsecureSealer(), manifest), b"one")
    assert refusal(data, manifest, None) is Refusal.STATE


# -- the hardware's anchor


def anchored(sealer: AnchoredSealer, manifest: Manifest) -> tuple[Journal, bytes]:
    """Return a journal on such hardware, and its first segment."""
    journal = Journal(sealer, manifest)
    journal.anchor_here()
    return journal, written(journal, b"start")


def resumed(data: bytes, sealer: AnchoredSealer, manifest: Manifest) -> Journal:
    journal = Journal(sealer, manifest)
    journal.follow(read_segment(data, sealer, manifest))
    return journal


def bound(journal: Journal, statement: bytes) -> bytes:
    """Return a transition that ends a round."""
    journal.settle()
    journal.notes.statements.append(statement)
    journal.bind()
    return journal.take()


def test_a_state_that_another_has_left_behind_is_refused(manifest: Manifest) -> None:
    sealer = AnchoredSealer()
    journal, data = anchored(sealer, manifest)
    states = [data]
    for number in range(3):
        data += bound(journal, b"end %d" % number)
        states.append(data)
    # The last one is with the host, and not settled yet: the machine may stop right here.
    assert sealer.extended == 2
    assert len(read_segment(states[3], sealer, manifest).transitions) == 4
    # The one before could have been the last: nobody has seen anything of what followed.
    assert len(read_segment(states[2], sealer, manifest).transitions) == 3
    assert refusal(states[1], manifest, sealer) is Refusal.ROLLED_BACK
    journal.settle()
    assert sealer.extended == 3
    for old in states[:3]:
        assert refusal(old, manifest, sealer) is Refusal.ROLLED_BACK
    assert len(read_segment(states[3], sealer, manifest).transitions) == 4
    journal.settle()
    assert sealer.extended == 3


def test_of_two_ends_of_one_round_only_one_can_ever_be_settled(manifest: Manifest) -> None:
    """The operator closes a round, winds it back, and closes it again without one client."""
    sealer = AnchoredSealer()
    journal, data = anchored(sealer, manifest)
    with_all = data + bound(journal, b"with all")
    other = resumed(data, sealer, manifest)
    without_one = data + bound(other, b"without one")
    other.settle()
    # Whoever extends what: the first end is never the newest any more, nor can it become that.
    assert refusal(with_all, manifest, sealer) is Refusal.ROLLED_BACK
    with pytest.raises(RequestRefused) as refused:
        journal.settle()
    assert refused.value.refusal is Refusal.ROLLED_BACK
    for _ in range(3):
        sealer.extend(bytes(32))
        for end in (with_all, without_one):
            assert refusal(end, manifest, sealer) is Refusal.ROLLED_BACK


def test_two_runs_of_one_state_at_a_time_cannot_both_go_on(manifest: Manifest) -> None:
    sealer = AnchoredSealer()
    _, data = anchored(sealer, manifest)
    one, other = (resumed(data, sealer, manifest) for _ in range(2))
    bound(one, b"opened by one")
    bound(other, b"opened by the other")
    one.settle()
    with pytest.raises(RequestRefused) as refused:
        other.settle()
    assert refused.value.refusal is Refusal.ROLLED_BACK


def test_after_a_restart_before_it_was_settled_it_is_made_up_for(manifest: Manifest) -> None:
    sealer = AnchoredSealer()
    journal, data = anchored(sealer, manifest)
    data += bound(journal, b"end")
    assert sealer.extended == 0
    again = resumed(data, sealer, manifest)
    again.settle()
    again.settle()
    assert sealer.extended == 1
    # And not once more after a restart that comes later.
    resumed(data, sealer, manifest).settle()
    assert sealer.extended == 1


def test_what_follows_before_it_is_settled_keeps_it_unsettled(manifest: Manifest) -> None:
    """Updates are admitted to a round whose opening is not settled yet."""
    sealer = AnchoredSealer()
    journal, data = anchored(sealer, manifest)
    data += bound(journal, b"opening")
    journal.notes.statements.append(b"admission")
    data += journal.take()
    resumed(data, sealer, manifest).settle()
    assert sealer.extended == 1
    journal.settle()  # the run before finds it settled
    assert sealer.extended == 1
    journal.notes.statements.append(b"another admission")
    data += journal.take()
    assert len(read_segment(data, sealer, manifest).transitions) == 4


def test_nothing_is_bound_behind_what_is_not_settled(manifest: Manifest) -> None:
    """Or the mark of the one before would be lost, and with it the state."""
    journal, _ = anchored(AnchoredSealer(), manifest)
    bound(journal, b"opening")
    with pytest.raises(RuntimeError, match="not settled"):
        journal.bind()
    journal.settle()
    journal.bind()


class FailingOnce(AnchoredSealer):
    """Extends, and fails before it can say so."""

    failures = 1

    def extend(self, mark: bytes) -> bytes:
        value = super().extend(mark)
        if self.failures:
            self.failures -= 1
            raise SealingFailed("the tpm answers no more")
        return value


def test_hardware_that_fails_after_it_has_extended_is_asked_again(manifest: Manifest) -> None:
    sealer = FailingOnce()
    journal, _ = anchored(sealer, manifest)
    bound(journal, b"end")
    with pytest.raises(SealingFailed):
        journal.settle()
    journal.settle()
    assert sealer.extended == 1


def test_somebody_else_extending_the_anchor_stops_the_enclave(manifest: Manifest) -> None:
    sealer = AnchoredSealer()
    journal, data = anchored(sealer, manifest)
    data += bound(journal, b"end")
    sealer.extend(bytes(32))
    with pytest.raises(RequestRefused) as refused:
        journal.settle()
    assert refused.value.refusal is Refusal.ROLLED_BACK
    assert refusal(data, manifest, sealer) is Refusal.ROLLED_BACK


@pytest.mark.parametrize("value", [b"", bytes(32), b"w" * 32])
def test_an_anchor_of_another_machine_fits_no_state(manifest: Manifest, value: bytes) -> None:
    _, data = anchored(AnchoredSealer(), manifest)
    assert refusal(data, manifest, AnchoredSealer(value)) is Refusal.ROLLED_BACK


def test_a_state_of_a_machine_without_an_anchor_fits_none_with_one(manifest: Manifest) -> None:
    data = written(Journal(InsecureSealer(), manifest), b"start")
    assert refusal(data, manifest, AnchoredSealer()) is Refusal.ROLLED_BACK


# -- joined values


def test_joined_values_come_apart_as_they_were() -> None:
    checkpoints = {Checkpoint(size=n, root=Digest(bytes([n]) * 32)) for n in range(5)}
    assert split_checkpoints(join_checkpoints(checkpoints)) == checkpoints
    numbers = [0.1, -0.0, 5e-324, 1.7e308, 3.0]
    assert [n.hex() for n in split_numbers(join_numbers(numbers))] == [n.hex() for n in numbers]
    assert split_equal(b"aabb", 2) == (b"aa", b"bb")
    for split in (split_checkpoints, split_numbers, lambda b: split_equal(b, 2)):
        with pytest.raises(MalformedMessage):
            split(b"odd")
    roster = [f"c{n:02d}" for n in range(19)]
    cohorts = [
        ReleasedCohort.of(Digest(bytes([n]) * 32), clients, roster)
        for n, clients in enumerate((["c18", "c00"], roster, [], roster[7:9]))
    ]
    joined = b"".join(cohort.joined() for cohort in cohorts)
    assert ReleasedCohort.split(joined, 19) == cohorts
    assert [cohort.names(roster) for cohort in cohorts] == [
        ["c00", "c18"],
        roster,
        [],
        ["c07", "c08"],
    ]
    with pytest.raises(MalformedMessage):
        ReleasedCohort.split(joined, 25)


def test_a_snapshot_of_a_federation_of_many_years_still_decodes() -> None:
    """A record has at most 262,144 values: what grows with age must not be one value each."""
    checkpoints = join_checkpoints(
        Checkpoint(size=n, root=Digest(n.to_bytes(32, "big"))) for n in range(20_000)
    )
    roster = [f"client-{n:04d}" for n in range(1000)]
    history = b"".join(
        ReleasedCohort.of(Digest(n.to_bytes(32, "big")), roster, roster).joined()
        for n in range(10_000)
    )
    # A round a day for 27 years, with all of a thousand clients.
    old = replace(SNAPSHOT, handed_out=checkpoints, history=history)
    assert Snapshot.from_bytes(old.to_bytes()) == old
    assert len(old.to_bytes()) < 3 << 20
