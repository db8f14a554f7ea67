"""Whose word an entry is: by its own signature, or by a checkpoint that vouches for it."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.audit.log import Signatures
from fedenclave.audit.log_entry import STATEMENTS
from fedenclave.protocol.signing import Signed, sign
from tests.audit.log_builder import KEY, Lie, LogBuilder, refused, three_rounds


@pytest.mark.parametrize("place", range(5))
def test_whoever_has_the_key_may_vouch_for_what_it_has_not_signed(place: int) -> None:
    log = LogBuilder()
    steps: list[Lie] = [
        lambda each: each.start(),
        lambda each: each.announce(),
        lambda each: each.admit("a"),
        lambda each: each.admit("b"),
        lambda each: each.release(),
    ]
    for number, step in enumerate(steps):
        log.key = Ed25519PrivateKey.generate() if number == place else KEY
        step(log)
    log.key = KEY
    refused(log, f"entry {place}: the key has not signed it", signatures=Signatures.ALL)
    # The release stands for the entries before it, not for itself; so does the announcement. And
    # the start is checked whatever stands for it.
    if place in (0, 1, 4):
        refused(log, f"entry {place}: the key", signatures=Signatures.CHECKPOINTS)
    else:
        assert log.verified(signatures=Signatures.CHECKPOINTS).admissions == 2


def test_statements_vouched_for_are_not_checked_one_by_one_unless_all_are() -> None:
    log = three_rounds()
    log.announce()
    log.key = Ed25519PrivateKey.generate()
    log.admit("a")
    log.key = KEY
    log.abort()
    assert log.verified().signatures is Signatures.CHECKPOINTS
    assert log.verified(processes=2) == log.verified()
    refused(log, "entry 17: the key has not signed it", signatures=Signatures.ALL)


def test_what_no_checkpoint_vouches_for_yet_is_checked_itself() -> None:
    log = three_rounds()
    log.announce()
    log.admit("a")
    log.key = Ed25519PrivateKey.generate()
    log.admit("b")
    log.key = KEY
    log.reject("c")
    for signatures in Signatures:
        refused(log, "entry 18: the key has not signed it", signatures=signatures)


def test_several_processes_find_what_one_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedenclave.audit.log._BATCH", 3)
    log = three_rounds()
    every: dict[str, Any] = {"signatures": Signatures.ALL}
    assert log.verified(processes=2, **every) == log.verified(**every)
    read: list[int] = []
    log.verified(progress=read.append)
    assert read == sorted(read)
    assert len(read) == 6
    # One in a batch of a helping process, and one in the rest, which is checked here.
    for place, ways in ((13, Signatures), (15, Signatures), (5, [Signatures.ALL])):
        changed = three_rounds()
        entry = Signed.from_bytes(log.signed[place])
        statement = STATEMENTS[entry.type].from_bytes(entry.payload)
        changed.signed = [*log.signed[:place], sign(statement, Ed25519PrivateKey.generate())]
        for signatures in ways:
            match = f"entry {place}: the key has not signed it"
            refused(changed, match, processes=2, signatures=signatures)
