"""T11: the host drops, reorders, repeats and kills; and T1 again: what a failed pass leaves.

Liveness is not promised. What must hold: no client counts twice, nobody is said to be in a release
who is not, and nothing of a pass that did not end ever leaves the enclave.
"""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedenclave.attack_suite.world import FIRST, now, payload_of
from fedenclave.audit.folder import contradictions
from fedenclave.audit.receipt import ReceiptInvalid, Verdict
from fedenclave.host.enclave_process import EnclaveDied
from fedenclave.protocol.errors import EnclaveRefused, Refusal, RequestRefused
from fedenclave.protocol.exchange import Delivery
from fedenclave.protocol.frames import Closed, CloseRequest, Empty, FetchRequest, Operation
from fedenclave.protocol.model import Model
from fedenclave.protocol.statements import CohortReport
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World, value_of


def pass_request(
    world: World, operation: Operation, base: Path | None, target: Path, *, offset: int = 0
) -> Closed | Empty:
    """Ask the enclave itself to close (`base` given) or to fetch into `target`."""
    request: CloseRequest | FetchRequest = FetchRequest(model_offset=0)
    file, flags = target, os.O_RDWR | os.O_CREAT
    if base is not None:
        request = CloseRequest(base_offset=offset, time=now())
        file, flags = base, os.O_RDONLY
    descriptors = [os.open(file, flags)]
    try:
        reply = Closed if operation is Operation.FETCH else Empty
        return world.aggregator._enclave.request(operation, request, reply, descriptors)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def test_host_failing_a_pass_at_its_end_and_fetching_gets_nothing_of_it(
    world: World, tmp_path: Path
) -> None:
    """The pass fills the model's memory; only a finished one may be fetched from there."""
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    world.open()
    world.contribute({"a": 8, "b": 0, "c": 0})
    spoilt, leak = tmp_path / "spoilt", tmp_path / "leak"
    payload = bytearray(world.model().payload)
    payload[-1] ^= 1  # every chunk but the last is the base model's
    spoilt.write_bytes(payload)
    with pytest.raises(RequestRefused) as refused:
        pass_request(world, Operation.CLOSE, spoilt, leak)
    assert refused.value.refusal is Refusal.WRONG_MODEL
    with pytest.raises(RequestRefused) as refused:
        pass_request(world, Operation.FETCH, None, leak)
    assert refused.value.refusal is Refusal.WRONG_STATE
    world.coordinator.abort()
    with pytest.raises(RequestRefused) as refused:
        pass_request(world, Operation.FETCH, None, leak)
    assert refused.value.refusal is Refusal.WRONG_STATE
    assert leak.read_bytes() == b""
    # The next round is an ordinary one, and its model can be fetched as often as one likes.
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    release, _ = world.release("abc")
    pass_request(world, Operation.FETCH, None, leak)
    fetched = Model(schema=FIRST.schema, payload=leak.read_bytes())
    assert fetched.digest() == release.model
    assert value_of(fetched) == 2.5


def test_host_that_lost_the_released_model_gets_the_same_again(
    world: World, tmp_path: Path
) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    good = tmp_path / "base"
    good.write_bytes(FIRST.payload)
    pass_request(world, Operation.CLOSE, good, tmp_path / "none")
    read_only = os.open(good, os.O_RDONLY)
    with pytest.raises(RequestRefused) as refused:
        world.aggregator._enclave.request(
            Operation.FETCH, FetchRequest(model_offset=0), Closed, [read_only]
        )
    os.close(read_only)
    assert refused.value.refusal is Refusal.STORAGE
    # Released it is all the same: closing again would be a second release.
    assert world.status().state == "idle"
    with pytest.raises(RequestRefused, match="wrong-state"):
        pass_request(world, Operation.CLOSE, good, tmp_path / "x")
    first = pass_request(world, Operation.FETCH, None, tmp_path / "one")
    assert pass_request(world, Operation.FETCH, None, tmp_path / "two") == first
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert np.frombuffer((tmp_path / "one").read_bytes()[:4], np.float32)[0] == 1.5


def test_host_dropping_an_update_is_told_on_by_the_report(world: World) -> None:
    world.open()
    world.contribute({"b": 1, "a": 3})
    world.sealed("c", 5)  # never passed on
    result, deliveries = world.coordinator.close()
    report = CohortReport.from_bytes(result.closed.cohort)
    assert report.missing == ("c",)
    # Nor can the host make c believe that it took part.
    with pytest.raises(ReceiptInvalid):
        world.sessions["c"].take_delivery(deliveries["a"])
    assert world.sessions["a"].take_delivery(deliveries["a"]).clients == ("a", "b")
    left_out = world.sessions["c"].take_delivery(deliveries["c"])
    assert (left_out.verdict, left_out.reason) == (Verdict.LEFT_OUT, "released without it")
    assert left_out.clients == ("a", "b")
    assert world.session("c").state.pending == ()


def test_host_dropping_an_update_of_a_round_that_it_aborts_is_told_on_by_the_abort(
    world: World,
) -> None:
    world.open()
    world.contribute({"a": 1})
    world.sealed("b", 1)
    deliveries = world.coordinator.abort()
    left_out = world.sessions["b"].take_delivery(deliveries["b"])
    assert (left_out.verdict, left_out.reason) == (Verdict.LEFT_OUT, "aborted without an answer")
    assert left_out.model is None
    # c has sealed nothing: there is no part of which it could have a receipt.
    with pytest.raises(EnclaveRefused, match="no receipt is awaited"):
        world.sessions["c"].take_delivery(deliveries["c"])
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    assert {r.verdict for r in world.release("abc")[1].values()} == {Verdict.INCLUDED}


def test_host_hiding_an_admission_cannot_say_that_the_update_was_left_out(world: World) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    world.sealed("c", 1)
    _, deliveries = world.coordinator.close()
    before = world.stores["a"].state
    end = deliveries["c"]
    for hidden in (end, replace(deliveries["a"], answer=b"")):
        with pytest.raises(ReceiptInvalid, match="does not list its client as missing"):
            world.sessions["a"].take_delivery(hidden)
    assert world.stores["a"].state == before
    assert world.sessions["a"].take_delivery(deliveries["a"]).verdict is Verdict.INCLUDED


def test_host_hiding_an_admission_behind_an_abort_is_seen_beside_the_answer(world: World) -> None:
    """An abort has no report; the round's end is true, and whoever has the answer can show it."""
    world.open()
    world.contribute({"a": 1, "b": 1})
    world.sealed("c", 1)
    state = world.stores["a"].state
    deliveries = world.coordinator.abort()
    shown = world.sessions["a"].take_delivery(deliveries["a"])
    world.stores["a"].state = state
    hidden = world.session("a").take_delivery(deliveries["c"])
    assert [shown.verdict, hidden.verdict] == [Verdict.ABORTED, Verdict.LEFT_OUT]
    assert contradictions([shown], now=now()) == contradictions([hidden], now=now()) == []
    (found,) = contradictions([hidden, shown], now=now())
    assert "kept back by the host" in found


def test_an_answer_of_which_the_host_was_not_told_is_delivered_from_the_log(
    new_world: NewWorld,
) -> None:
    world = new_world({"a": "alpha", "b": "beta", "c": "gamma", "d": "delta"})
    world.open()
    world.contribute({"a": 1, "b": 1})
    # Somebody else's bytes in d's name: not what d is told of its own.
    forged = world.forge("d", payload_of(1), signer=world.keys["a"])
    assert world.aggregator.submit([forged]).reason == "bad-signature"
    # The enclave answers, and the connection breaks before the ServerApp has it.
    assert world.aggregator.submit([world.sealed("c", 1)]).admitted
    damaged = bytearray(world.sealed("d", 1))
    damaged[-1] ^= 1
    assert world.aggregator.submit([bytes(damaged)]).reason == "cannot-open"
    _, deliveries = world.coordinator.close()
    assert world.sessions["c"].take_delivery(deliveries["c"]).verdict is Verdict.INCLUDED
    assert world.sessions["d"].take_delivery(deliveries["d"]).reason == "cannot-open"


def test_host_reordering_updates_changes_no_bit_of_the_release(world: World) -> None:
    rng = np.random.default_rng(7)
    payloads = {}
    for name in "abc":
        wide = rng.standard_normal(70_000).astype(np.float32)
        half = rng.standard_normal(10).astype(np.float16)
        payloads[name] = wide.tobytes() + half.tobytes()
    models = set()
    for order in ("abc", "cab"):
        world.open()
        for name in order:
            weight = ord(name)
            assert world.submit(
                name, world.forge(name, payloads[name], num_examples=weight)
            ).admitted
        result, _ = world.coordinator.close()
        models.add(bytes(Model.from_bytes(result.model).payload))
        world.restart(state=False)
    assert len(models) == 1


def test_host_telling_a_client_of_an_admitted_update_that_the_round_was_aborted(
    world: World,
) -> None:
    """An abort is signed and of one round: it cannot be had for a round that was released."""
    world.open()
    world.contribute({"a": 1, "b": 1})
    lost = world.coordinator.abort()["a"]
    world.open()
    world.contribute({"a": 1, "b": 1})
    _, deliveries = world.coordinator.close()
    true = deliveries["a"]
    mixed = Delivery(
        round=2,
        answer=true.answer,
        release=b"",
        cohort=b"",
        abort=lost.abort,
        leaf_index=true.leaf_index,
        leaf_path=true.leaf_path,
        log_roots=true.log_roots,
    )
    with pytest.raises(ReceiptInvalid):
        world.sessions["a"].take_delivery(mixed)
    assert world.sessions["a"].take_delivery(lost).verdict is Verdict.ABORTED
    assert world.sessions["a"].take_delivery(true).verdict is Verdict.INCLUDED
    # Both are kept, and awaited no longer: a second telling changes nothing.
    files = sorted(world.stores["a"].receipts)
    assert [file[:12] for file in files] == ["round-000001", "round-000002"]
    with pytest.raises(EnclaveRefused, match="no receipt is awaited"):
        world.sessions["a"].take_delivery(true)
    assert world.session("a").state.pending == ()


def test_host_killing_the_enclave_in_a_round_and_losing_its_state_loses_that_round_alone(
    world: World,
) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1})
    os.kill(world.aggregator.enclave_pid, signal.SIGKILL)
    with pytest.raises(EnclaveDied):
        world.coordinator.close()
    assert world.session("a").state == world.sessions["a"].state
    assert world.sessions["a"].state.sealed_round == 1
    world.restart(state=False)
    world.open()
    for name in "ab":
        with pytest.raises(EnclaveRefused, match="another enclave"):
            world.accept(name)
    # A client that had not yet met the lost enclave may join the new one.
    world.accept("c")


def test_host_asking_out_of_order_changes_nothing(world: World) -> None:
    aggregator = world.aggregator
    for ask in (aggregator.close_round, aggregator.abort_round):
        with pytest.raises(RequestRefused, match="wrong-state"):
            ask()
    with pytest.raises(RequestRefused, match="wrong-state"):
        aggregator.submit([b"FEU1"])
    assert world.status().log_size == 1
    world.open()
    before = world.status()
    with pytest.raises(RequestRefused, match="wrong-state"):
        aggregator.open_round(["a", "b"], NO_TRAINING_CONFIG)
    assert world.status() == before
    world.contribute({"a": 1, "b": 1})
    world.release("ab")
    assert value_of(world.model()) == value_of(Model(schema=FIRST.schema, payload=payload_of(1.5)))
