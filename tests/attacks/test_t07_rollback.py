"""T7: the operator restarts, rolls back or forks the enclave, to run a round a second time."""

from dataclasses import replace

import pytest

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.attack_suite.world import FIRST, now, payload_of
from fedenclave.client.session import AcceptedRound
from fedenclave.protocol import merkle
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import EnclaveRefused, Reason
from fedenclave.protocol.exchange import LogPart
from fedenclave.protocol.log_file import frame
from fedenclave.protocol.sealed_update import read_envelope
from fedenclave.protocol.statements import Checkpoint, UpdateHeader
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.world import World

FILE = FIRST.to_bytes()


def test_host_restarting_the_enclave_on_the_same_manifest_is_refused_by_its_clients(
    world: World,
) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    world.restart(state=False)
    world.open()  # round 1 once more, on the first model
    for name, session in world.sessions.items():
        before = session.state
        with pytest.raises(EnclaveRefused, match="another enclave"):
            world.accept(name)
        assert session.state == before
    # Nor does a client forget it when it restarts itself.
    world.sessions["a"] = world.session("a")
    with pytest.raises(EnclaveRefused, match="another enclave"):
        world.accept("a")


def test_host_giving_a_restarted_enclave_the_old_updates_opens_nothing(world: World) -> None:
    world.open()
    sealed = [world.sealed(name, 1) for name in "abc"]
    world.restart(state=False)
    world.aggregator.open_round(["a", "b", "c"], NO_TRAINING_CONFIG)
    for update in sealed:
        result = world.aggregator.submit([update])
        assert (result.admitted, result.reason) == (False, Reason.WRONG_ROUND.value)
    assert world.status().admitted == 0


def test_enclave_that_has_not_been_where_the_client_was_refuses_its_update(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    world.open()
    held = world.sessions["a"].state.checkpoint[0]
    futures = (
        Checkpoint(size=held.size + 100, root=held.root),
        Checkpoint(size=held.size, root=Digest(bytes(32))),
        Checkpoint(size=held.size - 1, root=held.root),
    )
    for checkpoint in futures:
        result = world.aggregator.submit([world.forge("a", payload_of(1), checkpoint=checkpoint)])
        assert result.reason == Reason.ENCLAVE_OLDER_THAN_CLIENT.value
    # With what the client does hold, it is admitted.
    world.contribute({"a": 1})


def test_client_presents_the_newest_checkpoint_that_it_holds(world: World) -> None:
    world.open()
    first = world.announcement.checkpoint
    world.contribute({"a": 1, "b": 1})
    assert world.sessions["a"].state.checkpoint == (first,)
    released = world.release("ab")[0].checkpoint
    # The log with the release itself behind it.
    (held,) = world.sessions["a"].state.checkpoint
    assert held.size == released.size + 1 == world.status().log_size
    assert held.root == merkle.root(world.aggregator.leaves(0))
    world.open()
    header = UpdateHeader.from_bytes(read_envelope(world.sealed("a", 1)).header)
    assert header.checkpoint == held
    assert world.sessions["a"].state.checkpoint == (world.announcement.checkpoint,)


def test_client_that_was_away_presents_what_it_holds_and_not_what_it_is_offered(
    world: World,
) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    (held,) = world.sessions["c"].state.checkpoint
    world.open(["a", "b"])
    world.contribute({"a": 1, "b": 1})
    world.release("ab")
    world.open()
    sealed = world.sealed("c", 1)
    assert UpdateHeader.from_bytes(read_envelope(sealed).header).checkpoint == held
    assert held != world.announcement.checkpoint
    assert world.submit("c", sealed).admitted


def test_enclave_with_the_same_key_and_another_or_a_shorter_log_is_refused(world: World) -> None:
    """What a forked sealed state would look like: the key is kept, the log is not."""
    session, liar = world.sessions["a"], LyingEnclave(world.manifest)
    true = [*liar.log, *(liar.release(round=number) for number in range(1, 12))]
    forked = [*true[:6], liar.release(round=66), *true[7:]]
    liar.log = true[:7]
    first = liar.offer(session.hello(now()).nonce, announcement=liar.announcement())
    session.seal(
        session.accept(first, FILE, now(), training_config=NO_TRAINING_CONFIG), payload_of(1), 1
    )
    assert session.hello(now()).log_size == 7

    def accept(log: list[bytes], brought: LogPart) -> AcceptedRound:
        nonce = session.hello(now()).nonce
        liar.log = log
        offer = liar.offer(nonce, announcement=liar.announcement(round=2), log=brought)
        return session.accept(offer, FILE, now(), training_config=NO_TRAINING_CONFIG)

    def part(log: list[bytes], first: int = 0) -> LogPart:
        return LogPart(first=first, entries=b"".join(map(frame, log[first:])))

    nothing = LogPart(first=7, entries=b"")
    for log, brought in (
        (true[:6], part(true[:6])),
        (true[:6], nothing),
        (forked[:7], part(forked[:7])),
        (forked[:7], nothing),
        (forked, part(forked)),
        (forked, part(forked, 7)),
        (forked, part(true, 7)),
        (true, nothing),
        (true, part(true[:11], 7)),
        (true, part([*true, true[0]], 8)),
        (true, part([*true[:9], true[10], true[9], true[11]], 7)),
    ):
        before = session.state
        with pytest.raises(EnclaveRefused, match="not shown to go on from the 7"):
            accept(log, brought)
        assert replace(session.state, nonces=()) == replace(before, nonces=())
    with pytest.raises(EnclaveRefused, match="does not hold"):
        accept(true, LogPart(first=7, entries=part(true, 7).entries[:-1]))
    for log, brought in (
        (true[:7], nothing),
        (true[:8], part(true[:8])),
        # More than was asked for, on both sides: the host need not know what the client has.
        (true[:11], part(true, 5)),
        (true, part(true, 11)),
    ):
        accepted = accept(log, brought)
        assert accepted.announcement.checkpoint.size == session.hello(now()).log_size == len(log)


def test_the_log_is_shown_to_go_on_for_whoever_was_away_for_rounds(world: World) -> None:
    for cohort in ("abc", "ab", "bc", "ac"):
        world.open(list(cohort))
        world.contribute(dict.fromkeys(cohort, 1.0))
        world.release(cohort)
    # And where a client that has said hello gets its receipt only afterwards.
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    _, deliveries = world.coordinator.close()
    hellos = {name: world.sessions[name].hello(now()) for name in "abc"}
    for name in "ab":
        world.sessions[name].take_delivery(deliveries[name])
    world.offers = world.coordinator.open(hellos, NO_TRAINING_CONFIG)
    for name in "abc":
        assert world.submit(name, world.sealed(name, 1)).admitted


def test_enclave_with_the_same_key_and_an_earlier_round_is_refused(world: World) -> None:
    session, liar = world.sessions["a"], LyingEnclave(world.manifest)
    first = liar.offer(session.hello(now()).nonce, announcement=liar.announcement(round=5))
    session.seal(
        session.accept(first, FILE, now(), training_config=NO_TRAINING_CONFIG), payload_of(1), 1
    )
    for number in (0, 4, 5):
        nonce = session.hello(now()).nonce
        announced = liar.announcement(round=number)
        with pytest.raises(EnclaveRefused, match="sealed for round 5 already"):
            session.accept(
                liar.offer(nonce, announcement=announced),
                FILE,
                now(),
                training_config=NO_TRAINING_CONFIG,
            )
