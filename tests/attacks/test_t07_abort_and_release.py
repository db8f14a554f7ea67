"""T7: of two ends of one round one is ever told. An abort is an end, too."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from fedenclave.audit.folder import contradictions
from fedenclave.audit.receipt import Verdict, VerifiedReceipt, verify_receipt
from fedenclave.enclave.federation import Federation
from fedenclave.protocol.errors import EnclaveRefused, FedEnclaveError, RequestRefused
from fedenclave.protocol.frames import AbortRequest, Empty, SignedStatement
from fedenclave.protocol.signing import PublicKey, verify
from fedenclave.protocol.statements import Abort, CohortReport, Outcome, Release
from tests.attacks.test_t07_two_ends_of_a_round import put_back
from tests.attacks.world import World, now
from tests.enclave.shards import released
from tests.enclave.test_journal import AnchoredSealer
from tests.enclave.test_settled_release import Machine, opened
from tests.enclave.test_winding_back import SIX, Windable


def test_an_abort_is_not_told_before_the_anchor_has_settled_it(tmp_path: Path) -> None:
    """With a TPM: hear the abort, wind back what it never settled, and release the same round."""
    machine = Machine(tmp_path)
    announcement = machine.open()
    machine.admit(announcement)
    machine.peer.status()
    before = machine.segment
    # The opening is settled by the abort, the abort itself by nothing yet: and it is told.
    told = machine.ask("abort", AbortRequest(time=2))
    machine.segment = before
    try:
        resumed = machine.resume()
        for name in "ab":
            with opened(tmp_path / name, (tmp_path / name).read_bytes()) as update:
                machine.ask("attach", Empty(), update)
        machine.close_round()
        closed = machine.fetch()
    except AssertionError:
        return  # refused somewhere: that is what should happen
    key = PublicKey(resumed.started.signing_key)
    abort = verify(Abort, SignedStatement.from_bytes(told).statement, key)
    release = verify(Release, closed.release, key)
    included = {
        c.client
        for c in CohortReport.from_bytes(closed.cohort).contributions
        if c.outcome is Outcome.INCLUDED
    }
    assert included == {"a", "b"}
    assert abort.round != release.round, "one key signed, and told, an abort and a release of it"


def test_member_that_follows_the_release_of_a_round_takes_no_receipt_of_its_abort(
    world: World, tmp_path: Path
) -> None:
    """The update is in the release; the member's only receipt says that there was none."""
    world.open()
    sealed = {name: world.sealed(name, 1) for name in "abc"}
    for name in "abc":
        assert world.submit(name, sealed[name]).admitted
    world.close()
    shutil.copytree(world.folder, tmp_path / "admitted")
    world.resume()
    world.submit("", b"no update")  # so that the two logs have other lengths
    aborted = world.coordinator.abort()
    world.close()
    put_back(world, tmp_path / "admitted")
    for name in "abc":  # answered again with the same admissions
        world.submit(name, sealed[name])
    release, _ = world.release([])
    assert release.clients == 3
    # The next round, of the history with the release. The member checks its chain, and follows it.
    world.open()
    world.sealed("c", 1)
    session = world.sessions["c"]
    assert session.state.head_round == release.round
    assert session.state.head_model == release.model
    with pytest.raises(FedEnclaveError):
        verified = session.take_delivery(aborted["c"])
        assert verified.verdict is Verdict.ABORTED
        assert verified.round == release.round


def test_member_does_not_forget_the_log_it_has_followed_for_a_receipt_of_an_earlier_round(
    world: World, tmp_path: Path
) -> None:
    """An aborted round that was released elsewhere, in a log of another length."""
    world.open()
    shutil.copytree(world.folder, tmp_path / "opened")
    sealed = {name: world.sealed(name, 1) for name in "abc"}
    for name in "abc":
        assert world.submit(name, sealed[name]).admitted
    _, shown = world.coordinator.close()
    world.close()
    shutil.copytree(world.folder, tmp_path / "released")
    put_back(world, tmp_path / "opened")
    # The other history: round 1 aborted, and round 2 on the same base model, with a and b alone.
    world.coordinator.abort()
    world.open()
    world.contribute({"a": 1, "b": 1})
    second, _ = world.release([])
    session = world.sessions["a"]
    followed = session.state.checkpoint
    try:
        # Two releases on one base model, without c and with: and a is in both.
        session.take_delivery(shown["a"])
    except EnclaveRefused:
        assert session.state.checkpoint == followed
        return
    assert second.round == 2
    # So it does not notice where the host goes on with the first history, either.
    world.close()
    put_back(world, tmp_path / "released")
    world.coordinator._releases = [(1, shown["a"].release)]
    for _ in range(2):
        world.open(["b", "c"])
        world.coordinator.abort()
    with pytest.raises(EnclaveRefused):
        world.open()
        world.accept("a")


def receipts(world: World, name: str) -> list[VerifiedReceipt]:
    kept = world.stores[name].receipts.values()
    return [verify_receipt(data, world.manifest) for data in kept]


def test_receipts_of_an_abort_and_of_a_round_on_another_base_model_contradict_each_other(
    world: World, tmp_path: Path
) -> None:
    """After an abort the base model stays: SPEC 11.3. Here one member's two receipts say not."""
    world.open()
    sealed = {name: world.sealed(name, 1) for name in "abc"}
    for name in "abc":
        assert world.submit(name, sealed[name]).admitted
    world.close()
    shutil.copytree(world.folder, tmp_path / "admitted")
    world.resume()
    world.submit("", b"no update")
    aborted = world.coordinator.abort()
    world.close()
    put_back(world, tmp_path / "admitted")
    for name in "abc":
        world.submit(name, sealed[name])
    world.release([])
    world.open()
    world.contribute(dict.fromkeys("abc", 1))
    _, deliveries = world.coordinator.close()
    session = world.sessions["c"]
    try:
        session.take_delivery(deliveries["c"])
        session.take_delivery(aborted["c"])
    except EnclaveRefused:
        pass  # kept as a proof
    found = sorted(receipts(world, "c"), key=lambda r: r.round)
    assert [r.verdict for r in found] == [Verdict.ABORTED, Verdict.INCLUDED]
    assert found[0].base_model != found[1].base_model
    assert contradictions(found, now=now())


def test_receipts_of_two_releases_on_one_base_model_contradict_each_other(
    world: World, tmp_path: Path
) -> None:
    """T5: released with c, and again without, with an aborted round between the two."""
    world.open()
    shutil.copytree(world.folder, tmp_path / "opened")
    sealed = {name: world.sealed(name, 1) for name in "abc"}
    for name in "abc":
        assert world.submit(name, sealed[name]).admitted
    _, shown = world.coordinator.close()
    world.close()
    put_back(world, tmp_path / "opened")
    world.coordinator.abort()
    world.open(["b", "c"])
    world.coordinator.abort()
    world.open()
    world.contribute({"a": 1, "b": 1})
    _, deliveries = world.coordinator.close()
    session = world.sessions["a"]
    for delivery in (shown["a"], deliveries["a"]):
        with contextlib.suppress(EnclaveRefused):  # kept as a proof
            session.take_delivery(delivery)
    one, other = sorted(receipts(world, "a"), key=lambda r: r.round)
    assert (one.round, other.round) == (1, 3)
    assert one.base_model == other.base_model
    assert one.clients == ("a", "b", "c")
    assert other.clients == ("a", "b")
    assert contradictions([one, other], now=now())


def test_an_enclave_that_was_left_behind_tells_no_abort() -> None:
    """Two runs of one open round: the anchor is looked at only where something is unsettled."""
    enclave = Windable(0, AnchoredSealer())
    enclave.open(SIX)
    enclave.admit(dict.fromkeys(SIX, 1))
    enclave.federation.settle()
    left_behind, _ = Federation.resume(
        agreed=enclave.agreed,
        lent=enclave.lent,
        base_model=enclave.base,
        segment=enclave.segment,
        sealer=enclave.sealer,
    )
    release, _ = released(enclave.close())  # settled, and told
    with pytest.raises(RequestRefused):
        left_behind.settle()  # as the service does before every abort
        abort = verify(Abort, left_behind.abort_round(2), PublicKey(enclave.key))
        assert abort.round == release.round
