"""One federation inside the enclave: its identity, its log, its model, its rounds.

Does no socket I/O and reads no clock: `service.py` feeds it requests, descriptors and the host's
time.

Rules:
  * Nothing happens under a manifest that its members have not approved.
  * A client is counted at most once in a round.
  * Nothing is released below `min_cohort` organisations, and no model twice.
  * After a refusal everything is as before; only what `close_round` set aside stays set aside.

SPEC.md, sections 11 and 12.3.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.aggregation import Aggregation
from fedenclave.enclave.attesters.attester import Attester
from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.differencing import CohortHistory
from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.log import Log
from fedenclave.enclave.partial_sums import PartialSum
from fedenclave.enclave.peer_channel import Channel
from fedenclave.enclave.round import Round
from fedenclave.enclave.secret_memory import KeySlots, SecretMemory
from fedenclave.enclave.sharding import Root, Shard, Sharing
from fedenclave.enclave.workers import Workers
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.evidence import NONCE_SIZE, Evidence, report_data
from fedenclave.protocol.frames import AdmissionResult, Closed, ShardPapers
from fedenclave.protocol.manifest import Manifest, approving_members
from fedenclave.protocol.sealed_update import CONTENT_KEY_SIZE
from fedenclave.protocol.signing import public_key, statement_digest
from fedenclave.protocol.statements import VERSION, Abort, Adoption, Release, Start
from fedenclave.protocol.tensors import Schema


class Federation:
    """Everything that the enclave knows of its one federation."""

    def __init__(
        self,
        *,
        manifest: Manifest,
        approvals: Sequence[bytes],
        schema: Schema,
        first_model: HostFile,
        attester: Attester,
        measurement: Digest,
        workers: Workers,
        slots: KeySlots,
        memory: SecretMemory,
        time: int,
    ) -> None:
        """Take up an approved manifest and its agreed first model.

        Raises:
            RequestRefused: too few members approve, schema or model are not the agreed ones, or
                the rule is none of this image's.
        """
        if len(approving_members(manifest, approvals)) < manifest.threshold:
            raise RequestRefused(Refusal.NOT_APPROVED)
        if schema.digest != manifest.schema:
            raise RequestRefused(
                Refusal.WRONG_MODEL, hint="the model's schema is not the one the manifest names"
            )
        self.manifest = manifest
        self.schema = schema
        self._attester = attester
        self._key = Ed25519PrivateKey.generate()
        self._workers, self._slots = workers, slots
        self._models = Fingerprinter()
        self._base_digest = manifest.initial_model
        self._base = BaseModel.of_agreed_model(
            first_model, manifest.initial_model, schema, self._models, self._workers
        )
        self._aggregation = Aggregation(
            schema, manifest.rules, self._workers, memory, len(manifest.clients)
        )
        self._history = CohortHistory(manifest.rules.min_cohort)
        self._log = Log(self._key)
        self._round_number = 0
        self._round: Round | None = None
        self._closed: Closed | None = None
        self._sharing: Sharing | None = None
        self._behind = False
        self.start = self._log.append(
            Start(
                version=VERSION,
                federation=self.manifest.name,
                manifest=self.manifest.digest,
                model=manifest.initial_model,
                schema=schema.digest,
                measurement=measurement,
                time=time,
            )
        )

    @property
    def signing_key(self) -> bytes:
        """The enclave's raw public key."""
        return public_key(self._key)

    @property
    def round_number(self) -> int:
        """The newest round's number; 0 before the first."""
        return self._round_number

    @property
    def admitted(self) -> int:
        """Updates admitted to the open round."""
        return len(self._round.admitted) if self._round else 0

    @property
    def log_size(self) -> int:
        """Statements signed so far."""
        return self._log.size

    def evidence(self, nonce: bytes) -> Evidence:
        """Return evidence that binds `nonce`, the signing key and the manifest.

        Raises:
            RequestRefused: the nonce has not 32 bytes, or the machine gives no evidence.
        """
        if len(nonce) != NONCE_SIZE:
            raise RequestRefused(Refusal.MALFORMED)
        bound = report_data(nonce, self.signing_key, self.manifest.digest)
        return self._attester.evidence(bound, self._key)

    def open_round(self, cohort: Sequence[str], training_config: Digest, time: int) -> bytes:
        """Open the next round and return its signed announcement.

        `training_config` is announced and not judged: the clients compare it.

        Raises:
            RequestRefused: a name is unknown or double, or there are too few organisations.
        """
        roster = self.manifest.roster
        if len(set(cohort)) != len(cohort) or any(client not in roster for client in cohort):
            raise RequestRefused(Refusal.UNKNOWN_CLIENT)
        if len(self.manifest.organisations(cohort)) < self.manifest.rules.min_cohort:
            raise RequestRefused(Refusal.COHORT_TOO_SMALL)
        self._round = Round(
            manifest=self.manifest,
            schema=self.schema,
            number=self._round_number + 1,
            base_model=self._base_digest,
            cohort=sorted(cohort),
            training_config=training_config,
            log=self._log,
            slots=self._slots,
            workers=self._workers,
            time=time,
        )
        self._round_number += 1
        self._sharing = Sharing(Channel(self.manifest, self._round, self.signing_key, self._log))
        return self._round.announcement_signed

    def _open(self) -> Round:
        if self._round is None:
            raise RequestRefused(Refusal.WRONG_STATE)
        return self._round

    def admit(self, file: HostFile) -> AdmissionResult:
        """Judge one sealed update; see `Round.admit`."""
        return self._open().admit(file)

    @property
    def state_files(self) -> int:
        """How many files of the server optimiser's state come with a close: none, or two."""
        return self._aggregation.state.files

    @property
    def shards(self) -> int:
        """How many partial sums' files come with a merge."""
        return self._shared().role(Root).shards

    def report(self, root: bytes, announcement: bytes, peers: Sequence[bytes]) -> bytes:
        """Return a signed report for the root; see `Sharing.report`."""
        return self._shared().report(root, announcement, peers)

    def total(self, shards: Sequence[ShardPapers], peers: Sequence[bytes]) -> tuple[bytes, ...]:
        """Return a signed total for each shard; see `Sharing.total`.

        Raises:
            RequestRefused: as there; or the optimiser's state is with another enclave.
        """
        self._check_may_release()
        return self._shared().total(shards, peers, self._history)

    def export(self, total: bytes, file: HostFile) -> bytes:
        """Write the partial sum that answers `total`, and return its signed key.

        Raises:
            RequestRefused: see `Shard.read` and `Round.export`.
        """
        shard = self._shared().role(Shard)
        agreed = shard.read(total, self._history)
        content_key = os.urandom(CONTENT_KEY_SIZE)
        weight = int.from_bytes(agreed.weight, "big")
        partial_sum = PartialSum(self.schema, content_key, file)
        self._open().export(self._aggregation, weight, partial_sum)
        return shard.answer(total, agreed, content_key)

    def merge(
        self,
        partial_sums: Sequence[tuple[bytes, HostFile]],
        base_file: HostFile,
        states: Sequence[HostFile],
        time: int,
    ) -> Closed:
        """Release what `close_round` would, had this enclave had the shards' updates, too.

        `partial_sums` are every shard's signed key and file; the rest is as for `close_round`.

        Raises:
            RequestRefused: see `Root.others`, `Round.merge` and `close_round`.
        """
        root, round_ = self._shared().role(Root), self._open()
        others = root.others(partial_sums, self.schema, self._history)
        return self._release(
            root,
            lambda: round_.merge(self._aggregation, self._base, others),
            base_file,
            states,
            time,
        )

    def adopt(self, signed: bytes, model: HostFile, time: int) -> bytes:
        """End the round with the root's release as the new base model; return the adoption.

        Raises:
            MalformedMessage: the release is not the root's.
            RequestRefused: it is of another round or base model, or the file is not its model.
        """
        round_, shard = self._open(), self._shared().role(Shard)
        release = shard.released(signed)
        base = BaseModel.of_agreed_model(
            model, release.model, self.schema, self._models, self._workers, self._round_number
        )
        adoption = self._log.append(
            Adoption(
                version=VERSION,
                federation=self.manifest.name,
                manifest=self.manifest.digest,
                round=self._round_number,
                root=shard.root.enclave,
                release=statement_digest(signed),
                model=release.model,
                checkpoint=self._log.checkpoint(),
                time=time,
            )
        )
        self._end_round(round_)
        self._base, self._base_digest = base, release.model
        self._behind = bool(self.state_files)
        return adoption

    def _shared(self) -> Sharing:
        if self._sharing is None:
            raise RequestRefused(Refusal.WRONG_STATE)
        return self._sharing

    def _check_may_release(self) -> None:
        if self._behind:
            raise RequestRefused(
                Refusal.WRONG_STATE, hint="the server optimiser's state is with another enclave"
            )

    def close_round(self, base_file: HostFile, states: Sequence[HostFile], time: int) -> Closed:
        """Aggregate, sign the release, and destroy the round's key. No model is written yet.

        Args:
            base_file: the host's file of the base model.
            states: the server optimiser's old and new state, `state_files` of them.
            time: the host's clock.

        Raises:
            RequestRefused: the cohort does not suffice (the round stays open), or a file is bad.
        """
        round_ = self._open()
        self._check_may_release()
        return self._release(
            round_,
            lambda: round_.aggregate(self._aggregation, self._base, self._history),
            base_file,
            states,
            time,
        )

    def _release(
        self,
        who: Round | Root,
        aggregate: Callable[[], Digest],
        base_file: HostFile,
        states: Sequence[HostFile],
        time: int,
    ) -> Closed:
        """Run the last pass and release: of the round alone, or of all that its root speaks for."""
        round_ = self._open()
        self._base.read_from(base_file)
        old, new = states or (None, None)
        self._aggregation.state.use(old, new)
        try:
            model = aggregate()
        finally:
            self._base.read_from(None)
            self._aggregation.state.use(None, None)
        report = who.cohort_report()
        included = who.included()
        metrics = round_.released_metrics(who.metric_sums(), who.weight())
        # From here on nothing can fail: everything below moves together.
        new_base = BaseModel.of_own_model(
            memoryview(self._aggregation.model.payload),
            self.schema,
            self._models,
            self._round_number,
            self._workers,
        )
        set_aside = round_.reject_set_aside()
        release = self._log.append(
            Release(
                version=VERSION,
                federation=self.manifest.name,
                manifest=self.manifest.digest,
                round=self._round_number,
                announcement=round_.announcement_digest,
                base_model=self._base_digest,
                model=model,
                schema=self.schema.digest,
                cohort=round_.report_digest(report),
                clients=len(included),
                organisations=len(set(included.values())),
                metrics=metrics,
                checkpoint=self._log.checkpoint(),
                time=time,
            )
        )
        self._aggregation.state.commit()
        self._history.add(self._base_digest, included)
        self._base, self._base_digest = new_base, model
        self._closed = Closed(release=release, cohort=report.to_bytes(), set_aside=set_aside)
        self._end_round(round_)
        return self._closed

    def abort_round(self, time: int) -> bytes:
        """End the round without a release and return the signed abort."""
        round_ = self._open()
        signed = self._log.append(
            Abort(
                version=VERSION,
                federation=self.manifest.name,
                manifest=self.manifest.digest,
                round=self._round_number,
                checkpoint=self._log.checkpoint(),
                time=time,
            )
        )
        self._end_round(round_)
        return signed

    def _end_round(self, round_: Round) -> None:
        if self._sharing is not None and self._sharing.shared:
            # Released by the root or not: here nobody can know.
            self._history.add(self._base_digest, self._sharing.shared)
        self._sharing = None
        round_.destroy()
        self._slots.wipe()
        self._round = None

    def last_closed(self) -> Closed:
        """Return the newest release again: the host may have lost the answer.

        Raises:
            RequestRefused: there is none.
        """
        if self._closed is None:
            raise RequestRefused(Refusal.WRONG_STATE)
        return self._closed

    def write_model(self, file: HostFile) -> None:
        """Write the newest released model to the host's file; may be repeated.

        Raises:
            RequestRefused: it cannot be written, or it is gone: an unfinished pass of a later
                round has taken its place.
        """
        if self._aggregation.digest != self._base_digest:
            raise RequestRefused(Refusal.WRONG_STATE)
        file.write(memoryview(self._aggregation.model.payload))
