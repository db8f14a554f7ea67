"""The journal: what is sealed opens again for the same code and machine, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.journal import Journal, Remembered, read_segment
from fedenclave.enclave.sealing.insecure import InsecureSealer
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


class CountingSealer(InsecureSealer):
    """Hardware with a counter."""

    def __init__(self, value: int = 7) -> None:
        self.value = value

    def counter(self) -> int:
        return self.value

    def count(self) -> int:
        self.value += 1
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
    journal.follow(remembered.key, remembered.last, counter=0)
    journal.notes.statements.append(b"three")
    more = journal.take()
    assert not segment.begins_segment(more)
    assert said(read_segment(data + more, sealer, manifest)) == [(b"one",), (b"two",), (b"three",)]
    # From an older place it goes on otherwise, and the two do not mix.
    journal.follow(remembered.key, remembered.last, counter=0)
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
        again.follow(remembered.key, remembered.last, counter=0)
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
    cohort = ReleasedCohort.of(Digest(bytes(32)), ["a", "b"])
    journal.notes.released.append(cohort)
    data += journal.take()
    assert read_segment(data, sealer, manifest).transitions[-1].released == (cohort,)


def test_without_a_sealer_no_state_is_taken_up(manifest: Manifest) -> None:
    data = written(Journal(InsecureSealer(), manifest), b"one")
    assert refusal(data, manifest, None) is Refusal.STATE


# -- the hardware's counter


def counted(journal: Journal, statement: bytes) -> bytes:
    """Return a transition that ends a round."""
    journal.settle()
    journal.notes.statements.append(statement)
    journal.count()
    return journal.take()


def test_a_state_behind_the_counter_is_refused(manifest: Manifest) -> None:
    sealer = CountingSealer()
    journal = Journal(sealer, manifest)
    data = written(journal, b"start")
    assert sealer.value == 7
    states = [data]
    for number in range(3):
        data += counted(journal, b"end %d" % number)
        states.append(data)
    # The last one is with the host, and not settled yet: the machine may stop right here.
    assert sealer.value == 9
    assert len(read_segment(states[3], sealer, manifest).transitions) == 4
    assert refusal(states[1], manifest, sealer) is Refusal.ROLLED_BACK
    # The one before could have been the last: nobody has seen anything of what followed.
    assert len(read_segment(states[2], sealer, manifest).transitions) == 3
    journal.settle()
    assert sealer.value == 10
    for old in states[:3]:
        assert refusal(old, manifest, sealer) is Refusal.ROLLED_BACK
    assert len(read_segment(states[3], sealer, manifest).transitions) == 4
    journal.settle()
    assert sealer.value == 10


def test_after_a_restart_before_the_count_it_is_made_up_for(manifest: Manifest) -> None:
    sealer = CountingSealer()
    journal = Journal(sealer, manifest)
    data = written(journal, b"start") + counted(journal, b"end")
    assert sealer.value == 7
    remembered = read_segment(data, sealer, manifest)
    again = Journal(sealer, manifest)
    again.follow(remembered.key, remembered.last, counter=remembered.counter)
    again.settle()
    assert sealer.value == 8
    again.settle()
    assert sealer.value == 8


def test_a_counter_that_somebody_else_moves_stops_the_enclave(manifest: Manifest) -> None:
    sealer = CountingSealer()
    journal = Journal(sealer, manifest)
    written(journal, b"start")
    counted(journal, b"end")
    sealer.count()
    with pytest.raises(RequestRefused) as refused:
        journal.settle()
    assert refused.value.refusal is Refusal.ROLLED_BACK


def test_what_is_counted_twice_before_the_host_has_it_counts_once(manifest: Manifest) -> None:
    sealer = CountingSealer()
    journal = Journal(sealer, manifest)
    data = written(journal, b"start")
    journal.count()
    data += counted_without_settling(journal, b"end")
    assert read_segment(data, sealer, manifest).counter == 8
    journal.settle()
    assert sealer.value == 8


def counted_without_settling(journal: Journal, statement: bytes) -> bytes:
    journal.notes.statements.append(statement)
    journal.count()
    return journal.take()


@pytest.mark.parametrize("hardware", [0, 1, 5, 9, 2**40])
def test_a_counter_of_another_machine_fits_no_state(manifest: Manifest, hardware: int) -> None:
    data = written(Journal(CountingSealer(7), manifest), b"start")
    assert refusal(data, manifest, CountingSealer(hardware)) is Refusal.ROLLED_BACK


def test_a_state_of_a_first_count_does_not_fit_a_machine_whose_counter_was_removed(
    manifest: Manifest,
) -> None:
    data = written(Journal(CountingSealer(1), manifest), b"start")
    assert refusal(data, manifest, InsecureSealer()) is Refusal.ROLLED_BACK


def test_a_state_of_a_machine_without_a_counter_fits_none_with_one(manifest: Manifest) -> None:
    data = written(Journal(InsecureSealer(), manifest), b"start")
    assert refusal(data, manifest, CountingSealer(1)) is Refusal.ROLLED_BACK


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
    cohort = ReleasedCohort.of(Digest(bytes(32)), ["b", "a"])
    assert cohort.owners({"a": "A", "b": "B", "c": "C"}) == {"a": "A", "b": "B"}


def test_a_snapshot_of_a_federation_of_many_years_still_decodes() -> None:
    """A record has at most 262,144 values: what grows with age must not be one value each."""
    checkpoints = join_checkpoints(
        Checkpoint(size=n, root=Digest(n.to_bytes(32, "big"))) for n in range(20_000)
    )
    names = [f"client-{n:04d}" for n in range(100)]
    history = tuple(ReleasedCohort.of(Digest(n.to_bytes(32, "big")), names) for n in range(10_000))
    old = replace(SNAPSHOT, handed_out=checkpoints, history=history)
    assert Snapshot.from_bytes(old.to_bytes()) == old
