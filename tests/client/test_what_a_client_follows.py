"""What a client has seen beyond its copy of the log binds it: no enclave can go behind it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.audit.receipt import verify_receipt
from fedenclave.client.checks import check_same_history
from fedenclave.client.log_copy import grown
from fedenclave.client.state import ClientState, fresh_state
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import EnclaveRefused
from tests.audit.lying_receipt import MANIFEST, Lies, make_receipt

OTHER = Digest(b"\x07" * 32)


@pytest.fixture
def enclave() -> LyingEnclave:
    liar = LyingEnclave(MANIFEST)
    liar.log += [liar.release(round=number) for number in range(1, 7)]
    return liar


def copied(enclave: LyingEnclave, size: int) -> ClientState:
    """Return the state of a client whose copy holds the log's first `size` statements."""
    whole, enclave.log = enclave.log, enclave.log[:size]
    fresh = fresh_state(MANIFEST.digest, MANIFEST.initial_model)
    state = grown(fresh, enclave.log_part(), enclave.head()).state
    enclave.log = whole
    return state


def test_an_enclave_wound_back_to_behind_the_copy_but_before_a_receipt_is_refused(
    enclave: LyingEnclave,
) -> None:
    """The receipt of a release shows the log after it; the copy of it comes with the next round."""
    seen = enclave.head()
    state = replace(copied(enclave, 2), checkpoint=(seen,))
    assert grown(state, enclave.log_part(), seen).state.log_size == seen.size
    whole = enclave.log
    for size in range(2, seen.size):
        enclave.log = whole[:size]
        with pytest.raises(EnclaveRefused, match="not shown to go on from the 7"):
            grown(state, enclave.log_part(), enclave.head())


def test_a_copy_of_another_log_than_the_checkpoint_held_does_not_grow(
    enclave: LyingEnclave,
) -> None:
    state = copied(enclave, 4)
    held = replace(enclave.head(), size=4, root=OTHER)
    assert grown(state, enclave.log_part(), enclave.head()).state.log_size == 7
    with pytest.raises(EnclaveRefused, match="not shown to go on from the 4"):
        grown(replace(state, checkpoint=(held,)), enclave.log_part(), enclave.head())


def test_a_checkpoint_that_says_another_length_than_the_log_of_its_root_is_refused(
    enclave: LyingEnclave,
) -> None:
    """Held, it would be longer than any that comes for a while: the client would be shut out."""
    state, part, head = copied(enclave, 4), enclave.log_part(), enclave.head()
    assert grown(state, part, head).state.log_size == head.size
    with pytest.raises(EnclaveRefused, match="has 8 entries, and is not shown to go on from the 4"):
        grown(state, part, replace(head, size=head.size + 1))


def test_a_receipt_of_another_release_than_the_model_that_was_taken_is_of_a_fork() -> None:
    """The model came by a chain of releases alone: the copy does not hold that round's end yet."""
    verified = verify_receipt(make_receipt(Lies()), MANIFEST)
    assert verified.model is not None
    state = replace(
        fresh_state(MANIFEST.digest, MANIFEST.initial_model),
        log_round=verified.round,
        head_round=verified.round,
        head_model=verified.model,
    )
    check_same_history(state, verified)
    with pytest.raises(EnclaveRefused, match="another history"):
        check_same_history(replace(state, head_model=OTHER), verified)
    check_same_history(replace(state, head_round=verified.round - 1, head_model=OTHER), verified)
