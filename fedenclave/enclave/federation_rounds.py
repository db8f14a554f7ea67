"""A federation's rounds, one after the other: open, admit, release or abort.

Rules:
  * Nothing happens under a manifest that its members have not approved.
  * A client is counted at most once in a round.
  * Nothing is released below `min_cohort` organisations, and no model twice.
  * After a refusal everything is as before; only what `close_round` set aside stays set aside.

SPEC.md, sections 11 and 12.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fedenclave.enclave.base_model import BaseModel
from fedenclave.enclave.cohort_draw import draw
from fedenclave.enclave.federation_state import FederationState
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.round import Round, announced
from fedenclave.enclave.sharding import Root
from fedenclave.enclave.transitions import EndedRound
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.frames import AdmissionResult, Closed
from fedenclave.protocol.statements import (
    VERSION,
    Abort,
    Release,
)


class FederationRounds(FederationState):
    """What one enclave does with its rounds."""

    @property
    def round_number(self) -> int:
        """The newest round's number; 0 before the first."""
        return self._round_number

    def open_round(self, cohort: Sequence[str], training_config: Digest, time: int) -> bytes:
        """Open the next round and return its signed announcement.

        Args:
            cohort: whom the host asks; where the enclave draws, who is available.
            training_config: announced and not judged; the clients compare it.
            time: the host's clock.

        Raises:
            RequestRefused: a name is unknown or double, or there are too few organisations.
        """
        roster = self.manifest.roster
        if len(set(cohort)) != len(cohort) or any(client not in roster for client in cohort):
            raise RequestRefused(Refusal.UNKNOWN_CLIENT)
        if len(self.manifest.organisations(cohort)) < self.manifest.rules.min_cohort:
            raise RequestRefused(Refusal.COHORT_TOO_SMALL)
        available: tuple[str, ...] = ()
        if (drawn := self.manifest.rules.drawn) is not None:
            available = tuple(sorted(cohort))
            owner_of = {client: roster[client].member for client in available}
            cohort = draw(drawn, available, owner_of, self.manifest.rules.min_cohort)
        self._journal.begin(self._snapshot())
        announcement, opened = announced(
            manifest=self.manifest,
            schema=self.schema,
            number=self._round_number + 1,
            base_model=self._base_digest,
            cohort=sorted(cohort),
            available=available,
            training_config=training_config,
            log=self._log,
            journal=self._journal,
            time=time,
        )
        self._journal.bind()
        self._round_number += 1
        self._closed, self._fetched = None, True
        self._take_up_round(announcement, opened)
        return announcement

    def admit(self, file: HostFile) -> AdmissionResult:
        """Judge one sealed update; see `Round.admit`.

        Raises:
            RequestRefused: as there; or the round has got so many that were rejected that its state
                could not be read again.
        """
        if self._journal.full:
            file.close()
            raise RequestRefused(Refusal.STATE, hint="close or abort the round")
        return self._open().admit(file)

    @property
    def state_files(self) -> int:
        """How many files of the server optimiser's state come with a close: none, or two."""
        return self._aggregation.state.files

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
        with self._reading(base_file, states):
            model = aggregate()
        report = who.cohort_report()
        included = who.included()
        metrics = round_.released_metrics(who.metric_sums(), who.weight())
        # From here on nothing can fail: everything below moves together.
        new_base = self._own_base()
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
        self._log.checkpoint()  # which clients work out from the release, and present
        before = self._base_digest
        self._history.add(before, included)
        self._base, self._base_digest = new_base, model
        self._closed = Closed(release=release, cohort=report.to_bytes(), set_aside=set_aside)
        self._fetched = False
        self._end_round(on=before, closed=self._closed.to_bytes())
        return self._closed

    def repeat(self, base_file: HostFile, states: Sequence[HostFile]) -> None:
        """Compute the newest release's model again: the host had no time to write it.

        Nothing is signed: it is the release that was sealed before the restart, and its model has
        the same bits. What the optimiser remembers is written anew, under a key of this pass: a key
        that had sealed another pass's memory would show the difference.

        Args:
            base_file: the host's file of the model before.
            states: the server optimiser's old and new state, `state_files` of them.

        Raises:
            RequestRefused: an update's file is missing or has changed, or a file is bad.
        """
        ended, round_ = self._unwritten, self._open()
        if ended is None:
            raise RequestRefused(Refusal.WRONG_STATE)
        with self._reading(base_file, states):
            model = round_.repeat(self._aggregation, self._base)
        if model != ended.base_model:
            raise RequestRefused(Refusal.STORAGE, hint="the files are not those of the release")
        self._aggregation.state.commit()
        self._base, self._base_digest = self._own_base(), model
        self._unwritten, self._fetched = None, False
        self._note_end(self.last_closed().to_bytes())
        self._forget_round()

    @contextmanager
    def _reading(self, base_file: HostFile, states: Sequence[HostFile]) -> Iterator[None]:
        """Let a pass read and write the host's files."""
        self._base.read_from(base_file)
        old, new = states or (None, None)
        self._aggregation.state.use(old, new)
        try:
            yield
        finally:
            self._base.read_from(None)
            self._aggregation.state.use(None, None)

    def _own_base(self) -> BaseModel:
        return BaseModel.of_own_model(
            memoryview(self._aggregation.model.payload),
            self.schema,
            self._models,
            self._round_number,
            self._workers,
        )

    def abort_round(self, time: int) -> bytes:
        """End the round without a release and return the signed abort."""
        if self._round is None and not self._lost:
            raise RequestRefused(Refusal.WRONG_STATE)
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
        self._log.checkpoint()  # as for a release
        self._end_round(on=self._base_digest)
        return signed

    def _end_round(self, *, on: Digest, closed: bytes = b"") -> None:
        """End the round on the base model `on`, with the host's copy of a release if it was one."""
        if self._sharing is not None and self._sharing.shared:
            # Released by the root or not: here nobody can know.
            self._history.add(on, self._sharing.shared)
        self._journal.notes.released.extend(self._untold)
        self._untold = ()
        self._journal.bind()
        self._note_end(closed)
        self._forget_round()

    def _note_end(self, closed: bytes) -> None:
        self._journal.notes.ended.append(
            EndedRound(
                closed=closed,
                base_model=self._base_digest,
                behind=self._behind,
                optimiser_key=self._aggregation.state.key,
                optimiser_steps=self._aggregation.state.steps,
            )
        )

    def write_model(self, file: HostFile) -> None:
        """Write the newest released model to the host's file; may be repeated.

        Raises:
            RequestRefused: it cannot be written, or it is gone: an unfinished pass of a later
                round, or a restart, has taken its place.
        """
        if self._aggregation.digest != self._base_digest:
            raise RequestRefused(Refusal.WRONG_STATE)
        file.write(memoryview(self._aggregation.model.payload))
        self._fetched = True
