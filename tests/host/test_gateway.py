"""Rounds through the gateway: the same as local ones, and the same errors."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fedenclave.attestation.appraise import appraise
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.enclave_process import EnclaveDied
from fedenclave.host.endpoint import PART_BYTES
from fedenclave.host.gateway import SERVICE, Gateway
from fedenclave.host.proto import aggregator_pb2 as pb
from fedenclave.host.proto import aggregator_pb2_grpc as pb_grpc
from fedenclave.host.remote import RemoteAggregator
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.host.store import StoreFull
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Reason, Refusal, RequestRefused
from fedenclave.protocol.frames import Started
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import PublicKey, public_key, statement_digest, verify
from fedenclave.protocol.statements import Abort, Evaluation, Rejection
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import Arrays, SimulatedFederation, development_manifest

NAMES = ["client-0", "client-1", "client-2"]
Eventually = Callable[[Callable[[], bool]], bool]
Ciphertexts = Callable[[], list[Path]]


def move(name: str, arrays: Arrays) -> tuple[Arrays, int]:
    """Move every parameter by an amount of the client's own; examples differ too."""
    number = int(name.removeprefix("client-"))
    return {"w": arrays["w"] + np.float32(0.1 * (number + 1))}, 10 + number


def sealed_update(federation: SimulatedFederation, remote: RemoteAggregator) -> bytes:
    """Open a round through the gateway and seal client-0's update for it."""
    coordinator = RoundCoordinator(remote, send_manifest=True)
    sessions, now = federation.sessions, int(time.time())
    offers = coordinator.open(
        {name: sessions[name].hello(now) for name in NAMES}, NO_TRAINING_CONFIG
    )
    accepted = sessions[NAMES[0]].accept(
        offers[NAMES[0]], federation.model.to_bytes(), now, training_config=NO_TRAINING_CONFIG
    )
    trained, examples = move(NAMES[0], federation.arrays())
    return sessions[NAMES[0]].seal(accepted, pack(federation.model.schema, trained), examples)


def started(remote: RemoteAggregator) -> Started:
    return remote.info()[2]


def test_two_rounds_through_the_gateway_give_the_same_models_as_local_ones_bit_for_bit(
    federation: SimulatedFederation, remote: RemoteAggregator, tmp_path: Path
) -> None:
    federation.coordinator = RoundCoordinator(remote, send_manifest=True)
    with SimulatedFederation.create(
        federation.arrays(), clients=3, folder=tmp_path / "local"
    ) as local:
        for _ in range(2):
            outcome = federation.run_round(move)
            local.run_round(move)
            assert sorted(outcome.receipts) == NAMES
            assert federation.model.digest() == local.model.digest()
    assert Model.from_bytes(remote.model()).digest() == federation.model.digest()


def test_what_the_gateway_relays_is_what_the_aggregator_says(
    federation: SimulatedFederation, remote: RemoteAggregator
) -> None:
    aggregator = federation.aggregator
    assert remote.info() == aggregator.info()
    assert remote.model() == aggregator.model()
    remote.open_round(NAMES, NO_TRAINING_CONFIG)
    assert remote.leaves(0) == aggregator.leaves(0)
    assert remote.leaves(1) == aggregator.leaves(1) != ()
    assert remote.leaves(2**64 - 1) == ()
    log = aggregator.log_part(0, 2)
    assert remote.log_part(0, 2) == remote.log_part(0, 1) + remote.log_part(1, 2**64 - 1) == log
    assert len(remote.log_part(0, 1)) > 100
    assert remote.log_part(2, 1) == remote.log_part(2**63, 2**64 - 1) == b""
    assert remote.status().state == aggregator.status().state == "collecting"


def test_an_evaluation_through_the_gateway_is_in_the_log_of_the_newest_model(
    federation: SimulatedFederation, remote: RemoteAggregator
) -> None:
    federation.coordinator = RoundCoordinator(remote, send_manifest=True)
    with pytest.raises(RequestRefused, match="wrong-state"):
        remote.evaluated(Digest(b"e" * 32))
    federation.run_round(move)
    said = remote.evaluated(Digest(b"e" * 32))
    evaluation = verify(Evaluation, said, PublicKey(started(remote).signing_key))
    assert (evaluation.digest, evaluation.model) == (b"e" * 32, federation.model.digest())
    assert statement_digest(said) == remote.leaves(0)[-1]
    with pytest.raises(RequestRefused, match="malformed-request"):
        remote.evaluated(Digest(b"short"))
    # The clients follow the log over it.
    assert sorted(federation.run_round(move).receipts) == NAMES


def test_evidence_through_the_gateway_holds_for_the_nonce_it_was_asked_with(
    federation: SimulatedFederation, remote: RemoteAggregator
) -> None:
    manifest = federation.sessions[NAMES[0]].manifest
    nonce = os.urandom(32)
    result = appraise(remote.evidence(nonce), manifest, nonce, now=int(time.time()))
    assert result.signing_key == started(remote).signing_key


def test_an_aborted_round_gives_a_signed_abort_and_no_ciphertext_is_left(
    federation: SimulatedFederation, remote: RemoteAggregator, ciphertexts: Ciphertexts
) -> None:
    sealed = sealed_update(federation, remote)
    assert remote.submit([sealed]).admitted
    assert len(ciphertexts()) == 1
    assert verify(Abort, remote.abort_round(), started(remote).signing_key).round == 1
    assert ciphertexts() == []


@pytest.mark.parametrize(
    ("request_it", "refusal"),
    [
        (lambda remote: remote.close_round(), Refusal.WRONG_STATE),
        (lambda remote: remote.abort_round(), Refusal.WRONG_STATE),
        (lambda remote: remote.submit([b"anything at all"]), Refusal.WRONG_STATE),
        (
            lambda remote: remote.open_round(["nobody", *NAMES], NO_TRAINING_CONFIG),
            Refusal.UNKNOWN_CLIENT,
        ),
        (lambda remote: remote.open_round(NAMES[:1], NO_TRAINING_CONFIG), Refusal.COHORT_TOO_SMALL),
        (lambda remote: remote.evidence(b"short"), Refusal.MALFORMED),
    ],
)
def test_a_refusal_is_raised_again_with_its_name_and_nothing_has_changed(
    remote: RemoteAggregator,
    ciphertexts: Ciphertexts,
    request_it: Callable[[RemoteAggregator], object],
    refusal: Refusal,
) -> None:
    leaves = remote.leaves(0)
    with pytest.raises(RequestRefused) as refused:
        request_it(remote)
    assert refused.value.refusal is refusal
    assert remote.status().state == "idle"
    assert remote.leaves(0) == leaves
    assert ciphertexts() == []


def test_a_refusal_carries_the_hosts_hint(
    federation: SimulatedFederation, remote: RemoteAggregator
) -> None:
    with pytest.raises(RequestRefused) as there:
        remote.close_round()
    with pytest.raises(RequestRefused) as here:
        federation.aggregator.close_round()
    assert str(there.value) == str(here.value)
    assert there.value.hint


def test_an_update_that_is_garbage_is_rejected_with_a_signature_and_the_round_goes_on(
    federation: SimulatedFederation, remote: RemoteAggregator, ciphertexts: Ciphertexts
) -> None:
    sealed = sealed_update(federation, remote)
    result = remote.submit([b"\x00" * 100])
    rejection = verify(Rejection, result.statement, started(remote).signing_key)
    assert not result.admitted
    assert rejection.reason is Reason.MALFORMED
    assert ciphertexts() == []
    assert remote.submit([sealed]).admitted


def test_an_update_may_come_in_parts_of_any_size(
    federation: SimulatedFederation, remote: RemoteAggregator, ciphertexts: Ciphertexts
) -> None:
    sealed = sealed_update(federation, remote)
    parts = [b"", sealed[:1], sealed[1 : PART_BYTES + 5], memoryview(sealed)[PART_BYTES + 5 :]]
    assert remote.submit(parts).admitted
    (stored,) = ciphertexts()
    assert stored.read_bytes() == sealed


def test_the_same_update_again_gets_the_same_receipt_and_is_stored_once(
    federation: SimulatedFederation, remote: RemoteAggregator, ciphertexts: Ciphertexts
) -> None:
    sealed = sealed_update(federation, remote)
    assert remote.submit([sealed]) == remote.submit([sealed])
    assert len(ciphertexts()) == 1


def test_an_upload_whose_sender_fails_midway_leaves_no_file(
    federation: SimulatedFederation,
    remote: RemoteAggregator,
    ciphertexts: Ciphertexts,
    eventually: Eventually,
) -> None:
    sealed = sealed_update(federation, remote)

    def failing() -> Iterator[bytes]:
        yield sealed[: 2 * PART_BYTES]
        assert eventually(lambda: len(ciphertexts()) == 1)
        raise OSError("the disk of the sender is gone")

    with pytest.raises(OSError, match="disk of the sender"):
        remote.submit(failing())
    assert eventually(lambda: ciphertexts() == [])
    assert remote.status().admitted == 0
    assert remote.submit([sealed]).admitted


def test_an_upload_that_is_cancelled_midway_leaves_no_file(
    channel: grpc.Channel,
    remote: RemoteAggregator,
    ciphertexts: Ciphertexts,
    eventually: Eventually,
) -> None:
    remote.open_round(NAMES, NO_TRAINING_CONFIG)

    def stalling() -> Iterator[pb.UpdatePart]:
        yield pb.UpdatePart(data=b"FEU1" + bytes(1000))
        time.sleep(0.5)

    call = pb_grpc.AggregatorStub(channel).SubmitUpdate.future(stalling())
    assert eventually(lambda: len(ciphertexts()) == 1)
    # Others go on meanwhile: a slow sender holds no lock.
    assert not remote.submit([b"\x00" * 100]).admitted
    call.cancel()
    assert eventually(lambda: ciphertexts() == [])
    assert len(remote.leaves(0)) == 3


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [pb.UpdatePart(data=b"FEU1")],
        [pb.UpdatePart(data=b"FEU1", last=True), pb.UpdatePart(data=b"more")],
        [pb.UpdatePart(data=bytes(PART_BYTES + 1), last=True)],
    ],
    ids=["nothing", "no-last-part", "goes-on-after-the-last", "too-long-a-part"],
)
def test_an_upload_that_is_not_whole_never_reaches_the_enclave(
    channel: grpc.Channel,
    remote: RemoteAggregator,
    ciphertexts: Ciphertexts,
    parts: list[pb.UpdatePart],
) -> None:
    remote.open_round(NAMES, NO_TRAINING_CONFIG)
    leaves = remote.leaves(0)
    with pytest.raises(grpc.RpcError) as failed:
        pb_grpc.AggregatorStub(channel).SubmitUpdate(iter(parts))
    assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert ("fedenclave-error", "malformed") in failed.value.trailing_metadata()
    assert remote.leaves(0) == leaves
    assert ciphertexts() == []


def test_an_upload_beyond_the_stores_limit_raises_store_full_and_leaves_no_file(
    tmp_path: Path, ciphertexts: Ciphertexts
) -> None:
    arrays = {"w": np.zeros(10, np.float32)}
    model = Model(schema=schema_of(arrays), payload=bytes(pack(schema_of(arrays), arrays)))
    manifest, approvals = development_manifest(model, dict(zip(NAMES, _keys(), strict=True)))
    with (
        Aggregator(
            tmp_path / "host",
            manifest=manifest.source,
            approvals=approvals,
            model=model,
            tee="insecure",
            store_bytes=PART_BYTES + 10,
        ) as aggregator,
        Gateway(aggregator, "127.0.0.1:0", tls=None, insecure_plaintext=True) as gateway,
        RemoteAggregator(gateway.address, root_certificate=None, insecure=True) as remote,
    ):
        remote.open_round(NAMES, NO_TRAINING_CONFIG)
        with pytest.raises(StoreFull, match="exceed its limit") as full:
            remote.submit([bytes(2 * PART_BYTES)])
        assert full.value.hint == "raise the aggregator's store limit, or use smaller cohorts"
        assert ciphertexts() == []
        # The room is free again.
        assert remote.submit([bytes(PART_BYTES)]).reason == Reason.MALFORMED


def _keys() -> Iterator[object]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return (public_key(Ed25519PrivateKey.generate()) for _ in NAMES)


def test_an_enclave_killed_midway_is_told_to_the_caller_and_to_health_checks(
    federation: SimulatedFederation,
    gateway: Gateway,
    remote: RemoteAggregator,
    channel: grpc.Channel,
    eventually: Eventually,
) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    sealed = sealed_update(federation, remote)
    assert remote.submit([sealed]).admitted
    os.kill(federation.aggregator.enclave_pid, signal.SIGKILL)
    for ask in (remote.close_round, remote.status, lambda: remote.submit([sealed])):
        with pytest.raises(EnclaveDied, match="the enclave process ended") as died:
            ask()
        assert "the round goes on" in died.value.hint
    assert eventually(lambda: gateway.enclave_died)
    for service in ("", SERVICE):
        request = health_pb2.HealthCheckRequest(service=service)
        assert health.Check(request).status == health_pb2.HealthCheckResponse.NOT_SERVING
    # What was released before is still to be had.
    assert Model.from_bytes(remote.model()).digest() == federation.model.digest()


def test_a_bug_in_the_gateway_shows_the_caller_no_text(
    federation: SimulatedFederation,
    remote: RemoteAggregator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> bytes:
        raise KeyError("a detail of the operator's machine")

    monkeypatch.setattr(federation.aggregator, "model", broken)
    with pytest.raises(MalformedMessage) as failed:
        remote.model()
    assert "detail" not in str(failed.value)
    assert "GetModel failed" in caplog.text


def test_a_model_that_could_not_be_written_is_fetched_by_closing_the_round_again(
    federation: SimulatedFederation, remote: RemoteAggregator, tmp_path: Path
) -> None:
    federation.coordinator = RoundCoordinator(remote, send_manifest=True)
    in_the_way = tmp_path / "host" / "models" / "round-1.fem"
    in_the_way.mkdir()
    with pytest.raises(StoreFull, match="cannot write the new model") as full:
        federation.run_round(move)
    assert "close the round again" in full.value.hint
    with pytest.raises(RequestRefused, match="wrong-state"):
        remote.open_round(NAMES, NO_TRAINING_CONFIG)
    in_the_way.rmdir()
    result, deliveries = federation.coordinator.close()
    assert sorted(deliveries) == NAMES
    assert result.model == in_the_way.read_bytes() == remote.model()
    assert remote.open_round(NAMES, NO_TRAINING_CONFIG)
