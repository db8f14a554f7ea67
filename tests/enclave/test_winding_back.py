"""Restarts that the operator makes use of: real federations without processes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import pytest

from fedenclave.enclave.federation import Federation
from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.journal import read_segment
from fedenclave.enclave.sealing.hardware_key import HardwareKeySealer
from fedenclave.enclave.sealing.insecure import InsecureSealer
from fedenclave.enclave.sealing.sealer import Sealer
from fedenclave.enclave.states import TRANSITIONS, State
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.frames import Closed, Operation
from fedenclave.protocol.manifest import Rules
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave import shards
from tests.enclave.cohort import memory_file
from tests.enclave.shards import TRAINING, Enclave, released, signed_peers
from tests.enclave.test_journal import AnchoredSealer
from tests.enclave.test_resume import again, refusal

SIX = [f"c{n:02d}" for n in range(6)]
OTHERS = [f"c{n:02d}" for n in range(6, 12)]


def chip() -> HardwareKeySealer:
    """Return SGX or SEV-SNP: a key of its own, and nothing that knows which state is the newest."""
    return HardwareKeySealer("sev-snp", lambda: b"k" * 32)


class Windable(Enclave):
    """An enclave whose host keeps every state, and asks as the service's loop does."""

    def __init__(self, number: int, sealer: Sealer, rules: Rules = DEFAULT_RULES) -> None:
        self.sealer = sealer
        super().__init__(number, rules, sealer)
        self.kept: dict[str, HostFile] = {}
        self.segment = b""
        self.write()

    def write(self) -> bytes:
        """Take what the host has to write, and return the segment as it is now."""
        written = self.federation.transition()
        self.segment = written if written.startswith(b"FES1") else self.segment + written
        return self.segment

    def resume(self, segment: bytes, base: HostFile | None = None) -> None:
        """Start again from `segment`, with the files of every update that it awaits."""
        self.federation, remembered = Federation.resume(
            agreed=self.agreed,
            lent=self.lent,
            base_model=base or self.base,
            segment=segment,
            sealer=self.sealer,
        )
        self.segment = segment[: remembered.size]
        round_ = self.federation._round
        for client in [u.client for u in round_.admitted.values()] if round_ else []:
            self.federation.attach(again(self.kept[client]))

    def open(self, cohort: Sequence[str], training: Digest = TRAINING) -> bytes:
        self.federation.settle()
        announcement = super().open(cohort, training)
        self.write()
        return announcement

    def admit(self, weights: Mapping[str, int], seed: int = 0) -> None:
        super().admit(weights, seed)
        self.kept |= {client: again(self.files[client]) for client in weights}
        self.write()

    def end(self) -> Closed:
        """Have the round released, and do not ask for the release."""
        self.federation.settle()
        closed = self.federation.close_round(self.base, self.states, 1)
        self.write()
        return closed

    def close(self) -> Closed:
        closed = self.end()
        self.federation.settle()
        return self._released(closed)


# -- machines that do not know which state is the newest


def test_no_key_of_an_open_round_is_sealed_where_the_state_can_be_wound_back_unseen() -> None:
    """T5: closed again for every cohort that suffices, each update could be solved for."""
    enclave = Windable(0, chip())
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX, 1))
    remembered = read_segment(enclave.segment, enclave.sealer, enclave.manifest)
    assert [opened.private_key for each in remembered.transitions for opened in each.opened] == [
        b""
    ]
    assert not any(each.kept for each in remembered.transitions)
    enclave.resume(enclave.segment)
    assert enclave.federation.state is State.LOST
    out = {operation for state, operation in TRANSITIONS if state is State.LOST}
    assert out == {Operation.EVIDENCE, Operation.ABORT, Operation.STATUS}
    assert refusal(lambda: enclave.federation.close_round(enclave.base, [], 1)) is (
        Refusal.WRONG_STATE
    )
    size = enclave.federation.log.size
    assert enclave.federation.abort_round(2)
    enclave.write()
    assert enclave.federation.log.size == size + 1
    # It ended as a round does: another restart finds nothing open, and another round is opened.
    enclave.resume(enclave.segment)
    assert enclave.federation.state is State.IDLE
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX, 1))
    assert released(enclave.close())[0].round == 2


def test_a_release_there_that_was_not_told_before_a_restart_was_none() -> None:
    enclave = Windable(0, chip())
    first = again(enclave.base)
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX, 1))
    before = enclave.segment
    log = enclave.federation.log
    enclave.end()
    assert len(enclave.segment) > len(before)
    enclave.resume(enclave.segment, first)
    assert enclave.federation.state is State.LOST
    assert (enclave.segment, enclave.federation.log) == (before, log)
    assert refusal(enclave.federation.last_closed) is Refusal.WRONG_STATE
    enclave.federation.abort_round(2)
    enclave.write()
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX[:4], 1))
    enclave.close()
    # One that was told, and written, stays.
    enclave.resume(enclave.segment)
    assert enclave.federation.state is State.IDLE
    assert released(enclave.federation.last_closed())[0].clients == 4


# -- cohorts shared by several enclaves


def test_shard_that_has_answered_a_total_does_not_forget_it() -> None:
    """SPEC 11.4: what it answered counts in its history as released."""
    root, shard = Enclave(0), Windable(1, AnchoredSealer())
    peers = signed_peers([root, shard])
    root.open(OTHERS)
    shard.open(SIX)
    shard.admit(dict.fromkeys(SIX[:5], 1))
    before = shard.segment
    shard.federation.settle()
    papers = shard.report(root, peers)
    reported = shard.write()
    (total,) = root.federation.total([papers], peers)
    shard.federation.settle()
    shard.export(total)
    answered = shard.write()
    for state in (reported, answered):
        assert refusal(lambda state=state: shard.resume(state)) is Refusal.STATE
    assert refusal(lambda: shard.resume(before)) is Refusal.ROLLED_BACK


def test_no_fingerprint_nonce_is_used_for_two_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    """SPEC 11.2: "no pair used for two updates", also where the first one was rejected."""
    enclave, used = Windable(0, InsecureSealer()), []
    real = Fingerprinter.of

    def of(self: Fingerprinter, data: memoryview, *, serial: int, chunk: int) -> bytes:
        used.append((self.key, serial, chunk, hashlib.sha256(data).digest()))
        return real(self, data, serial=serial, chunk=chunk)

    enclave.open(SIX)
    monkeypatch.setattr(Fingerprinter, "of", of)
    with monkeypatch.context() as patch:
        # The last chunk does not open: it is rejected after it was fingerprinted.
        patch.setattr(shards, "memory_file", lambda data: memory_file(data[:-1] + b"?"))
        with pytest.raises(AssertionError):
            enclave.admit({"c00": 1})
    enclave.resume(enclave.write())
    enclave.admit({"c01": 1})
    assert len({each[:3] for each in used}) == len(set(used)), "one key and nonce, two chunks"
    assert len({each[0] for each in used}) >= 2


def test_a_root_that_has_merged_does_not_compute_its_own_part_alone() -> None:
    """Over its own updates `repeat` would compute the sum that no release is of."""
    root, shard = Windable(0, InsecureSealer()), Enclave(1)
    peers = signed_peers([root, shard])
    first = again(root.base)
    root.open(SIX)
    shard.open(OTHERS)
    root.admit({"c00": 1, "c01": 1})
    shard.admit({"c06": 1, "c07": 1})
    papers = shard.report(root, peers)
    (total,) = root.federation.total([papers], peers)
    root.write()
    root.federation.merge([shard.export(total)], root.base, root.states, 1)
    merged = root.write()
    with pytest.raises(RequestRefused) as refused:
        root.resume(merged, first)
    assert refused.value.refusal is Refusal.WRONG_MODEL
