"""T3: the operator relays evidence of another enclave, for somebody else, or of another time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fedenclave.attack_suite.attack import Witness, attack
from fedenclave.attack_suite.world import World, now
from fedenclave.client.state import MAX_NONCES
from fedenclave.protocol import merkle
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.evidence import Evidence
from fedenclave.protocol.exchange import RoundOffer
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG


def _root(offer: RoundOffer) -> Digest:
    """Return what the evidence in `offer` must bind."""
    root = merkle.root_from_path(
        offer.nonce, index=offer.nonce_index, size=offer.nonce_count, path=offer.nonce_path
    )
    if root is None:
        raise ValueError("the offer's path is none")
    return root


@attack("T03-stale-evidence", "replay evidence of an earlier nonce, or hold it back until later")
def stale_evidence(world: World, witness: Witness) -> None:
    """Evidence of a time when the enclave was good is worth nothing later."""
    first = world.open()["a"]
    world.coordinator.abort()
    for _ in range(MAX_NONCES):
        world.sessions["a"].hello(now())
    witness.client_refuses(
        "offer an old round with its old evidence",
        partial(world.accept, "a", first),
        saying="not for a nonce of this client's",
    )
    second = world.open()["a"]
    witness.client_refuses(
        "put old evidence beside a new nonce",
        lambda: world.accept("a", replace(second, evidence=first.evidence)),
        saying="report data",
    )
    late = now() + world.manifest.attestation.freshness_seconds + 2
    witness.client_refuses(
        "hold fresh evidence back until the client's limit has passed",
        lambda: world.sessions["a"].accept(
            second, world.aggregator.model(), late, training_config=NO_TRAINING_CONFIG
        ),
        saying="not for a nonce of this client's",
    )
    witness.goes_on(world)


@attack("T03-another-clients-nonce", "show one client the evidence that answers another one")
def another_clients_nonce(world: World, witness: Witness) -> None:
    """One piece of evidence serves a whole cohort, each client by its own path."""
    offers = world.open()
    mine, theirs = offers["a"], offers["b"]
    for tried, offer, says in (
        ("b's offer", theirs, "not for a nonce"),
        ("b's nonce", replace(mine, nonce=theirs.nonce), "not for a nonce"),
        ("another place in the tree", replace(mine, nonce_index=1), "report data"),
        ("no path", replace(mine, nonce_path=()), "not a path"),
        ("a place outside of the tree", replace(mine, nonce_index=9), "not a path"),
    ):
        witness.client_refuses(
            f"offer a round to a with {tried}",
            partial(world.accept, "a", offer),
            saying=says,
        )
    witness.goes_on(world)


@attack("T03-another-enclaves-evidence", "relay the evidence of another genuine enclave")
def another_enclaves_evidence(world: World, witness: Witness) -> None:
    """Also with the true enclave's key written beside it, and from one that signs all itself."""
    offer = world.open()["a"]
    root, twin = _root(offer), world.liar()
    relayed = Evidence.from_bytes(world.another_enclave().evidence(root))
    key = Evidence.from_bytes(offer.evidence).signing_key
    for tried, evidence, says in (
        ("of a second enclave", relayed, "signature of the announcement does not hold"),
        ("of it, with the first one's key beside", replace(relayed, signing_key=key), "not hold"),
        ("of another manifest", _of_another_manifest(world, root), "report data"),
        ("of an enclave that only attests", Evidence.from_bytes(twin.evidence(root)), "not hold"),
    ):
        forged = replace(offer, evidence=evidence.to_bytes())
        witness.client_refuses(
            f"relay evidence {tried}",
            partial(world.accept, "a", forged),
            saying=says,
        )
    witness.goes_on(world)


def _of_another_manifest(world: World, root: Digest) -> Evidence:
    return Evidence.from_bytes(world.another_world().aggregator.evidence(root))


ATTACKS = (stale_evidence, another_clients_nonce, another_enclaves_evidence)
