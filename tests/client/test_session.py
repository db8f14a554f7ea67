"""A client's own state: who it is, what it remembers, and what a crash leaves of it."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.attack_suite.world import FIRST, payload_of
from fedenclave.client.session import ClientSession
from fedenclave.client.state import MAX_NONCES, MAX_PENDING, ClientState, MemoryStore
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import ConfigurationError, EnclaveRefused
from fedenclave.protocol.exchange import Delivery
from fedenclave.protocol.manifest import Client, Manifest, Member
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.sealed_update import read_envelope
from fedenclave.protocol.signing import public_key, sign, statement_digest
from fedenclave.protocol.statements import NO_DATA, VERSION, Approval, Suite, UpdateHeader
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import DEFAULT_RULES

MEMBERS = {name: Ed25519PrivateKey.generate() for name in ("alpha", "beta")}
KEYS = {name: Ed25519PrivateKey.generate() for name in ("a", "b")}
SOURCE = write_manifest(
    ManifestDraft(
        name="clients",
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
        schema=FIRST.schema.digest,
        initial_model=FIRST.digest(),
        rules=DEFAULT_RULES,
    )
)
MANIFEST = Manifest.from_bytes(SOURCE)
APPROVALS = [
    sign(
        Approval(version=VERSION, federation="clients", manifest=MANIFEST.digest, member=name), key
    )
    for name, key in MEMBERS.items()
]
FILE = FIRST.to_bytes()


def session(store: MemoryStore, **changes: object) -> ClientSession:
    arguments = {
        "manifest": MANIFEST,
        "approvals": APPROVALS,
        "name": "a",
        "key": KEYS["a"],
        "store": store,
    }
    return ClientSession(**{**arguments, **changes})


@pytest.fixture
def enclave() -> LyingEnclave:
    return LyingEnclave(MANIFEST)


def sealed(client: ClientSession, enclave: LyingEnclave, number: int = 1) -> bytes:
    """Take part in round `number` and return the sealed update."""
    nonce = client.hello(now=100).nonce
    offer = enclave.offer(nonce, announcement=enclave.announcement(round=number))
    return client.seal(
        client.accept(offer, FILE, 100, training_config=NO_TRAINING_CONFIG), payload_of(1), 5
    )


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"name": "x"}, "not on the manifest's roster"),
        ({"key": KEYS["b"]}, "not on the manifest's roster"),
        ({"approvals": APPROVALS[:1]}, "approved by 1 members, want 2"),
        ({"approvals": [APPROVALS[0]] * 2}, "approved by 1 members"),
        ({"approvals": []}, "approved by 0 members"),
    ],
)
def test_a_session_needs_an_enrolled_key_and_an_approved_manifest(
    changes: dict[str, object], match: str
) -> None:
    with pytest.raises(ConfigurationError, match=match):
        session(MemoryStore(), **changes)


def test_a_damaged_or_foreign_state_is_no_new_beginning(enclave: LyingEnclave) -> None:
    store = MemoryStore()
    sealed(session(store), enclave)
    good = store.state or b""
    for damaged in (b"", good[:-1], b"\xff" + good[1:]):
        with pytest.raises(ConfigurationError, match="damaged"):
            session(MemoryStore(damaged))
    foreign = replace(ClientState.from_bytes(good), manifest=Digest(bytes(32)))
    with pytest.raises(ConfigurationError, match="belongs to manifest"):
        session(MemoryStore(foreign.to_bytes()))
    assert session(MemoryStore(good)).state.sealed_round == 1


class FailingStore(MemoryStore):
    """Fails to save from a given call on."""

    left = 99

    def save_state(self, data: bytes) -> None:
        """Save, or fail as a full disk does."""
        if self.left == 0:
            raise OSError("disk full")
        self.left -= 1
        super().save_state(data)


def test_a_crash_while_saving_sends_nothing_and_one_after_it_seals_no_second_time(
    enclave: LyingEnclave,
) -> None:
    store = FailingStore()
    client = session(store)
    nonce = client.hello(now=100).nonce
    accepted = client.accept(
        enclave.offer(nonce, announcement=enclave.announcement()),
        FILE,
        100,
        training_config=NO_TRAINING_CONFIG,
    )
    store.left, before = 0, store.state
    with pytest.raises(OSError, match="disk full"):
        client.seal(accepted, payload_of(1), 5)
    assert store.state == before
    assert client.state.sealed_round == 0
    store.left = 99
    client.seal(accepted, payload_of(1), 5)
    # The process ends here, and the update is never sent: the round is spent all the same.
    with pytest.raises(EnclaveRefused, match="sealed already"):
        session(store).seal(accepted, payload_of(2), 5)


def test_what_is_sealed_names_everything_that_was_accepted(enclave: LyingEnclave) -> None:
    client = session(MemoryStore())
    nonce = client.hello(now=100).nonce
    announced = enclave.announcement(round=4)
    accepted = client.accept(
        enclave.offer(nonce, announcement=announced), FILE, 100, training_config=NO_TRAINING_CONFIG
    )
    envelope = read_envelope(client.seal(accepted, payload_of(1), 5))
    header = envelope.verified_header(public_key(KEYS["a"]))
    assert header == UpdateHeader(
        version=VERSION,
        federation="clients",
        manifest=MANIFEST.digest,
        round=4,
        announcement=statement_digest(announced),
        base_model=FIRST.digest(),
        client="a",
        data=NO_DATA,
        schema=FIRST.schema.digest,
        sealed_size=header.sealed_size,
        checkpoint=accepted.announcement.checkpoint,
    )
    state = client.state
    assert (state.sealed_round, state.nonces) == (4, ())
    assert state.checkpoint == (accepted.announcement.checkpoint,)
    assert state.pending[0].envelope == envelope.to_bytes()


def test_what_is_said_of_the_data_is_in_the_header_and_changes_no_length(
    enclave: LyingEnclave,
) -> None:
    client = session(MemoryStore())
    nonce = client.hello(now=100).nonce
    offer = enclave.offer(nonce, announcement=enclave.announcement())
    accepted = client.accept(offer, FILE, 100, training_config=NO_TRAINING_CONFIG)
    silent = client.header_for(accepted)
    data = Digest(b"d" * 32)
    header = read_envelope(client.seal(accepted, payload_of(1), 5, data=data)).unverified_header()
    assert header == replace(silent, data=data)
    assert len(header.to_bytes()) == len(silent.to_bytes())


def test_a_nonce_serves_until_something_is_sealed_and_only_the_newest_are_kept(
    enclave: LyingEnclave,
) -> None:
    client = session(MemoryStore())
    nonces = [client.hello(now=100 + i).nonce for i in range(MAX_NONCES + 1)]
    assert len(set(nonces)) == MAX_NONCES + 1
    assert [n.nonce for n in client.state.nonces] == nonces[1:]
    announced = enclave.announcement()
    with pytest.raises(EnclaveRefused, match="not for a nonce"):
        client.accept(
            enclave.offer(nonces[0], announcement=announced),
            FILE,
            110,
            training_config=NO_TRAINING_CONFIG,
        )
    accepted = client.accept(
        enclave.offer(nonces[1], announcement=announced),
        FILE,
        110,
        training_config=NO_TRAINING_CONFIG,
    )
    client.seal(accepted, payload_of(1), 5)
    later = enclave.announcement(round=2)
    with pytest.raises(EnclaveRefused, match="not for a nonce"):
        client.accept(
            enclave.offer(nonces[2], announcement=later),
            FILE,
            110,
            training_config=NO_TRAINING_CONFIG,
        )


def test_awaited_receipts_are_kept_up_to_a_number(enclave: LyingEnclave) -> None:
    store = MemoryStore()
    client = session(store)
    for number in range(1, MAX_PENDING + 3):
        sealed(client, enclave, number)
    rounds = [part.round for part in session(store).state.pending]
    assert rounds == list(range(3, MAX_PENDING + 3))
    nothing = Delivery(
        round=1,
        answer=b"",
        release=b"",
        cohort=b"",
        abort=b"",
        leaf_index=0,
        leaf_path=(),
        log_roots=(),
    )
    before = store.state
    with pytest.raises(EnclaveRefused, match="no receipt is awaited for round 1"):
        client.take_delivery(nothing)
    assert (store.state, store.receipts) == (before, {})


NEXT = Model(schema=FIRST.schema, payload=payload_of(2))


def test_a_released_model_is_taken_only_with_the_chain_that_leads_to_it(
    enclave: LyingEnclave,
) -> None:
    store = MemoryStore()
    client, file = session(store), NEXT.to_bytes()
    released = enclave.release(model=NEXT.digest())
    with pytest.raises(EnclaveRefused, match="not taken part in a round yet"):
        client.accept_released_model([released], file)
    sealed(client, enclave)
    before = store.state
    stranger = LyingEnclave(MANIFEST).release(model=NEXT.digest())
    for releases, model_file, match in (
        ([], file, "not the one that the chain"),
        ([released], FILE, "not the one that the chain"),
        ([released], file[:-1], "does not hold"),
        ([stranger], file, "does not hold"),
        ([enclave.release(base_model=Digest(bytes(32)), model=NEXT.digest())], file, "builds on"),
    ):
        with pytest.raises(EnclaveRefused, match=match):
            client.accept_released_model(releases, model_file)
        assert store.state == before
    assert client.accept_released_model([released], file).digest() == NEXT.digest()
    # It is remembered, and the next round must be on it.
    assert session(store).state.head_model == NEXT.digest()
    assert client.hello(now=200).chain_round == 1
    assert client.accept_released_model([released], file).digest() == NEXT.digest()
