"""An app's result that does not fit is not sealed: nothing is sent, and no round is spent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.client.reported import UpdateUnusable
from fedenclave.client.session import AcceptedRound, ClientSession
from fedenclave.client.state import MemoryStore
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.manifest import Client, Manifest, Member
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import public_key, sign
from fedenclave.protocol.statements import VERSION, Approval, Suite
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.client.test_session import KEYS, MEMBERS


def counting(batches: int, weight: float = 0.5) -> bytes:
    """Return a model that counts its batches beside its weights."""
    arrays = {"w": np.full(3, weight, np.float32), "batches": np.array([batches])}
    return bytes(pack(schema_of(arrays), arrays))


MODEL = Model(
    schema=schema_of({"w": np.zeros(3, np.float32), "batches": np.array([0])}), payload=counting(0)
)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def accepted(store: MemoryStore) -> tuple[ClientSession, AcceptedRound]:
    source = write_manifest(
        ManifestDraft(
            name="counting",
            threshold=2,
            development=True,
            members=[Member(name=n, key=public_key(k)) for n, k in MEMBERS.items()],
            clients=[
                Client(name="a", member="alpha", key=public_key(KEYS["a"])),
                Client(name="b", member="beta", key=public_key(KEYS["b"])),
            ],
            freshness_seconds=60,
            insecure_measurements=[Digest(b"m" * 32)],
            suite=Suite.X25519,
            schema=MODEL.schema.digest,
            initial_model=MODEL.digest(),
            rules=DEFAULT_RULES,
        )
    )
    manifest = Manifest.from_bytes(source)
    approval = Approval(
        version=VERSION, federation=manifest.name, manifest=manifest.digest, member=""
    )
    session = ClientSession(
        manifest=manifest,
        approvals=[sign(replace(approval, member=n), k) for n, k in MEMBERS.items()],
        name="a",
        key=KEYS["a"],
        store=store,
    )
    liar = LyingEnclave(manifest)
    offer = liar.offer(session.hello(now=100).nonce, announcement=liar.announcement())
    return session, session.accept(offer, MODEL.to_bytes(), 100, training_config=NO_TRAINING_CONFIG)


@pytest.mark.parametrize("batches", [2**31 + 1, -(2**31) - 1, 2**63 - 1])
def test_a_count_that_no_sum_could_hold_is_not_sealed(
    store: MemoryStore, accepted: tuple[ClientSession, AcceptedRound], batches: int
) -> None:
    session, round_ = accepted
    before = store.state
    with pytest.raises(UpdateUnusable, match="changed by more than"):
        session.seal(round_, counting(batches), 1)
    assert store.state == before
    session.seal(round_, counting(2**31), 1)  # the round is not spent


@pytest.mark.parametrize("trained", [b"", counting(1)[:-1], counting(1) + b"\0"])
def test_a_model_of_another_length_is_the_apps_mistake_and_not_its_data(
    store: MemoryStore, accepted: tuple[ClientSession, AcceptedRound], trained: bytes
) -> None:
    session, round_ = accepted
    before = store.state
    with pytest.raises(ValueError, match=r"payload has \d+ bytes, want 20"):
        session.seal(round_, trained, 1)
    assert store.state == before
