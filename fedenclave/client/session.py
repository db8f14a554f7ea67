"""One client's part in a federation: nonce, checks, seal, receipt.

Does no I/O but through its store, and reads no clock: callers bring the time.

Rules:
  * Nothing is sealed before every check of SPEC.md, section 13, has held; `accept` makes them in
    that order, and what it returns is the only way to `seal`.
  * At most one update is sealed for a round, and none for a round that is not newer.
  * The state is written before the sealed bytes are handed out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fedenclave.attestation.appraise import appraise
from fedenclave.attestation.result import AttestationResult
from fedenclave.audit.receipt import VerifiedReceipt, verify_receipt
from fedenclave.client.chain import follow_chain
from fedenclave.client.checks import (
    NOTHING_SENT,
    check_amended,
    check_announcement,
    check_model,
    check_same_enclave,
    check_same_history,
    check_training_config,
    followed_checkpoint,
    own_nonce,
)
from fedenclave.client.enrolled import EnrolledClient
from fedenclave.client.header import header_of_update
from fedenclave.client.log_copy import grown
from fedenclave.client.reported import NO_METRICS, UpdateUnusable, reported_metrics
from fedenclave.client.state import (
    MAX_PENDING,
)
from fedenclave.protocol.digests import Digest, equal, sha256, to_text
from fedenclave.protocol.errors import EnclaveRefused, MalformedMessage
from fedenclave.protocol.exchange import (
    Delivery,
    LogPart,
    Participation,
    Receipt,
    RoundOffer,
)
from fedenclave.protocol.floats import all_finite, difference
from fedenclave.protocol.model import Model
from fedenclave.protocol.sealed_update import MAX_EXAMPLES, read_envelope
from fedenclave.protocol.sealing import seal_update
from fedenclave.protocol.signing import PublicKey, verify
from fedenclave.protocol.statements import (
    NO_DATA,
    VERSION,
    Announcement,
    Checkpoint,
    UpdateHeader,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRound:
    """A round that this client may train for: every check has held. Made by `accept` only."""

    announcement: Announcement
    announcement_signed: bytes
    attestation: AttestationResult
    base: Model
    participation: Participation


class ClientSession(EnrolledClient):
    """A client of one federation."""

    def accept(
        self, offer: RoundOffer, model_file: bytes, now: int, *, training_config: Digest
    ) -> AcceptedRound:
        """Check everything, and return the round to train for.

        Args:
            offer: as the host sent it.
            model_file: the base model's file, as the host sent it.
            now: Unix seconds.
            training_config: digest of what this client is told about how to train.

        Raises:
            EnclaveRefused: a check does not hold. Nothing was sealed, and nothing is remembered.
        """
        try:
            return self._accept(offer, model_file, now, training_config)
        except MalformedMessage as error:
            raise EnclaveRefused(
                f"the round's offer does not hold: {error.message}", hint=NOTHING_SENT
            ) from error

    def _accept(
        self, offer: RoundOffer, model_file: bytes, now: int, training_config: Digest
    ) -> AcceptedRound:
        # 1. One of this client's own fresh nonces is under the root.
        nonce, root = own_nonce(offer, self._state, self.manifest, now)
        # 2. The evidence satisfies the policy, and binds that root, a key and this manifest.
        attestation = appraise(offer.evidence, self.manifest, root, now, self._endorsements)
        key = attestation.signing_key
        check_same_enclave(self._state, key)
        # 3. That key signed the announcement, for this federation and manifest.
        announcement = verify(Announcement, offer.announcement, key)
        check_announcement(announcement, self.manifest, self._state, self.name)
        # 4. The log goes on from the one that this client has seen (T7).
        copy = grown(self._state, offer.log, announcement.checkpoint)
        check_amended(copy.state, self.manifest)
        # 5. The chain of releases leads from the agreed start to the base model (T8).
        head = follow_chain(copy.state, offer.releases, key, self.manifest)
        if not equal(head.model, announcement.base_model):
            raise EnclaveRefused(
                f"the round is on model {to_text(announcement.base_model)}, which no chain of "
                f"releases leads to; the chain ends at {to_text(head.model)}",
                hint=NOTHING_SENT,
            )
        # 6. The model's bytes are that model.
        base = check_model(model_file, announcement)
        # 7. This client is told to train as every other is (T8).
        check_training_config(announcement, training_config)
        self._store.save_log(copy.entries, copy.position)
        self._save(
            replace(
                copy.state,
                manifest=self.manifest.digest,
                log_round=announcement.round,
                enclave_key=key,
                head_round=head.round,
                head_model=head.model,
            )
        )
        return AcceptedRound(
            announcement=announcement,
            announcement_signed=offer.announcement,
            attestation=attestation,
            base=base,
            participation=Participation(
                round=announcement.round,
                evidence=offer.evidence,
                nonce=nonce,
                nonce_index=offer.nonce_index,
                nonce_count=offer.nonce_count,
                nonce_path=offer.nonce_path,
                announcement=offer.announcement,
                envelope=b"",
                time=now,
            ),
        )

    def accept_released_model(self, releases: Sequence[bytes], model_file: bytes) -> Model:
        """Return a model after the chain of releases to it has been checked.

        Raises:
            EnclaveRefused: this client has not appraised an enclave yet, or the chain does not
                lead to this model.
        """
        if not self._state.enclave_key:
            raise EnclaveRefused("this client has not taken part in a round yet")
        try:
            # The next manifest may be in force, and this client not yet in a round under it.
            head = follow_chain(
                self._state,
                releases,
                PublicKey(self._state.enclave_key),
                self.manifest,
                self._agreements,
            )
            model = Model.from_bytes(model_file)
        except MalformedMessage as error:
            raise EnclaveRefused(f"the model does not hold: {error.message}") from error
        if not equal(model.digest(), head.model):
            raise EnclaveRefused("the model is not the one that the chain of releases leads to")
        self._save(replace(self._state, head_round=head.round, head_model=head.model))
        return model

    def seal(
        self,
        accepted: AcceptedRound,
        trained: bytes | bytearray,
        num_examples: int,
        metrics: Mapping[str, float] = NO_METRICS,
        *,
        data: Digest = NO_DATA,
    ) -> bytes:
        """Return the sealed update for an accepted round, and remember having sealed it.

        Args:
            accepted: from `accept`.
            trained: the flat payload after training, in the base model's schema.
            num_examples: examples trained on, 1 to MAX_EXAMPLES.
            metrics: by name; those that the manifest asks for are sealed, others stay here.
            data: digest of the data trained on, which everybody will read in the log.

        Raises:
            ValueError: payload or count do not fit.
            UpdateUnusable: the update is not finite or an integer has moved too far, or a metric
                that the manifest asks for is missing or no finite number.
            EnclaveRefused: an update for this or a later round is sealed already.
            MalformedMessage: the announced round key is not a key of its suite.
        """
        announcement, schema = accepted.announcement, accepted.base.schema
        if not 1 <= num_examples <= MAX_EXAMPLES:
            raise ValueError(f"num_examples is {num_examples}, want 1 to {MAX_EXAMPLES}")
        if announcement.round <= self._state.sealed_round:
            raise EnclaveRefused(f"round {announcement.round} is sealed already")
        if len(trained) != schema.payload_size:
            raise ValueError(f"payload has {len(trained)} bytes, want {schema.payload_size}")
        reported = reported_metrics(metrics, self.manifest.rules)
        try:
            update = difference(schema, trained, accepted.base.payload)
        except ValueError as error:
            raise UpdateUnusable(f"{error}, and nothing was sent") from error
        if not all_finite(schema, update):
            raise UpdateUnusable(
                "the trained model holds a NaN or an infinity, and nothing was sent",
                hint="training diverged: lower the learning rate, or look at the data",
            )
        sealed = seal_update(
            update=update,
            num_examples=num_examples,
            schema=schema,
            header=self.header_for(accepted, data),
            suite=announcement.suite,
            round_key=announcement.public_key,
            signing_key=self._key,
            metrics=reported,
        )
        envelope = read_envelope(memoryview(sealed))
        participation = replace(accepted.participation, envelope=envelope.to_bytes())
        self._save(
            replace(
                self._state,
                sealed_round=announcement.round,
                checkpoint=(self._state.newer(announcement.checkpoint),),
                nonces=(),
                pending=(*self._state.pending, participation)[-MAX_PENDING:],
            )
        )
        return bytes(sealed)

    def header_for(self, accepted: AcceptedRound, data: Digest = NO_DATA) -> UpdateHeader:
        """Return the header of this client's update for an accepted round."""
        held = self._state.newest_or(accepted.announcement.checkpoint)
        signed = accepted.announcement_signed
        return header_of_update(self.name, self.manifest, accepted.base.schema, signed, held, data)

    def awaits(self, round_: int) -> bool:
        """Return whether the receipt of a round is still to come."""
        return any(part.round == round_ for part in self._state.pending)

    def take_delivery(self, delivery: Delivery) -> VerifiedReceipt:
        """Complete, verify and keep the receipt of a round.

        Raises:
            EnclaveRefused: this client has no part in that round; or the receipt is of another
                history than it has followed, which is then kept as a proof.
            ReceiptInvalid: what was delivered proves nothing. Nothing is kept.
        """
        part = next((p for p in self._state.pending if p.round == delivery.round), None)
        if part is None:
            raise EnclaveRefused(f"no receipt is awaited for round {delivery.round}")
        manifest, approvals = self._agreement_of(part)
        receipt = Receipt(
            version=VERSION,
            client=self.name,
            manifest=manifest.source,
            approvals=approvals,
            participation=part,
            delivery=delivery,
        ).to_bytes()
        verified = verify_receipt(receipt, manifest, self._endorsements.as_accepted())
        # Named by enclave too: an agreed restart begins at round 1 again.
        enclave = sha256(verified.attestation.signing_key).hex()[:8]
        self._store.save_receipt(f"round-{delivery.round:06d}-{enclave}.receipt", receipt)
        rest = tuple(p for p in self._state.pending if p.round != delivery.round)
        self._save(replace(self._state, pending=rest))
        check_same_history(self._state, verified)
        held = self._state.newer(verified.checkpoint)
        ends = tuple(end for end in self._state.ends if end.round != verified.round)
        self._save(replace(self._state, checkpoint=(held,), ends=ends))
        return verified

    def take_log(self, part: LogPart) -> None:
        """Let this client's copy of the log grow to the newest checkpoint that it holds.

        Raises:
            EnclaveRefused: with this part it is not the log of that checkpoint.
        """
        for held in self._state.checkpoint:
            if held.size > self._state.log_size >= part.first:
                self._grow(part, held)

    def take_checkpoint(self, note: bytes, part: LogPart) -> None:
        """Keep the log's newest note, and let this client's copy grow by `part` to its checkpoint.

        Where the part begins behind the copy's end, nothing can be said about the note, and it is
        not kept; nor is one that is older than what this client has seen.

        Raises:
            EnclaveRefused: the enclave has not signed it, or this client's copy is of another log.
        """
        checkpoint = followed_checkpoint(note, self.manifest, self._state)
        seen = (held.size for held in self._state.checkpoint)
        if checkpoint.size < max((self._state.log_size, *seen)):
            return  # an older one, where no newer could be signed: no news in it
        if min(part.first, checkpoint.size) <= self._state.log_size:
            self._grow(part, checkpoint)
            self._store.save_checkpoint(note)

    def _grow(self, part: LogPart, to: Checkpoint) -> None:
        copy = grown(self._state, part, to)
        self._store.save_log(copy.entries, copy.position)
        self._save(copy.state)
