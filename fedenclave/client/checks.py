"""The checks on what the host offers, one function each; `session.accept` makes them in order.

Each raises `EnclaveRefused`, and nothing has been sent. The last one is on a receipt.

SPEC.md, section 13.
"""

from __future__ import annotations

from fedenclave.audit.noted import CheckpointRefused, verify_note
from fedenclave.audit.receipt import VerifiedReceipt
from fedenclave.client.refusals import HistoryRefused, ManifestRefused
from fedenclave.client.state import ClientState
from fedenclave.protocol.cohort import cohort_problem
from fedenclave.protocol.digests import Digest, equal, to_text
from fedenclave.protocol.errors import EnclaveRefused
from fedenclave.protocol.exchange import RoundOffer
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.merkle import root_from_path
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import PublicKey
from fedenclave.protocol.statements import Announcement, Checkpoint

NOTHING_SENT = "nothing was sent"


def own_nonce(
    offer: RoundOffer, state: ClientState, manifest: Manifest, now: int
) -> tuple[bytes, Digest]:
    """Return this client's own fresh nonce, and the root that it is under (T3)."""
    limit = manifest.attestation.freshness_seconds
    fresh = {n.nonce for n in state.nonces if 0 <= now - n.time <= limit}
    if offer.nonce not in fresh:
        raise EnclaveRefused(
            f"the evidence is not for a nonce of this client's of the last {limit} s",
            hint="it is old, or made for somebody else, or the clock was set; the next round "
            "asks anew",
        )
    root = root_from_path(
        offer.nonce, index=offer.nonce_index, size=offer.nonce_count, path=offer.nonce_path
    )
    if root is None:
        raise EnclaveRefused(
            "the path from this client's nonce to the evidence is not a path", hint=NOTHING_SENT
        )
    return offer.nonce, root


def check_same_enclave(state: ClientState, key: PublicKey) -> None:
    """Refuse a key other than that of earlier rounds (T7)."""
    known = state.enclave_key
    if known and not equal(known, key):
        raise HistoryRefused(
            "the aggregator is another enclave than in this client's earlier rounds",
            hint="an enclave that lost its state could repeat rounds (rollback). if the "
            "operator's restart is agreed: `fedenclave client forget-chain`",
        )


def check_announcement(
    announcement: Announcement, manifest: Manifest, state: ClientState, client: str
) -> None:
    """Refuse a round under other rules, one sealed for already, and a cohort that will not do."""
    if announcement.federation != manifest.name or announcement.manifest != manifest.digest:
        raise ManifestRefused(
            "the round is announced under another manifest than the approved one",
            hint=NOTHING_SENT,
        )
    if announcement.suite is not manifest.suite or announcement.schema != manifest.schema:
        raise EnclaveRefused("the round's suite or schema is not the manifest's", hint=NOTHING_SENT)
    if announcement.round <= state.sealed_round:
        raise EnclaveRefused(
            f"round is {announcement.round}, and this client sealed for round "
            f"{state.sealed_round} already",
            hint="a second update for one round could be subtracted from the first (replay)",
        )
    cohort = announcement.cohort
    if client not in cohort or any(name not in manifest.roster for name in cohort):
        raise EnclaveRefused(
            "the round's cohort does not hold this client, or holds a client that is not on "
            "the roster",
            hint=NOTHING_SENT,
        )
    organisations = len(manifest.organisations(cohort))
    if organisations < manifest.rules.min_cohort:
        raise EnclaveRefused(
            f"the round's cohort has {organisations} organisations, "
            f"want {manifest.rules.min_cohort}",
            hint=NOTHING_SENT,
        )
    drawn, available = manifest.rules.drawn, announcement.available
    if problem := cohort_problem(drawn, cohort, available, manifest.roster):
        raise EnclaveRefused(
            f"the round's cohort is not chosen as the manifest says: {problem}", hint=NOTHING_SENT
        )


def check_amended(state: ClientState, manifest: Manifest) -> None:
    """Refuse a log that does not say that this manifest has taken the place of the one before."""
    if not equal(state.log_manifest, manifest.digest):
        raise ManifestRefused(
            f"the enclave's log ends under manifest sha256:{state.log_manifest.hex()}, want "
            f"{to_text(manifest.digest)}",
            hint=NOTHING_SENT,
        )


def check_model(model_file: bytes, announcement: Announcement) -> Model:
    """Return the model whose bytes are the announced base model (T8)."""
    model = Model.from_bytes(model_file)
    if model.schema.digest != announcement.schema:
        raise EnclaveRefused("the model has another schema than the round", hint=NOTHING_SENT)
    digest = model.digest()
    if not equal(digest, announcement.base_model):
        raise EnclaveRefused(
            f"the model is {to_text(digest)}, and the round is announced on "
            f"{to_text(announcement.base_model)}",
            hint="the host sent a model of its own; nothing was trained and nothing was sent",
        )
    return model


def check_training_config(announcement: Announcement, told: Digest) -> None:
    """Refuse to train in another way than the round announces to every client (T8)."""
    if not equal(announcement.training_config, told):
        raise EnclaveRefused(
            f"this client is told to train by {to_text(told)}, and the round is announced with "
            f"{to_text(announcement.training_config)}",
            hint="the run's or the message's configuration differs from the other clients'; with "
            "one client told to train and the others not to, the mean would be its update",
        )


def followed_checkpoint(note: bytes, manifest: Manifest, state: ClientState) -> Checkpoint:
    """Return the checkpoint in a note that the followed enclave has signed.

    Raises:
        EnclaveRefused: no enclave is followed yet, or that one has not signed it.
    """
    if not state.enclave_key:
        raise EnclaveRefused("this client has not taken part in a round yet")
    try:
        noted = verify_note(note, manifest.name, PublicKey(state.enclave_key))
    except CheckpointRefused as refused:
        raise EnclaveRefused(
            f"the log's checkpoint does not hold: {refused.message}",
            hint="it was made or changed by somebody else; an earlier one is kept",
        ) from refused
    return noted.checkpoint


def check_same_history(state: ClientState, verified: VerifiedReceipt) -> None:
    """Refuse a receipt of another history than this client has followed (T7)."""
    ends = {end.round: end.checkpoint for end in state.ends}
    if verified.round in ends:
        followed = ends[verified.round] == verified.checkpoint
    else:
        # Its end must be still to come: every earlier one is before the newest announcement.
        followed = verified.round >= state.log_round
    same_round = verified.model is not None and verified.round == state.head_round
    if not followed or (same_round and verified.model != state.head_model):
        raise HistoryRefused(
            f"the receipt of round {verified.round} is of another history than this client has "
            "followed",
            hint="the enclave was forked: this receipt and the client's copy of the log are the "
            "proof; tell the other members, and see `fedenclave log denounce`",
        )
