"""One round: collect sealed updates, aggregate what still is what it was, end.

Does no I/O of its own and reads no clock.

Rules:
  * A client is counted at most once; the same bytes again get the same answer again.
  * An update that changed after its admission is set aside, and the pass starts again without it.
  * A released or aborted round accepts nothing more, and its key is gone.

SPEC.md, sections 11.1 and 11.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from fedenclave.enclave.admission import Opened, OpenRound, check_header, open_update
from fedenclave.enclave.aggregation import Aggregation
from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.collected import Collected
from fedenclave.enclave.differencing import CohortHistory
from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.journal import Journal
from fedenclave.enclave.log import Log
from fedenclave.enclave.partial_sums import Others, PartialSum
from fedenclave.enclave.secret_memory import KeySlots
from fedenclave.enclave.transitions import (
    KeptUpdate,
    OpenedRound,
    join_numbers,
)
from fedenclave.enclave.updates import ChangedAfterAdmission
from fedenclave.enclave.workers import Workers
from fedenclave.protocol import sealed_update as layout
from fedenclave.protocol.digests import Digest, sha256
from fedenclave.protocol.errors import (
    MalformedMessage,
    Reason,
    Refusal,
    RequestRefused,
    UpdateRejected,
)
from fedenclave.protocol.frames import AdmissionResult
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.opening import CannotOpen, RoundKey
from fedenclave.protocol.sealed_update import Envelope
from fedenclave.protocol.signing import SIGNATURE_SIZE, Signed, Statement, statement_digest
from fedenclave.protocol.statements import (
    VERSION,
    Admission,
    Announcement,
    Rejection,
    checked_name,
)
from fedenclave.protocol.tensors import Schema


class Round(Collected):
    """A round from its announcement to its end."""

    def __init__(
        self,
        *,
        manifest: Manifest,
        schema: Schema,
        announcement: bytes,
        opened: OpenedRound,
        log: Log,
        journal: Journal,
        slots: KeySlots,
        workers: Workers,
    ) -> None:
        """Take up a round that `announced` has announced, now or before a restart.

        Args:
            manifest: the approved one.
            schema: the updates' layout.
            announcement: this enclave's own, signed.
            opened: the round's keys.
            log: for its statements.
            journal: notes what is kept of every update.
            slots: for content keys.
            workers: the threads.

        Raises:
            ValueError: the keys are none.
        """
        super().__init__(manifest, slots)
        self._log, self._journal, self._workers = log, journal, workers
        # New after a restart: what it has marked may have been rejected, and forgotten.
        self._fingerprinter = Fingerprinter()
        self._schema = schema
        self.announcement_signed = announcement
        self.announcement_digest = statement_digest(announcement)
        self.announcement = Announcement.from_bytes(Signed.from_bytes(announcement).payload)
        self._open: OpenRound | None = OpenRound(
            manifest=manifest,
            schema=schema,
            announcement=self.announcement,
            announcement_digest=self.announcement_digest,
            key=RoundKey(manifest.suite, opened.private_key),
            knows_checkpoint=log.knows,
            admitted=lambda client: client in self.admitted or client in self._set_aside,
        )

    def admit(self, file: HostFile) -> AdmissionResult:
        """Judge one sealed update and return a signed admission or rejection.

        Takes over `file` where the update is admitted, and closes it otherwise.

        Raises:
            RequestRefused: the host's file cannot be read; nothing was judged.
        """
        kept = False
        try:
            envelope, chunks_at = self._read_envelope(file)
            if envelope is not None and envelope.digest in self._answers:
                return self._admitted_answer(self._answers[envelope.digest])
            result = self._judge(envelope, file, chunks_at)
            kept = result.admitted
            return result
        finally:
            if not kept:
                file.close()

    def _read_envelope(self, file: HostFile) -> tuple[Envelope | None, int]:
        """Return the envelope (None where it does not decode) and where the chunks begin."""
        length = file.size()
        try:
            size = layout.envelope_size(file.read(min(length, layout.HEAD_SIZE), 0))
            # A file that ends early is its sender's fault, and not an unreadable one.
            envelope = Envelope.from_bytes(
                file.read(min(size, length - layout.HEAD_SIZE), layout.HEAD_SIZE)
            )
        except MalformedMessage:
            return None, 0
        return envelope, layout.HEAD_SIZE + size

    def _judge(self, envelope: Envelope | None, file: HostFile, chunks_at: int) -> AdmissionResult:
        open_round = self._open
        if open_round is None:
            raise RequestRefused(Refusal.WRONG_STATE)
        try:
            if envelope is None:
                # 1. It begins as a sealed update does, and its envelope decodes.
                raise UpdateRejected(Reason.MALFORMED)
            header = check_header(envelope, open_round)
            serial, self._next_serial = self._next_serial, self._next_serial + 1
            opened = open_update(
                envelope,
                header,
                file,
                chunks_at,
                open_round,
                self._fingerprinter,
                serial,
                self._workers,
            )
        except UpdateRejected as rejected:
            return self._rejected_answer(envelope, rejected.reason)
        return self._keep(opened, file, serial)

    def attach(self, file: HostFile) -> None:
        """Take over the file of an update that `replay` has brought back, and close no other.

        Raises:
            RequestRefused: it is no update that lacks its file.
        """
        envelope, _ = self._read_envelope(file)
        for update in self.admitted.values():
            if envelope is not None and update.file is None and update.digest == envelope.digest:
                self.admitted[update.client] = replace(update, file=file)
                return
        raise RequestRefused(Refusal.STORAGE, hint="no admitted update lacks this file")

    def _keep(self, opened: Opened, file: HostFile, serial: int) -> AdmissionResult:
        kept = self._kept(opened, serial)
        self._count(kept, self._fingerprinter, file)
        if self._journal.keeps_open_rounds:
            self._journal.notes.kept.append(kept)
        statement = Admission(
            version=VERSION,
            federation=self._manifest.name,
            manifest=self._manifest.digest,
            round=self.announcement.round,
            client=opened.client,
            update=opened.digest,
            data=opened.data,
        )
        self._answers[opened.digest] = self._log.append(statement)
        return self._admitted_answer(self._answers[opened.digest])

    def _kept(self, opened: Opened, serial: int) -> KeptUpdate:
        """Return an admitted update as it is sealed."""
        return KeptUpdate(
            client=opened.client,
            update=opened.digest,
            chunks_at=opened.chunks_at,
            content_key=opened.content_key,
            weight=opened.weight.to_bytes(8, "big"),
            numbers=join_numbers([opened.shrink, opened.square_norm, *opened.metrics]),
            fingerprints=b"".join(opened.fingerprints),
            fingerprint_key=self._fingerprinter.key,
            serial=serial,
        )

    @staticmethod
    def _admitted_answer(statement: bytes) -> AdmissionResult:
        return AdmissionResult(statement=statement, admitted=True, reason="")

    def _rejected_answer(self, envelope: Envelope | None, reason: Reason) -> AdmissionResult:
        statement = self._reject(_claimed_client(envelope), _digest_of(envelope), reason)
        return AdmissionResult(statement=statement, admitted=False, reason=reason.value)

    def _reject(self, client: str, update: Digest, reason: Reason) -> bytes:
        return self._log.append(
            Rejection(
                version=VERSION,
                federation=self._manifest.name,
                manifest=self._manifest.digest,
                round=self.announcement.round,
                client=client,
                update=update,
                reason=reason,
            )
        )

    def aggregate(
        self, aggregation: Aggregation, base: BaseModel, history: CohortHistory
    ) -> Digest:
        """Compute the new model into `aggregation.model` and return its digest.

        An update that changed is set aside; `reject_set_aside` says so, signed.

        Raises:
            RequestRefused: too few organisations or clients are left, the cohort is too close to
                an earlier release on this base model, a file cannot be read, or the rule cannot be
                computed. The round stays open.
        """
        while True:
            organisations = self.organisations()
            rules = self._manifest.rules
            too_few = len(self.admitted) < rules.rule.least_clients()
            if len(organisations) < rules.min_cohort or too_few:
                raise RequestRefused(Refusal.COHORT_TOO_SMALL)
            history.check(self.announcement.base_model, self.included())
            try:
                return aggregation.run(list(self.admitted.values()), base)
            except ChangedAfterAdmission as changed:
                self._take_out(changed.update)

    def repeat(self, aggregation: Aggregation, base: BaseModel) -> Digest:
        """Compute a model again that was released before a restart, and return its digest.

        Nobody is set aside: who is in the release is signed.

        Raises:
            RequestRefused: an update's file has changed or is missing, or a file cannot be read.
        """
        try:
            return aggregation.run(list(self.admitted.values()), base)
        except ChangedAfterAdmission:
            raise RequestRefused(
                Refusal.STORAGE, hint="an update of the release is missing, or is another"
            ) from None

    def merge(self, aggregation: Aggregation, base: BaseModel, others: Others) -> Digest:
        """Compute the new model of this round's updates and of other enclaves' partial sums.

        Who takes part has been agreed with `others`, so nobody can be left out on the way.

        Raises:
            RequestRefused: an update has changed and is set aside: agree anew. Or a file cannot be
                read, or is not what it should be.
        """
        with self._setting_aside():
            return aggregation.run(list(self.admitted.values()), base, others)

    def export(self, aggregation: Aggregation, weight: int, into: PartialSum) -> None:
        """Write the partial sum of this round's updates; all clients together weigh `weight`.

        Raises:
            RequestRefused: as for `merge`.
        """
        with self._setting_aside():
            aggregation.export(list(self.admitted.values()), weight, into)

    @contextmanager
    def _setting_aside(self) -> Iterator[None]:
        try:
            yield
        except ChangedAfterAdmission as changed:
            self._take_out(changed.update)
            raise RequestRefused(
                Refusal.SET_ASIDE, hint="report, or ask for a total, again: it counts no more"
            ) from None

    def open_from_peer(self, sealed: bytes, info: bytes) -> bytes:
        """Return what another enclave sealed to the round's key.

        Raises:
            CannotOpen: it was sealed otherwise, or the round is over.
        """
        if self._open is None:
            raise CannotOpen
        return self._open.key.open(sealed, info)

    def reject_set_aside(self) -> tuple[bytes, ...]:
        """Return a signed rejection for each update that was set aside."""
        return tuple(
            self._reject(update.client, update.digest, Reason.CHANGED_AFTER_ADMISSION)
            for update in self._set_aside.values()
        )

    def destroy(self) -> None:
        """Drop the round's key and close every file. Nothing of the round can be opened again."""
        self._open = None
        for update in (*self.admitted.values(), *self._set_aside.values()):
            if update.file is not None:
                update.file.close()
        self.admitted.clear()
        self._set_aside.clear()


def sign_nothing(statement: Statement) -> bytes:
    """Return what is as long as the signed statement."""
    signature = bytes(SIGNATURE_SIZE)
    return Signed(type=statement.TYPE, payload=statement.to_bytes(), signature=signature).to_bytes()


def _claimed_client(envelope: Envelope | None) -> str:
    """Return the client an unverified header names, or nothing; never another text of a peer's."""
    if envelope is None:
        return ""
    try:
        return checked_name(envelope.unverified_header().client, "client")
    except MalformedMessage:
        return ""


def _digest_of(envelope: Envelope | None) -> Digest:
    return envelope.digest if envelope is not None else sha256(b"")


def announced(
    *,
    manifest: Manifest,
    schema: Schema,
    number: int,
    base_model: Digest,
    cohort: Sequence[str],
    available: Sequence[str],
    training_config: Digest,
    log: Log,
    journal: Journal,
    time: int,
) -> tuple[bytes, OpenedRound]:
    """Make a round's keys and announce it; return the signed announcement and the keys.

    The cohort has been checked.
    """
    key = RoundKey(manifest.suite)
    opened = OpenedRound(private_key=key.private_bytes())
    signed = log.append(
        Announcement(
            version=VERSION,
            federation=manifest.name,
            manifest=manifest.digest,
            round=number,
            base_model=base_model,
            schema=schema.digest,
            training_config=training_config,
            suite=manifest.suite,
            public_key=key.public_bytes,
            cohort=tuple(cohort),
            available=tuple(available),
            checkpoint=log.checkpoint(),
            time=time,
        )
    )
    if available:
        # Who is drawn must not show in the length of what is sealed, before it is settled.
        said = Announcement.from_bytes(Signed.from_bytes(signed).payload)
        longest = sorted(available, key=len)[-len(cohort) :]
        journal.notes.longest = sign_nothing(replace(said, cohort=tuple(longest)))
    kept = opened if journal.keeps_open_rounds else OpenedRound(private_key=b"")
    journal.notes.opened.append(kept)
    return signed, opened
