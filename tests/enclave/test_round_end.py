"""When a round has ended, by a release or an abort, its keys are gone and its files are closed.

An ended round does nothing more, whoever asks it: the table of states is not all that stands there.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedenclave.protocol.aggregation import Momentum
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.frames import (
    AbortRequest,
    AdmissionResult,
    CloseRequest,
    Empty,
    OpenRequest,
    Request,
    SignedStatement,
)
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.opening import CannotOpen
from fedenclave.protocol.records import Record
from fedenclave.protocol.sealed_update import sealed_size
from fedenclave.protocol.sealing import seal_update
from fedenclave.protocol.signing import Signed, statement_digest
from fedenclave.protocol.statements import NO_DATA, VERSION, Announcement, UpdateHeader
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.cohort import memory_file
from tests.enclave.shards import CLIENT_KEYS, Enclave
from tests.enclave.test_resume import refusal
from tests.enclave.test_service import KEYS, MANIFEST, MODEL, SCHEMA, Peer, opened, start


def ask(peer: Peer, operation: str, body: Record, descriptors: tuple[int, ...] = ()) -> bytes:
    reply = peer.ask(Request(operation=operation, body=body.to_bytes()).to_bytes(), descriptors)
    assert reply.refusal == ""
    return reply.body


def sealed_for(signed: bytes, name: str) -> bytes:
    announcement = Announcement.from_bytes(Signed.from_bytes(signed).payload)
    header = UpdateHeader(
        version=VERSION,
        federation=announcement.federation,
        manifest=Manifest.from_bytes(MANIFEST).digest,
        round=announcement.round,
        announcement=statement_digest(signed),
        base_model=announcement.base_model,
        client=name,
        data=NO_DATA,
        schema=SCHEMA.digest,
        sealed_size=sealed_size(SCHEMA),
        checkpoint=announcement.checkpoint,
    )
    sealed = seal_update(
        update=bytes(len(MODEL.payload)),
        num_examples=1,
        schema=SCHEMA,
        header=header,
        suite=announcement.suite,
        round_key=announcement.public_key,
        signing_key=KEYS[name],
    )
    return bytes(sealed)


def held_open() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.parametrize("ending", ["close", "abort"])
def test_keys_are_wiped_and_descriptors_closed_when_a_round_ends(
    tmp_path: Path, ending: str
) -> None:
    peer = Peer()
    start(peer, tmp_path)
    before = held_open()
    body = ask(
        peer, "open", OpenRequest(cohort=("a", "b"), training_config=NO_TRAINING_CONFIG, time=1)
    )
    signed = SignedStatement.from_bytes(body).statement
    round_ = peer.service._federation._round
    assert round_ is not None
    for name in "ab":
        with opened(tmp_path / name, sealed_for(signed, name)) as update:
            result = AdmissionResult.from_bytes(ask(peer, "admit", Empty(), (update,)))
        assert result.admitted
    assert held_open() == before + 2  # one for each update, until the end
    keys = np.asarray(peer.service._slots._area)
    assert keys[: 2 * 32].any()
    with opened(tmp_path / "base", bytes(MODEL.payload)) as base:
        if ending == "close":
            ask(peer, "close", CloseRequest(base_offset=0, time=2), (base,))
        else:
            ask(peer, "abort", AbortRequest(time=2))
    assert held_open() == before
    assert not keys.any()
    assert (round_._open, round_.admitted) == (None, {})
    assert peer.service._federation._round is None
    peer.close()


SIX = sorted(CLIENT_KEYS)[:6]


def test_a_round_that_has_ended_takes_no_update_and_opens_no_message() -> None:
    enclave = Enclave()
    enclave.open(SIX)
    round_ = enclave.federation._round
    assert round_ is not None
    enclave.federation.abort_round(1)
    size = enclave.federation.log.size
    # Not even a rejection: it would be an answer of a round that has been told to have ended.
    assert refusal(lambda: round_.admit(memory_file(b"no update"))) is Refusal.WRONG_STATE
    with pytest.raises(CannotOpen):
        round_.open_from_peer(bytes(200), b"")
    assert enclave.federation.log.size == size


def test_no_round_is_aborted_where_none_is_open() -> None:
    enclave = Enclave()
    before = enclave.state()
    assert refusal(lambda: enclave.federation.abort_round(1)) is Refusal.WRONG_STATE
    assert enclave.state() == before


def test_after_a_pass_that_failed_none_of_the_hosts_files_is_held() -> None:
    """They are closed with the request, and the same numbers may be other files next."""
    rules = replace(DEFAULT_RULES, server=Momentum(learning_rate=0.5, momentum=0.9))
    enclave = Enclave(0, rules)
    enclave.collect(SIX, dict.fromkeys(SIX, 1))
    other = memory_file(bytes(enclave.base.size()))
    close = enclave.federation.close_round
    assert refusal(lambda: close(other, enclave.states, 1)) is Refusal.WRONG_MODEL
    state = enclave.federation._aggregation.state
    assert (enclave.federation._base._file, state._old, state._new) == (None, None, None)
