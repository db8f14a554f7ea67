"""T3: the operator relays another enclave's evidence, stale evidence, or evidence for others."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.attack_suite.world import FIRST, now
from fedenclave.attestation.appraise import appraise
from fedenclave.attestation.result import EvidenceRefused
from fedenclave.protocol import merkle
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import EnclaveRefused
from fedenclave.protocol.evidence import Evidence, report_data
from fedenclave.protocol.exchange import RoundOffer
from fedenclave.protocol.signing import public_key
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.conftest import NewWorld
from tests.attacks.world import World

FILE = FIRST.to_bytes()


def refused(world: World, offer: RoundOffer, match: str, *, at: int | None = None) -> None:
    """Offer it to client a, which must refuse and be as before."""
    session = world.sessions["a"]
    before, stored = session.state, world.stores["a"].state
    with pytest.raises(EnclaveRefused, match=match):
        session.accept(
            offer, FILE, at if at is not None else now(), training_config=NO_TRAINING_CONFIG
        )
    assert (session.state, world.stores["a"].state) == (before, stored)


def test_host_replaying_evidence_for_an_earlier_nonce_is_refused(world: World) -> None:
    first = world.open()["a"]
    world.coordinator.abort()
    for _ in range(8):  # the client remembers its eight newest nonces
        world.sessions["a"].hello(now())
    refused(world, first, "not for a nonce of this client's")
    # Evidence for the old nonce beside a new one binds another root.
    second = world.open()["a"]
    refused(world, replace(second, evidence=first.evidence), "report data")
    assert world.accept("a").announcement.round == 2


def test_host_holding_back_evidence_until_it_is_stale_is_refused(world: World) -> None:
    offer = world.open()["a"]
    limit = world.manifest.attestation.freshness_seconds
    refused(world, offer, "not for a nonce", at=now() + limit + 2)
    refused(world, offer, "not for a nonce", at=now() - 60)  # before the nonce was made
    world.sessions["a"].accept(offer, FILE, now() + limit - 60, training_config=NO_TRAINING_CONFIG)


def test_host_passing_on_evidence_made_for_another_clients_nonce_is_refused(world: World) -> None:
    offers = world.open()
    refused(world, offers["b"], "not for a nonce of this client's")
    refused(world, replace(offers["a"], nonce_index=1), "report data")
    refused(world, replace(offers["a"], nonce_path=()), "not a path")
    refused(world, replace(offers["a"], nonce_index=9), "not a path")
    refused(world, replace(offers["a"], nonce=offers["b"].nonce), "not for a nonce")


def test_host_relaying_another_enclaves_evidence_is_refused(new_world: NewWorld) -> None:
    world, other = new_world(), new_world()
    offer = world.open()["a"]
    root = merkle.root_from_path(
        offer.nonce, index=offer.nonce_index, size=offer.nonce_count, path=offer.nonce_path
    )
    # A real enclave, for this very nonce, of another manifest.
    refused(world, replace(offer, evidence=other.aggregator.evidence(root or b"")), "report data")
    # Another enclave of this manifest: its key did not sign the announcement.
    twin = LyingEnclave(world.manifest)
    refused(world, replace(offer, evidence=twin.evidence(root or b"")), "does not hold")
    # The same, with the true enclave's key written beside the document.
    evidence = Evidence.from_bytes(twin.evidence(root or b""))
    true_key = Evidence.from_bytes(offer.evidence).signing_key
    relabelled = replace(evidence, signing_key=true_key).to_bytes()
    refused(world, replace(offer, evidence=relabelled), "does not hold")


def test_evidence_whose_document_says_anything_else_is_refused(world: World) -> None:
    nonce = world.sessions["a"].hello(now()).nonce
    root = merkle.root([nonce])
    liar = LyingEnclave(world.manifest)
    other_key = public_key(Ed25519PrivateKey.generate())
    announced = liar.announcement()
    for document, match in (
        ({"measurement": Digest(bytes(32))}, "did not approve"),
        ({"warning": "secure"}, "warning is secure"),
        ({"report_data": bytes(64)}, "report data"),
        ({"report_data": b""}, "report data"),
        ({"bound": report_data(bytes(32), public_key(liar.key), world.manifest.digest)}, "report"),
        ({"bound": report_data(root, other_key, world.manifest.digest)}, "report data"),
        ({"bound": report_data(root, public_key(liar.key), bytes(32))}, "report data"),
        ({"format": "sgx"}, "format is sgx"),
    ):
        evidence = liar.evidence(root, **document)
        refused(world, liar.offer(nonce, announcement=announced, evidence=evidence), match)
    refused(world, liar.offer(nonce, announcement=announced, evidence=b"\xa0"), "does not decode")
    # Nothing else was wrong with these offers.
    world.sessions["a"].accept(
        liar.offer(nonce, announcement=announced), FILE, now(), training_config=NO_TRAINING_CONFIG
    )


def test_insecure_evidence_satisfies_no_policy_that_does_not_name_it(world: World) -> None:
    liar = LyingEnclave(world.manifest)
    root = Digest(bytes(32))
    assert appraise(liar.evidence(root), world.manifest, root, now()).insecure
    silent = replace(world.manifest.attestation, insecure=())
    with pytest.raises(EvidenceRefused, match="development mode") as refusal:
        appraise(liar.evidence(root), replace(world.manifest, attestation=silent), root, now())
    assert not {c.name: c.holds for c in refusal.value.checks}["format"]
