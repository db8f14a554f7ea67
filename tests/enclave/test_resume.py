"""A federation that is resumed, without a process: what a restart must bring back, and how exactly.

The host is whoever runs the test: it writes down what the enclave seals, and hands files in again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.enclave.federation import Federation
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.journal import Remembered, read_segment
from fedenclave.enclave.sealing.insecure import InsecureSealer
from fedenclave.enclave.states import State
from fedenclave.protocol import segment
from fedenclave.protocol.aggregation import Adam
from fedenclave.protocol.digests import Digest, sha256
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.frames import Closed
from fedenclave.protocol.manifest import Rules
from fedenclave.protocol.opening import RoundKey
from fedenclave.protocol.statements import Outcome, Suite
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.cohort import memory_file
from tests.enclave.shards import (
    CLIENT_KEYS,
    SCHEMA,
    TRAINING,
    Enclave,
    Shared,
    damaged,
    released,
    signed_peers,
)

ADAM = replace(DEFAULT_RULES, server=Adam(eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3))
SIX = sorted(CLIENT_KEYS)[:6]
WEIGHTS = {name: number + 1 for number, name in enumerate(SIX)}


class Sealed(Enclave):
    """An enclave whose host writes down everything that it seals, and can start it again."""

    def __init__(self, number: int = 0, rules: Rules = DEFAULT_RULES) -> None:
        self.sealer = InsecureSealer()
        super().__init__(number, rules, self.sealer)
        self.segment = b""
        self.write()

    def write(self) -> bytes:
        """Write down what has changed since, and return the segment."""
        new = self.federation.transition()
        self.segment = new if segment.begins_segment(new) else self.segment + new
        return self.segment

    def open(self, cohort: Sequence[str], training: Digest = TRAINING) -> bytes:
        self.write()
        announcement = super().open(cohort, training)
        self.write()
        return announcement

    def resume(self, written: bytes | None = None, base: HostFile | None = None) -> Remembered:
        """End the enclave, and start it on a segment and a model; no file is attached."""
        self.write()
        self.federation, remembered = Federation.resume(
            agreed=self.agreed,
            lent=self.lent,
            base_model=base or self.base,
            segment=self.segment if written is None else written,
            sealer=self.sealer,
        )
        return remembered

    def attach(self, *clients: str) -> None:
        for client in clients:
            # The descriptor is the enclave's then, and this file is still the host's.
            self.federation.attach(again(self.files[client]))

    def end(self) -> Closed:
        """Release, and let no model be written."""
        return self.federation.close_round(self.base, self.states, 1)

    def repeated(self) -> Closed:
        self.federation.repeat(self.base, self.states)
        return self._released(self.federation.last_closed())


def again(file: HostFile) -> HostFile:
    """Return a file of the host's under another descriptor."""
    return HostFile(os.dup(file._descriptor))


def collected(number: int = 0, cohort: Sequence[str] = SIX) -> Sealed:
    """Return an enclave with an open round, in which the cohort is admitted."""
    enclave = Sealed(number)
    collect(enclave, cohort)
    return enclave


def collect(enclave: Sealed, cohort: Sequence[str] = SIX, seed: int = 0) -> None:
    enclave.open(cohort)
    for name in cohort:
        enclave.admit({name: WEIGHTS[name]}, seed)
        enclave.write()
        # The one that the enclave has ends with the round.
        enclave.files[name] = again(enclave.files[name])


def refusal(ask: Callable[[], object]) -> Refusal:
    with pytest.raises(RequestRefused) as refused:
        ask()
    return refused.value.refusal


# -- the open round


def test_after_a_restart_no_fingerprint_is_made_under_the_key_of_the_earlier_run() -> None:
    """Nonces would be drawn twice: also of what was rejected, which nobody remembers."""
    enclave, keys = Sealed(), []
    enclave.open(SIX)
    for more in (SIX[:1], SIX[1:2], SIX[2:3], SIX[3:4]):
        round_ = enclave.federation._round
        assert round_ is not None
        keys.append(round_._fingerprinter.key)
        enclave.resume()
        enclave.attach(*enclave.files)
        enclave.admit({name: WEIGHTS[name] for name in more})
        enclave.files[more[0]] = again(enclave.files[more[0]])
        enclave.write()
    round_ = enclave.federation._round
    assert round_ is not None
    assert len({*keys, round_._fingerprinter.key}) == 5
    # And each update is read by the key of the run that has admitted it.
    enclave.resume()
    enclave.attach(*SIX[:4])
    undisturbed = collected(1, SIX[:4])
    undisturbed.close()
    enclave.close()
    assert enclave.model() == undisturbed.model()


def test_a_resumed_round_releases_the_bits_of_one_that_was_never_interrupted() -> None:
    undisturbed, enclave = collected(1), collected()
    undisturbed.close()
    enclave.resume()
    assert enclave.federation.state is State.COLLECTING
    assert enclave.federation.round_number == undisturbed.federation.round_number == 1
    assert len(enclave.federation.awaits()) == 6
    enclave.attach(*SIX)
    assert enclave.federation.awaits() == ()
    enclave.close()
    assert enclave.model() == undisturbed.model()


def test_resumed_before_its_first_round_it_is_the_enclave_that_has_started() -> None:
    enclave = Sealed()
    start, key, log = enclave.federation.start_signed, enclave.key, enclave.federation.log
    assert start
    for _ in range(2):
        enclave.resume()
        assert enclave.federation.start_signed == start
        assert (enclave.key, enclave.federation.log) == (key, log)
        assert enclave.federation.transition() == b"", "a restart changes nothing"
    collect(enclave)
    enclave.close()
    enclave.resume()
    assert enclave.federation.start_signed == start


def test_a_file_is_attached_once_and_only_to_the_update_that_lacks_it() -> None:
    enclave = collected(cohort=SIX[:4])
    enclave.resume()
    enclave.attach(SIX[0])
    admitted = enclave.federation._round.admitted  # type: ignore[union-attr]
    first = admitted[SIX[0]].file
    lacking = enclave.federation.awaits()
    files = [enclave.files[SIX[0]], memory_file(), memory_file(b"FEU1" + bytes(60))]
    for file in files:
        assert refusal(lambda file=file: enclave.federation.attach(file)) is Refusal.STORAGE
        file.size()  # it is open still: nobody has taken it over
    assert enclave.federation.awaits() == lacking
    assert admitted[SIX[0]].file is first


def test_an_aborted_round_with_files_that_never_came_ends_as_any_other() -> None:
    enclave = collected(cohort=SIX[:4])
    enclave.resume()
    enclave.attach(SIX[0])
    enclave.federation.abort_round(1)
    assert enclave.federation.admitted == 0
    assert enclave.federation._log.knows(enclave.federation.log), "clients present this one"
    enclave.resume()
    assert enclave.federation.state is State.IDLE
    assert enclave.federation._log.knows(enclave.federation.log)


def test_every_checkpoint_that_a_client_may_hold_is_known_after_rounds_and_restarts() -> None:
    enclave, handed_out = Sealed(), []
    for _ in range(3):
        collect(enclave)
        handed_out += enclave.federation._log._handed_out
        enclave.close()
        handed_out.append(enclave.federation.log)
        enclave.resume()
        assert all(map(enclave.federation._log.knows, handed_out))
        # Two of each round are given to clients: before its announcement, and after its end.
        assert enclave.federation.log in handed_out


def test_after_another_round_is_opened_no_earlier_release_is_handed_over_again() -> None:
    enclave = collected()
    closed = enclave.close()
    enclave.resume()
    assert enclave.federation.last_closed() == closed
    assert enclave.federation.closed_before == closed.to_bytes()
    enclave.open(SIX)
    assert refusal(enclave.federation.last_closed) is Refusal.WRONG_STATE
    enclave.resume()
    assert refusal(enclave.federation.last_closed) is Refusal.WRONG_STATE
    enclave.federation.abort_round(1)
    assert refusal(enclave.federation.last_closed) is Refusal.WRONG_STATE
    enclave.resume()
    assert refusal(enclave.federation.last_closed) is Refusal.WRONG_STATE
    assert enclave.federation.closed_before == b""


# -- a release whose model was not written


def unwritten(enclave: Sealed) -> Closed:
    """End the round, and the enclave before anybody has fetched the model."""
    closed = enclave.end()
    enclave.resume()
    assert enclave.federation.state is State.UNWRITTEN
    return closed


def test_a_model_is_computed_again_of_those_that_were_released_and_of_nobody_else() -> None:
    enclave, undisturbed = collected(), collected(1)
    for each in (enclave, undisturbed):
        damaged(each.files[SIX[5]], 5000)
    expected = undisturbed.close()
    closed = unwritten(enclave)
    report = released(closed)[1]
    assert [c.client for c in report.contributions if c.outcome is Outcome.SET_ASIDE] == [SIX[5]]
    assert len(released(expected)[1].contributions) == 6
    assert len(enclave.federation.awaits()) == 5
    assert refusal(lambda: enclave.attach(SIX[5])) is Refusal.STORAGE
    enclave.attach(*SIX[:5])
    log = enclave.federation.log
    assert enclave.repeated() == closed
    assert enclave.model() == undisturbed.model()
    assert enclave.federation.log == log, "something was signed anew"
    assert enclave.federation.state is State.IDLE


def test_with_an_update_that_is_gone_no_other_model_is_made_in_the_releases_name() -> None:
    enclave, undisturbed = collected(), collected(1)
    undisturbed.close()
    closed = unwritten(enclave)
    enclave.attach(*SIX[:5])
    log, into = enclave.federation.log, memory_file()
    # Nobody is set aside: what the others make together was never released.
    for _ in range(3):
        assert refusal(enclave.repeated) is Refusal.STORAGE
        assert refusal(lambda: enclave.federation.write_model(into)) is Refusal.WRONG_STATE
        assert into.size() == 0
        assert enclave.federation.state is State.UNWRITTEN
        assert enclave.federation.log == log
    # With every file it gives the model.
    enclave.attach(SIX[5])
    assert enclave.repeated() == closed
    assert enclave.model() == undisturbed.model()


def test_there_is_nothing_to_repeat_where_the_model_was_written() -> None:
    enclave = collected()
    enclave.close()
    enclave.resume()
    assert enclave.federation.state is State.IDLE
    assert refusal(enclave.repeated) is Refusal.WRONG_STATE
    enclave.open(SIX)
    assert refusal(enclave.repeated) is Refusal.WRONG_STATE


def test_the_optimiser_goes_on_behind_a_model_that_was_computed_again() -> None:
    enclave, undisturbed = Sealed(0, ADAM), Sealed(1, ADAM)
    for number in range(4):
        for each in (enclave, undisturbed):
            collect(each, seed=number)
        undisturbed.close()
        closed = unwritten(enclave)
        enclave.attach(*SIX)
        assert enclave.repeated() == closed
        assert enclave.model() == undisturbed.model()
        enclave.write()
        if number % 2:
            enclave.resume()  # and so it does from the sealed state


def test_an_enclave_whose_state_has_no_release_for_the_hosts_model_takes_up_neither() -> None:
    """The model on the disk must be the newest or, for a release of its own, the one before."""
    enclave = collected()
    first = again(enclave.base)
    enclave.close()
    enclave.write()
    ended = enclave.segment
    second = again(enclave.base)
    collect(enclave)
    enclave.close()
    enclave.write()
    third = again(enclave.base)
    for model in (first, memory_file(bytes(SCHEMA.payload_size))):
        assert refusal(lambda model=model: enclave.resume(base=model)) is Refusal.WRONG_MODEL
    assert refusal(lambda: enclave.resume(ended, third)) is Refusal.WRONG_MODEL
    enclave.resume(ended, second)
    enclave.resume(ended, first)
    assert enclave.federation.state is State.UNWRITTEN


# -- shared cohorts


def shared() -> tuple[Shared, Sealed, Sealed]:
    root, shard = Sealed(0), Sealed(1)
    both = Shared([root, shard])
    both.peers = signed_peers([root, shard])
    collect(root, SIX[:3])
    collect(shard, SIX[3:])
    return both, root, shard


def test_a_round_that_other_enclaves_have_heard_of_does_not_outlive_its_run() -> None:
    """What a shard has answered, and a root has asked, would be forgotten."""
    both, root, shard = shared()
    both.sums()
    for each in (root, shard):
        assert refusal(each.resume) is Refusal.STATE
        assert each.federation.log.size > 0
    # Ended it is a state as any other.
    shard.federation.abort_round(1)
    shard.resume()
    assert shard.federation.state is State.IDLE


def test_a_shard_whose_optimiser_is_behind_knows_it_after_a_restart_and_releases_nothing() -> None:
    root, shard = Sealed(0, ADAM), Sealed(1, ADAM)
    both = Shared([root, shard], signed_peers([root, shard]))
    collect(root, SIX[:3])
    collect(shard, SIX[3:])
    old = again(shard.base)
    closed = both.release()
    # Without the root's model it cannot go on: it has none of the updates to make it again.
    assert refusal(lambda: shard.resume(base=old)) is Refusal.WRONG_MODEL
    shard.resume()
    assert shard.federation._base_digest == released(closed)[0].model
    collect(shard, SIX)
    assert refusal(shard.end) is Refusal.WRONG_STATE
    shard.resume()
    shard.attach(*SIX)
    assert refusal(shard.end) is Refusal.WRONG_STATE


# -- what no code of ours has sealed (in development anybody can)


def forged(enclave: Sealed, change: Callable[[list[Any]], object]) -> bytes:
    """Return the segment with its snapshot and transitions changed, sealed as if by the enclave."""
    remembered = read_segment(enclave.write(), enclave.sealer, enclave.manifest)
    records: list[Any] = [remembered.snapshot, *remembered.transitions]
    change(records)
    (head, *_) = segment.entries(enclave.segment)
    before, data = head.data, segment.MAGIC + segment.frame(head.data)
    for record in records:
        nonce = os.urandom(12)
        plain = record.to_bytes()
        plain = len(plain).to_bytes(4, "big") + plain
        sealed = AESGCM(remembered.key).encrypt(nonce, plain, sha256(before))
        before = nonce + sealed
        data += segment.frame(before)
    return data


def snapshot(**changes: Any) -> Callable[[list[Any]], object]:
    return lambda records: records.__setitem__(0, replace(records[0], **changes))


def kept(**changes: Any) -> Callable[[list[Any]], object]:
    def change(records: list[Any]) -> None:
        (update,) = records[2].kept
        records[2] = replace(records[2], kept=(replace(update, **changes),))

    return change


def transition(**changes: Any) -> Callable[[list[Any]], object]:
    return lambda records: records.__setitem__(1, replace(records[1], **changes))


FORGERIES: dict[str, Callable[[list[Any]], object]] = {
    "more roots than the log has": snapshot(log_roots=bytes(64)),
    "no roots": snapshot(log_roots=b""),
    "a part of a root": snapshot(log_roots=bytes(33)),
    "a part of a checkpoint": snapshot(handed_out=bytes(41)),
    "a signing key of another length": snapshot(signing_key=bytes(31)),
    "a history for another roster": snapshot(history=bytes(34)),
    "a stranger's update": kept(client="nobody"),
    "a content key of another length": kept(content_key=bytes(31)),
    "fingerprints of another length": kept(fingerprints=bytes(17)),
    "too few numbers": kept(numbers=bytes(8)),
    "a part of a number": kept(numbers=bytes(17)),
    "a round without announcement": transition(statements=()),
    "a round without a key": lambda records: transition(
        opened=(replace(records[1].opened[0], private_key=b"x"),)
    )(records),
    "a part of a checkpoint handed out": transition(handed_out=bytes(39)),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_state_whose_parts_do_not_fit_together_is_refused_as_one(
    change: Callable[[list[Any]], object],
) -> None:
    enclave = collected(cohort=SIX[:4])
    right = enclave.write()
    enclave.resume(forged(enclave, lambda _: None))
    assert refusal(lambda: enclave.resume(forged(enclave, change))) is Refusal.STATE
    enclave.resume(right)
    assert enclave.federation.admitted == 4


@pytest.mark.parametrize(("suite", "size"), [(Suite.X25519, 96), (Suite.HYBRID, 32)])
def test_a_round_key_of_the_other_suite_is_none(suite: Suite, size: int) -> None:
    with pytest.raises(ValueError, match=f"a private key of {size} bytes"):
        RoundKey(suite, bytes(range(size)))
