"""Whole logs: what a true one says, and that each check sees the one lie that is its own."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.audit.lineage import steps
from fedenclave.audit.log import Signatures, VerifiedLog, summary, verify_log
from fedenclave.audit.log_rounds import LogInvalid
from fedenclave.audit.round_history import End
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import FedEnclaveError, MalformedMessage, Reason
from fedenclave.protocol.log_file import MAGIC, LogDamaged, LogTorn, frame
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.peers import Purpose
from fedenclave.protocol.signing import Signed, public_key, sign
from fedenclave.protocol.statements import Approval
from fedenclave.simulation.federation import Arrays, SimulatedFederation
from tests.audit.log_builder import (
    KEY,
    LogBuilder,
    model_of,
    refused,
    three_rounds,
)
from tests.audit.lying_receipt import BASICS, MANIFEST

BOTH = pytest.mark.parametrize("signatures", list(Signatures))


def releases_with(found: VerifiedLog, client: str) -> tuple[int, ...]:
    """Return the rounds whose release has the client's own update in it."""
    released = (each for each in found.rounds if each.end is End.RELEASED)
    return tuple(each.round for each in released if client in each.included)


@BOTH
def test_a_true_log_says_what_became_of_every_round(signatures: Signatures) -> None:
    log = three_rounds()
    found = log.verified(signatures=signatures)
    assert (found.federation, found.key) == (MANIFEST.name, public_key(KEY))
    assert found.checkpoint == log.checkpoint()
    assert found.signatures is signatures
    first, second, third = found.rounds
    assert (first.end, first.included, first.set_aside) == (End.RELEASED, ("a", "b"), ("c",))
    assert (first.base_model, first.model) == (MANIFEST.initial_model, model_of(1))
    assert (first.clients, first.organisations, first.rejected) == (2, 2, 2)
    assert (first.announced, first.ended) == (100, 150)
    assert (second.end, second.model, second.base_model) == (End.ABORTED, None, model_of(1))
    assert (second.cohort, second.included) == (("a", "b"), ("a",))
    assert (third.end, third.base_model, third.model) == (End.RELEASED, model_of(1), model_of(3))
    assert found.model == model_of(3)
    assert found.admissions == 6
    assert found.rejections == {
        "changed-after-admission": 1,
        "malformed": 1,
        "unknown-client": 1,
    }
    assert [found.ended(end) for end in End] == [0, 2, 1, 0]
    assert [releases_with(found, client) for client in "abcd"] == [(1,), (1, 3), (3,), ()]


def test_the_summary_is_json_with_the_lineage_in_it() -> None:
    said = json.loads(json.dumps(summary(three_rounds().verified())))
    assert (said["entries"], said["releases"], said["aborts"]) == (16, 2, 1)
    assert said["rounds"][0]["cohort"] == ["a", "b", "c"]
    assert said["rounds"][1]["model"] is None
    assert said["rounds"][2]["base_model"] == said["rounds"][0]["model"]
    assert said["rounds"][2]["end"] == "released"


def test_a_log_may_end_in_an_open_round() -> None:
    log = LogBuilder()
    log.start()
    log.announce()
    log.admit("b")
    (only,) = log.verified().rounds
    assert (only.end, only.model, only.included, only.ended) == (End.OPEN, None, ("b",), 0)
    assert releases_with(log.verified(), "b") == ()


def test_what_clients_have_said_of_their_data_is_there_while_they_are_included() -> None:
    one, other = Digest(b"1" * 32), Digest(b"2" * 32)
    log = LogBuilder()
    log.start()
    log.announce()
    log.admit("b", data=one)
    log.admit("a", data=other)
    log.admit("c", data=one)
    log.reject("c", Reason.CHANGED_AFTER_ADMISSION)
    log.release()
    log.round("a", "b")
    first, second = log.verified().rounds
    assert list(first.data.items()) == [("a", other), ("b", one)]
    assert second.data == {}
    assert first.summary()["data"] == {"a": f"sha256:{other.hex()}", "b": f"sha256:{one.hex()}"}


def test_evaluations_are_of_the_newest_model_and_the_newest_round() -> None:
    one, other = Digest(b"1" * 32), Digest(b"2" * 32)
    log = LogBuilder()
    log.start()
    log.round()
    log.evaluate(one)
    log.evaluate(other)
    log.shut_down()
    log.announce()
    log.abort()
    log.evaluate(one)  # of the same model again
    log.round()
    found = log.verified()
    assert [each.evaluations for each in found.rounds] == [(one, other), (one,), ()]
    assert found.rounds[1].summary()["evaluations"] == [f"sha256:{one.hex()}"]
    assert [step.evaluation for step in steps(found.rounds)] == [other, one, None]


def test_the_lineage_says_what_a_model_was_made_of() -> None:
    one, other, how = (Digest(bytes([n]) * 32) for n in (1, 2, 3))
    log = LogBuilder()
    log.start()
    log.announce(training_config=how)
    log.admit("a", data=one)
    log.admit("b", data=one)
    log.admit("c")
    log.release()
    log.evaluate(other)
    log.announce(("a", "b"))
    log.admit("a", data=one)
    log.admit("b", data=other)
    log.abort()
    first, second = steps(log.verified().rounds)
    assert (first.said_data, first.distinct_data, first.clients) == (2, 1, 3)
    assert (second.said_data, second.distinct_data, second.clients) == (2, 2, 2)
    assert first.summary() == {
        "round": 1,
        "end": "released",
        "training_config": f"sha256:{how.hex()}",
        "clients": 3,
        "said_data": 2,
        "distinct_data": 1,
        "base_model": f"sha256:{MANIFEST.initial_model.hex()}",
        "model": f"sha256:{model_of(1).hex()}",
        "evaluation": f"sha256:{other.hex()}",
    }
    assert (second.base_model, second.model, second.evaluation) == (model_of(1), None, None)
    assert second.summary()["model"] is second.summary()["evaluation"] is None


def test_a_log_goes_on_behind_a_shutdown() -> None:
    log = LogBuilder()
    log.start()
    log.shut_down()
    log.round()
    log.shut_down()
    log.shut_down()  # started again, and ended with no round between
    log.announce()
    log.abort()
    log.shut_down()
    found = log.verified()
    assert (found.shutdowns, found.checkpoint.size) == (4, 12)
    assert [each.end for each in found.rounds] == [End.RELEASED, End.ABORTED]
    assert summary(found)["shutdowns"] == 4


def test_a_root_counts_other_enclaves_clients_and_a_shard_adopts() -> None:
    root = LogBuilder()
    root.start()
    root.announce(("a", "b"))
    root.admit("a")
    root.admit("b")
    root.message(Purpose.TOTAL)
    root.release(clients=5, organisations=3)
    found = root.verified().rounds[0]
    assert (found.included, found.clients, found.organisations) == (("a", "b"), 5, 3)
    shard = LogBuilder()
    shard.start()
    shard.announce(("a", "b"))
    shard.admit("a")
    shard.message(Purpose.REPORT)
    shard.message(Purpose.PARTIAL_SUM)
    shard.adopt()
    shard.round()
    found = shard.verified()
    assert [each.end for each in found.rounds] == [End.ADOPTED, End.RELEASED]
    assert found.rounds[1].base_model == found.rounds[0].model == model_of(1)
    assert found.ended(End.ADOPTED) == 1


def test_two_ends_of_a_round_and_a_round_released_twice_are_seen() -> None:
    log = three_rounds()
    log.signed.append(log.signed[-1])
    refused(log, "none is open")


@BOTH
@pytest.mark.parametrize("place", range(16))
def test_a_statement_by_another_key_is_seen_wherever_it_is(
    place: int, signatures: Signatures
) -> None:
    log = three_rounds()
    entry = Signed.from_bytes(log.signed[place])
    log.signed[place] = replace(entry, signature=bytes(64)).to_bytes()
    refused(log, "not signed|another root|another announcement", signatures=signatures)


def test_the_key_and_the_manifest_are_the_readers() -> None:
    data = io.BytesIO(three_rounds().file())
    other = public_key(Ed25519PrivateKey.generate())
    with pytest.raises(LogInvalid, match="entry 0: the key has not signed it"):
        verify_log(data, other, MANIFEST)
    data.seek(0)
    with pytest.raises(LogInvalid, match="entry 0: it is under another manifest"):
        verify_log(data, public_key(KEY), Manifest.from_bytes(MANIFEST.source + b"\n"))


def test_a_statement_that_no_enclave_makes_is_no_entry() -> None:
    log = three_rounds()
    log.signed.append(sign(Approval(**BASICS, member="alpha"), KEY))
    refused(log, "entry 16: statement is of type 'approval'")
    log.signed[-1] = b"\xa0"
    refused(log, "entry 16: Signed has missing")
    log.signed[-1] = replace(Signed.from_bytes(log.signed[2]), payload=b"\xa0").to_bytes()
    refused(log, "entry 16: Admission has missing")


@BOTH
@pytest.mark.parametrize("gone", range(15))
def test_an_entry_taken_out_moved_or_doubled_is_seen(gone: int, signatures: Signatures) -> None:
    # The last entry may be missing: a log ends where it ends.
    log = three_rounds()
    entry = log.signed.pop(gone)
    with pytest.raises(LogInvalid):
        log.verified(signatures=signatures)
    log.signed.insert(gone + 1, entry)
    with pytest.raises(LogInvalid):
        log.verified(signatures=signatures)
    log.signed[gone : gone + 2] = [entry, entry]
    with pytest.raises(LogInvalid):
        log.verified(signatures=signatures)


def test_a_torn_and_a_damaged_file_are_errors_of_their_own() -> None:
    data = three_rounds().file()
    with pytest.raises(LogTorn):
        verify_log(io.BytesIO(data[:-1]), public_key(KEY), MANIFEST)
    with pytest.raises(LogDamaged, match="want 46454c31"):
        verify_log(io.BytesIO(b"FEM1" + data[4:]), public_key(KEY), MANIFEST)
    with pytest.raises(MalformedMessage):
        verify_log(io.BytesIO(data), b"short", MANIFEST)  # type: ignore[arg-type]


# -- any change of any byte


@given(st.data())
def test_a_log_with_a_byte_changed_proves_nothing(data: st.DataObject) -> None:
    log = three_rounds()
    whole = log.file()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    signatures = data.draw(st.sampled_from(Signatures))
    with pytest.raises(FedEnclaveError):
        verify_log(io.BytesIO(changed), public_key(KEY), MANIFEST, signatures=signatures)


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=4))
def test_arbitrary_entries_prove_nothing(entries: list[bytes]) -> None:
    data = io.BytesIO(MAGIC + b"".join(map(frame, entries)))
    with pytest.raises(LogInvalid):
        verify_log(data, public_key(KEY), MANIFEST)


# -- a real one


def trained(name: str, base: Arrays) -> tuple[Arrays, int]:
    return {key: value + np.float32(len(name)) for key, value in base.items()}, 10


def test_the_log_of_a_real_enclave_is_a_true_one(tmp_path: Path) -> None:
    arrays: Arrays = {"w": np.zeros(4, np.float32)}
    with SimulatedFederation.create(arrays, clients=3, folder=tmp_path) as federation:
        federation.run_round(trained)
        cheats = {"client-1": lambda _, base: ({k: v + np.inf for k, v in base.items()}, 1)}
        federation.run_round(trained, cheats=cheats)
        federation.abort(federation.collect(trained))
        federation.run_round(trained, ["client-0", "client-2"])
        manifest, _, started = federation.aggregator.info()
        leaves = federation.aggregator.leaves(0)
        model = federation.model.digest()
    data = (tmp_path / "statements.fel").read_bytes()
    found: VerifiedLog = verify_log(
        io.BytesIO(data), started.signing_key, Manifest.from_bytes(manifest)
    )
    assert (found.checkpoint.size, found.shutdowns) == (len(leaves) + 1, 1)
    assert [each.end for each in found.rounds] == [
        *(End.RELEASED, End.RELEASED, End.ABORTED, End.RELEASED)
    ]
    assert found.model == model
    assert releases_with(found, "client-1") == (1,)
    assert releases_with(found, "client-0") == (1, 2, 4)
    assert found.rejections == {"not-finite": 1}
    chain = [each for each in found.rounds if each.model is not None]
    assert [each.base_model for each in chain[1:]] == [each.model for each in chain[:-1]]
