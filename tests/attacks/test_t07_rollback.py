"""T7: the operator restarts, rolls back or forks the enclave, to run a round a second time."""

from dataclasses import replace

import pytest

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import EnclaveRefused, Reason
from fedenclave.protocol.sealed_update import read_envelope
from fedenclave.protocol.signing import verify
from fedenclave.protocol.statements import Announcement, Checkpoint, UpdateHeader
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.world import FIRST, World, now, payload_of

FILE = FIRST.to_bytes()


def test_host_restarting_the_enclave_on_the_same_manifest_is_refused_by_its_clients(
    world: World,
) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    world.close()
    world.start()
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
    world.close()
    world.start()
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
    assert world.sessions["a"].state.checkpoint == (released,)
    world.open()
    header = UpdateHeader.from_bytes(read_envelope(world.sealed("a", 1)).header)
    assert header.checkpoint == released
    assert world.sessions["a"].state.checkpoint == (world.announcement.checkpoint,)


def test_enclave_with_the_same_key_and_a_shorter_or_other_log_is_refused(world: World) -> None:
    """What a rolled-back sealed state would look like: the key is kept, the log is not."""
    session, liar = world.sessions["a"], LyingEnclave(world.manifest)
    seen = Checkpoint(size=7, root=Digest(b"r" * 32))
    first = liar.offer(session.hello(now()).nonce, announcement=liar.announcement(checkpoint=seen))
    session.seal(
        session.accept(first, FILE, now(), training_config=NO_TRAINING_CONFIG), payload_of(1), 1
    )
    for checkpoint in (replace(seen, size=6), replace(seen, root=Digest(b"s" * 32))):
        nonce = session.hello(now()).nonce
        before = session.state
        announced = liar.announcement(round=2, checkpoint=checkpoint)
        with pytest.raises(EnclaveRefused, match="log has"):
            session.accept(
                liar.offer(nonce, announcement=announced),
                FILE,
                now(),
                training_config=NO_TRAINING_CONFIG,
            )
        assert session.state == before
    for checkpoint in (seen, Checkpoint(size=8, root=Digest(b"s" * 32))):
        nonce = session.hello(now()).nonce
        announced = liar.announcement(round=2, checkpoint=checkpoint)
        accepted = session.accept(
            liar.offer(nonce, announcement=announced),
            FILE,
            now(),
            training_config=NO_TRAINING_CONFIG,
        )
        key = accepted.attestation.signing_key
        assert verify(Announcement, announced, key) == accepted.announcement


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
