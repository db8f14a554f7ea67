"""Updates of a sender who knows how the enclave reads them: lengths, integers, and fingerprints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedenclave.attack_suite.forging import announced, forge, header_for
from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.aggregation import Momentum
from fedenclave.protocol.errors import Reason, Refusal, RequestRefused
from fedenclave.protocol.floats import MAX_COUNT
from fedenclave.protocol.tensors import pack, unpack
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.cohort import memory_file
from tests.enclave.shards import CLIENT_KEYS, SCHEMA, Enclave, update_of

NAMES = sorted(CLIENT_KEYS)[:6]


@pytest.fixture
def enclave() -> Enclave:
    enclave = Enclave()
    enclave.open(NAMES)
    return enclave


def rejected(enclave: Enclave, sealed: bytes) -> str:
    result = enclave.federation.admit(memory_file(sealed))
    assert not result.admitted
    return result.reason


def forged(enclave: Enclave, payload: bytes, **changes: object) -> bytes:
    header = header_for(NAMES[0], enclave.manifest, SCHEMA, enclave.announcement, **changes)
    signer = CLIENT_KEYS[NAMES[0]]
    return forge(header, announced(enclave.announcement), payload, SCHEMA, signer)


def test_a_sender_cannot_carry_more_in_its_ciphertext_by_saying_so_in_its_header(
    enclave: Enclave,
) -> None:
    """The file is as long as the header says: what is behind the last chunk nobody would read."""
    update = update_of(NAMES[0])
    size = header_for(NAMES[0], enclave.manifest, SCHEMA, enclave.announcement).sealed_size
    longer = forged(enclave, update, sealed_size=size + 9) + b"and more."
    assert rejected(enclave, longer) == Reason.WRONG_LENGTH
    shorter = forged(enclave, update, sealed_size=size - 9)[:-9]
    assert rejected(enclave, shorter) == Reason.WRONG_LENGTH
    assert enclave.federation.admit(memory_file(forged(enclave, update))).admitted


def test_a_private_header_that_was_changed_is_a_rejection_as_a_chunk_is(enclave: Enclave) -> None:
    sealed = bytearray(forged(enclave, update_of(NAMES[0])))
    chunks_at = layout.HEAD_SIZE + layout.envelope_size(bytes(sealed[: layout.HEAD_SIZE]))
    sealed[chunks_at] ^= 1
    assert rejected(enclave, bytes(sealed)) == Reason.CANNOT_OPEN


@pytest.mark.parametrize("count", [MAX_COUNT + 1, -MAX_COUNT - 1, 2**63 - 1, -(2**63)])
def test_a_sender_cannot_move_an_integer_beyond_what_the_sum_can_hold(
    enclave: Enclave, count: int
) -> None:
    arrays = dict(unpack(SCHEMA, update_of(NAMES[0])))
    for value, admitted in ((count, False), (int(np.sign(count)) * MAX_COUNT, True)):
        arrays["count"] = np.array([0, 0, value, 0, 0])
        sealed = forged(enclave, bytes(pack(SCHEMA, arrays)))
        result = enclave.federation.admit(memory_file(sealed))
        assert result.admitted is admitted
        assert result.reason == ("" if admitted else Reason.OVER_MAX_ABS)


def test_no_two_updates_are_fingerprinted_under_one_nonce_nor_one_that_was_rejected(
    enclave: Enclave,
) -> None:
    """Two GMACs under one nonce give the key away, and with it any fingerprint that is wanted."""
    enclave.admit({NAMES[1]: 1})
    bad = bytearray(forged(enclave, update_of(NAMES[0])))
    bad[-1] ^= 1
    assert rejected(enclave, bytes(bad)) == Reason.CANNOT_OPEN
    enclave.admit(dict.fromkeys(NAMES[2:4], 1))
    round_ = enclave.federation._round
    assert round_ is not None
    assert [update.serial for update in round_.admitted.values()] == [0, 2, 3]


def test_a_host_that_brings_no_file_for_the_optimisers_memory_gets_no_release() -> None:
    """Else a round would step as if nothing had been before, and leave nothing for the next."""
    rules = replace(DEFAULT_RULES, server=Momentum(learning_rate=0.5, momentum=0.9))
    enclave = Enclave(0, rules)
    for round_ in range(2):
        enclave.collect(NAMES, dict.fromkeys(NAMES, 1), round_)
        given, before = enclave.states, enclave.state()[:4]
        enclave.states = []
        with pytest.raises(RequestRefused) as refused:
            enclave.close()
        assert refused.value.refusal is Refusal.STORAGE
        assert enclave.state()[:4] == before
        enclave.states = given
        enclave.close()
