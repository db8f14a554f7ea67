"""Nobody who is honest is refused, whatever is lost, late, twice, or killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedenclave.audit.folder import _odd_times, contradictions
from fedenclave.audit.log import verify_log
from fedenclave.audit.receipt import Verdict, verify_receipt
from fedenclave.audit.round_history import End
from fedenclave.protocol.signing import PublicKey
from tests.honest.federation import Foretold, HonestFederation

FEW, FEW_ROUNDS = range(6), 50
MANY, MANY_ROUNDS = range(100, 140), 250
"""Ten thousand rounds, of forty federations: a seed that fails is played again by its number."""

BAD_LUCK = {
    "ServerApp restarted",
    "came twice",
    "evaluated",
    "client died before it had sealed",
    "client restarted",
    "dropped after sealing",
    "dropped before the offer",
}


def play(folder: Path, seed: int, rounds: int, patch: pytest.MonkeyPatch) -> HonestFederation:
    """Play so many rounds, and judge everything that was said."""
    federation = HonestFederation(folder, seed, patch)
    key = PublicKey(federation.host.aggregator.info()[2].signing_key)
    try:
        while federation.round < rounds:
            federation.play()
        federation.finish()
        check_log(federation, folder, key)
        check_receipts(federation)
    except BaseException:
        print(f"seed {seed}, round {federation.round}: {federation.plan}")
        raise
    finally:
        federation.host.close()
    return federation


def check_log(federation: HonestFederation, folder: Path, key: PublicKey) -> None:
    """The log holds each round once, with the end that the parties were told."""
    with (folder / "statements.fel").open("rb") as stream:
        log = verify_log(stream, key, federation.manifest)
    ends = {each.round: each.end for each in log.rounds}
    assert list(ends) == list(range(1, federation.round + 1))
    assert {n for n, end in ends.items() if end is End.RELEASED} == federation.included.keys()
    assert {n for n, end in ends.items() if end is End.ABORTED} == federation.aborted


def check_receipts(federation: HonestFederation) -> None:
    """Every client that is in a release holds the receipt that says so, and it verifies."""
    for round_, included in federation.included.items():
        for name in included:
            held = federation.clients[name].receipts[round_]
            assert held.verdict is Verdict.INCLUDED
            assert set(held.clients) == included
    verified = []
    for client in federation.clients.values():
        for receipt in client.store.receipts.values():
            verified.append(verify_receipt(receipt, federation.manifest))
            assert verified[-1].client == client.name
    # The clients' clock is played, and the host's is not: the times do not fit each other here.
    odd = _odd_times(verified, federation.now)
    assert contradictions(verified, now=federation.now) == odd


@pytest.mark.parametrize("seed", FEW)
def test_in_a_few_hundred_rounds_of_bad_luck_nobody_honest_is_refused(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    play(tmp_path, seed, FEW_ROUNDS, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_in_ten_thousand_rounds_of_bad_luck_nobody_honest_is_refused(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = play(tmp_path, seed, MANY_ROUNDS, monkeypatch)
    assert federation.happened.keys() >= BAD_LUCK
    assert federation.host.killed > 0 < federation.host.restarts
    assert federation.foretold.keys() >= {Foretold.NO_ROUND, Foretold.ANOTHER_ROUND}
    print(
        f"seed {seed}: {federation.round} rounds, {len(federation.included)} released, "
        f"{federation.host.killed} kills, {federation.host.restarts} restarts, "
        f"{dict(federation.foretold)}, {dict(federation.happened)}"
    )
