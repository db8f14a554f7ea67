"""The mod: what a hostile server gets out of a client (T1, T3, T8, T13)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import (
    Array,
    ArrayRecord,
    Context,
    Message,
    RecordDict,
)
from flwr.serverapp.strategy import FedAvg

from fedenclave.attack_suite.world import FIRST
from fedenclave.client.state import MemoryStore
from fedenclave.flower import Confidential, carrier
from fedenclave.flower.node import DevelopmentNode
from fedenclave.flower.nonces import Nonces
from fedenclave.protocol.errors import EnclaveRefused
from fedenclave.protocol.exchange import Hello, RoundOffer
from fedenclave.protocol.signed_note import SignedNote
from fedenclave.protocol.signing import Signed, public_key, sign
from fedenclave.simulation.federation import development_manifest
from tests.flower.conftest import (
    INITIAL,
    NO_UPDATE,
    add_node_number,
    development_grid,
    initial_arrays,
    make_app,
    run,
)
from tests.flower.memory_grid import MemoryGrid

# All that the server hears of what is wrong with a node or with its app's result (T13).


def test_plain_message_without_an_offer_never_reaches_the_app() -> None:
    called = []

    def step(node: int, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        called.append(node)
        return arrays

    grid = development_grid(make_app(step))
    FedAvg(fraction_train=1.0, fraction_evaluate=0.0).start(
        grid=grid, initial_arrays=initial_arrays(), num_rounds=1
    )
    assert not called
    assert all("carries no offer from an enclave" in error for error in grid.errors)


def test_nothing_readable_of_an_update_is_in_any_reply() -> None:
    canary = np.frombuffer(b"CANARYcanary", dtype=np.float32).reshape(3)
    assert np.isfinite(canary).all()

    def step(node: int, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**add_node_number(node, arrays), "layers.0.bias": canary.copy()}

    grid = development_grid(make_app(step))
    run(grid)
    trained = [answer for answer in grid.answered if b"FEU1" in answer]
    assert len(trained) == 3
    for answer in trained:
        assert b"CANARY" not in answer
        assert b"secret-loss" not in answer
        assert b"num-examples" not in answer


def test_exception_text_of_the_app_stays_with_the_client(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def step(node: int, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if node == 12:
            raise RuntimeError("patient 4711 has a missing value")
        return add_node_number(node, arrays)

    grid = development_grid(make_app(step))
    run(grid)
    assert not any(b"4711" in answer for answer in grid.answered)
    assert any("stays in the client's own log" in error for error in grid.errors)
    assert "patient 4711" in capsys.readouterr().err


def test_server_that_swaps_the_model_is_refused(grid: MemoryGrid) -> None:
    def swap(message: Message) -> Message:
        if carrier.BULK in message.content:
            data = bytearray(carrier.read_bulk(message.content, carrier.BULK))
            data[-1] ^= 1
            message.content[carrier.BULK] = carrier.bulk_record(bytes(data))
        return message

    grid.on_request[12] = swap
    run(grid)
    assert any("the round is announced on" in error for error in grid.errors)
    assert sum(b"FEU1" in answer for answer in grid.answered) == 2


def test_server_that_repeats_an_earlier_offer_is_refused(grid: MemoryGrid) -> None:
    offers: list[bytes] = []

    def repeat(message: Message) -> Message:
        record = message.content.config_records[carrier.RECORD]
        if record["kind"] == "train":
            offers.append(record["offer"])
            record["offer"] = offers[0]
        return message

    grid.on_request[12] = repeat
    run(grid, rounds=2)
    assert any("not for a nonce of this client's" in error for error in grid.errors)


def test_server_that_changes_the_rules_of_a_later_round_is_ignored(grid: MemoryGrid) -> None:
    def change(message: Message) -> Message:
        record = message.content.config_records[carrier.RECORD]
        if record["kind"] == "train" and len(grid.sent) > 6:
            offer = RoundOffer.from_bytes(record["offer"])
            weaker = offer.manifest.replace(b"min_cohort = 2", b"min_cohort = 1")
            record["offer"] = replace(offer, manifest=weaker).to_bytes()
        return message

    grid.on_request[12] = change
    result = run(grid, rounds=2)
    assert result.arrays is not None
    assert not grid.errors


def test_damaged_offer_of_any_kind_is_one_refusal(grid: MemoryGrid) -> None:
    def damage(message: Message) -> Message:
        record = message.content.config_records[carrier.RECORD]
        if record["kind"] == "train":
            record["offer"] = record["offer"][:-3]
        return message

    grid.on_request[12] = damage
    run(grid)
    assert any("is not valid cbor" in error for error in grid.errors)


def test_the_last_message_brings_the_logs_newest_note(
    grid: MemoryGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bytes] = []
    monkeypatch.setattr(MemoryStore, "save_checkpoint", lambda _, note: kept.append(note))

    offers: list[Message] = []

    def lose_the_second(message: Message) -> Message | None:
        """Its copy of the log stays behind what the host thinks that it has sent."""
        if message.content.config_records[carrier.RECORD]["kind"] == "train":
            offers.append(message)
            return None if len(offers) == 2 else message
        return message

    grid.on_request[12] = lose_the_second
    run(grid, rounds=2)
    assert not grid.errors
    (note,) = set(kept)
    assert len(kept) == 3
    # Start, two rounds of three and of two clients.
    assert SignedNote.from_bytes(note).unverified_text.split("\n")[1] == str(1 + 5 + 4)


def test_a_note_that_the_host_changed_is_refused_and_not_kept(
    grid: MemoryGrid, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bytes] = []
    monkeypatch.setattr(MemoryStore, "save_checkpoint", lambda _, note: kept.append(note))

    def change(message: Message) -> Message:
        record = message.content.config_records[carrier.RECORD]
        if record["kind"] == "deliver":
            record["checkpoint"] = bytes(record["checkpoint"]).replace(b"\n6\n", b"\n7\n")
        return message

    grid.on_request[11] = change
    run(grid)
    assert len(kept) == 2
    assert [error for error in grid.errors if "checkpoint does not hold" in error] == grid.errors
    assert len(grid.errors) == 1


def test_node_without_folder_or_permission_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    app = make_app(add_node_number)
    grid = MemoryGrid(app, {node: {} for node in (11, 12)})
    strategy = Confidential(FedAvg(fraction_train=1.0, fraction_evaluate=0.0))
    with pytest.raises(Exception, match="0 clients said hello"):
        strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=1)
    assert "names no client folder" in capsys.readouterr().err
    assert set(grid.errors) == {NO_UPDATE}


def test_message_with_an_unknown_kind_is_refused(grid: MemoryGrid) -> None:
    def rename(message: Message) -> Message:
        message.content.config_records[carrier.RECORD]["kind"] = "dump"
        return message

    grid.on_request[12] = rename
    run(grid)
    assert any("of no known kind" in error for error in grid.errors)


def test_flat_array_carries_the_model_in_one_piece(grid: MemoryGrid) -> None:
    pieces = []

    def look(message: Message) -> Message:
        records: RecordDict = message.content
        pieces.extend(len(record) for record in records.array_records.values())
        return message

    grid.on_request[11] = look
    run(grid)
    assert set(pieces) == {1}
    assert len(INITIAL) > 1


def test_node_saying_hello_in_anothers_name_does_not_take_its_place(grid: MemoryGrid) -> None:
    hellos: dict[int, bytes] = {}

    def claim(message: Message) -> Message:
        if message.has_error():
            return message
        record = message.content.config_records[carrier.RECORD]
        signed = Signed.from_bytes(record["hello"])
        victim = replace(Hello.from_bytes(signed.payload), client="node-12")
        record["hello"] = replace(signed, payload=victim.to_bytes()).to_bytes()
        hellos[11] = record["hello"]
        return message

    grid.on_reply[11] = claim
    bias = run(grid).arrays["layers.0.bias"].numpy()
    assert hellos
    np.testing.assert_allclose(bias, np.full(3, (12 * 120 + 13 * 130) / 250), rtol=1e-6)


def test_server_smuggling_a_second_model_beside_the_checked_one_does_not_reach_the_app() -> None:
    seen: list[float] = []

    def step(node: int, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(float(arrays["layers.0.bias"][0]))
        return add_node_number(node, arrays)

    def smuggle(message: Message) -> Message:
        record = message.content.config_records[carrier.RECORD]
        if record["kind"] == "train":
            crafted = {name: Array(np.full_like(v, -900)) for name, v in INITIAL.items()}
            message.content["arrays"] = ArrayRecord(crafted)
            record["arrays-key"] = "junk"
        return message

    grid = development_grid(make_app(step))
    grid.on_request[12] = smuggle
    run(grid)
    assert -900 not in seen
    assert len(seen) == 2, "the app that reads a fixed name finds nothing there"


def test_node_without_folder_refuses_a_manifest_that_is_not_a_development_one() -> None:
    grid = development_grid(make_app(add_node_number))

    def turn(message: Message) -> Message:
        record = message.content.config_records[carrier.RECORD]
        if record["kind"] == "train":
            offer = RoundOffer.from_bytes(record["offer"])
            source = offer.manifest.replace(b"development = true", b"development = false")
            assert source != offer.manifest
            record["offer"] = replace(offer, manifest=source).to_bytes()
        return message

    grid.on_request[12] = turn
    run(grid)
    assert any("manifest is not a development one" in error for error in grid.errors)


class InOrder(FedAvg):
    """Lists the nodes in order, so that the liar comes before the one whose name it takes."""

    def configure_train(self, *arguments: object) -> list[Message]:
        messages = super().configure_train(*arguments)
        return sorted(messages, key=lambda message: message.metadata.dst_node_id)


def test_node_signing_with_its_own_key_in_anothers_name_does_not_take_its_place(
    grid: MemoryGrid,
) -> None:
    def claim(message: Message) -> Message:
        if message.has_error():
            return message
        record = message.content.config_records[carrier.RECORD]
        key = Ed25519PrivateKey.generate()
        own = Hello.from_bytes(Signed.from_bytes(record["hello"]).payload)
        record["hello"] = sign(replace(own, client="node-12", key=public_key(key)), key)
        return message

    grid.on_reply[11] = claim
    strategy = Confidential(InOrder(fraction_train=1.0, fraction_evaluate=0.0))
    result = strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=1)
    bias = result.arrays["layers.0.bias"].numpy()
    np.testing.assert_allclose(bias, np.full(3, (12 * 120 + 13 * 130) / 250), rtol=1e-6)


def test_hello_naming_a_key_without_its_signature_is_not_taken(grid: MemoryGrid) -> None:
    taken: list[int] = []

    def forge(message: Message) -> Message:
        record = message.content.config_records[carrier.RECORD]
        if record["kind"] == "hello":
            honest = record["hello"]
            signed = Signed.from_bytes(honest)
            for hello in (honest, replace(signed, signature=bytes(64)).to_bytes()):
                record["hello"] = hello
                nonces = Nonces()
                nonces.take(message)
                taken.append(len(nonces.hellos()))
            record["hello"] = honest
        return message

    grid.on_reply[11] = forge
    run(grid)
    assert taken == [1, 0]


def test_a_development_node_takes_no_machine_that_the_operator_pins() -> None:
    keys = {name: public_key(Ed25519PrivateKey.generate()) for name in ("a", "b", "c")}
    manifest, approvals = development_manifest(FIRST, keys)
    pinned = manifest.source.replace(
        b"[attestation.insecure]",
        b'collateral_max_age_seconds = 60\nrevocations = "none"\n[attestation.tpm]\n'
        b"exceptions = []\n[attestation.insecure]",
    )
    node = DevelopmentNode(Context(1, 11, {}, RecordDict(), {}))
    with pytest.raises(EnclaveRefused, match="accepts evidence of tpm, want the installed code"):
        node._begin(pinned, approvals)
