"""The host's side of a federation: one enclave, its ciphertext store, its released models, its log.

Relays and keeps; judges nothing. Whoever asks what a round's statements are worth must verify them
(`fedenclave.client`, `fedenclave.audit`).

Its methods may be called from several threads: updates arrive side by side, everything else one
after the other.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

from fedenclave.host.aggregator_api import RoundResult
from fedenclave.host.between_rounds import BetweenRounds
from fedenclave.host.enclave_process import EnclaveProcess
from fedenclave.host.evidence_parts import with_parts
from fedenclave.host.journal import JournalFiles, flush_folder
from fedenclave.host.key_services import Commands, unlock
from fedenclave.host.model_files import ModelFiles
from fedenclave.host.optimiser_files import Opened, OptimiserFiles
from fedenclave.host.statement_log import StatementLog
from fedenclave.host.store import CiphertextStore, StoredUpdate, StoreFull, unusable_folder
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.evidence import Evidence
from fedenclave.protocol.frames import (
    AbortRequest,
    AdmissionResult,
    Closed,
    CloseRequest,
    Empty,
    EvidenceRequest,
    FetchRequest,
    OpenRequest,
    Operation,
    RepeatRequest,
    Resumed,
    ResumeRequest,
    SignedStatement,
    Started,
    StartRequest,
    StatusReply,
)
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import Signed, statement_digest
from fedenclave.protocol.statements import Admission, Announcement, Release

DEFAULT_STORE_BYTES = 64 << 30


class Aggregator:
    """A federation on this host, in a folder.

    `state/` holds the enclave's sealed state, `models/` the newest two models, `ciphertext/` the
    open round's sealed updates, `optimiser/` what the server optimiser remembers, sealed; and
    `statements.fel` everything that the enclave has signed.

    Made again in the same folder it goes on: with the same enclave key, and with the open round.
    """

    def __init__(
        self,
        folder: Path,
        *,
        manifest: bytes,
        approvals: Sequence[bytes],
        model: Model,
        tee: str,
        evidence_parts: Mapping[str, bytes] | None = None,
        key_services: Commands | None = None,
        store_bytes: int = DEFAULT_STORE_BYTES,
        code: Path | None = None,
        flushed: bool = True,
    ) -> None:
        """Start the enclave on an approved manifest, from what the folder holds of it.

        Args:
            folder: for all of it; made if missing.
            manifest: the manifest file's bytes.
            approvals: members' signed approvals.
            model: the agreed first model.
            tee: what vouches for the enclave; see `EnclaveProcess`.
            evidence_parts: see `with_parts`.
            key_services: see `unlock`; None for a restart as this machine's hardware allows it.
            store_bytes: limit of the ciphertext store.
            code: another copy of the package for the enclave to run (tests, demonstrations).
            flushed: whether to wait for the disk. Without, what a killed process leaves is whole,
                and a power failure may lose the newest of it.

        Raises:
            RequestRefused: the enclave does not take up this manifest, model or state.
            EnclaveDied: the enclave's process ended.
            ConfigurationError: the folder cannot be used, or `tee` gives no evidence here.
        """
        self._manifest, self._approvals = manifest, tuple(approvals)
        self._evidence_parts = dict(evidence_parts or {})
        self._lock = threading.RLock()
        self._flushed = flushed
        try:
            with contextlib.ExitStack() as undo:
                self._models = ModelFiles(folder / "models", model, flushed=flushed)
                self._store = CiphertextStore(folder / "ciphertext", store_bytes)
                undo.callback(self._store.close, keep=True)
                self._optimiser = OptimiserFiles(folder / "optimiser", manifest)
                self._statements = StatementLog(folder / "statements.fel", flushed=flushed)
                undo.callback(self._statements.close)
                self._journal = JournalFiles(folder / "state", flushed=flushed)
                undo.callback(self._journal.close)
                self._enclave = EnclaveProcess(
                    tee=tee, code=code, log=folder / "enclave.log", journal=self._journal
                )
                undo.callback(self._enclave.close)
                self._between = BetweenRounds(
                    self._enclave, self._statements, folder / "checkpoint", self._lock
                )
                if flushed:
                    flush_folder(folder)
                undo.pop_all()
        except OSError as error:
            raise unusable_folder(folder, error) from error
        self._releases: list[bytes] = []
        self._admissions: set[Digest] = set()
        self._round = 0
        self._closed: Closed | None = None
        """The release that ended the newest round, if it was one."""
        self._model_pending = False
        try:
            if key_services:
                unlock(self._enclave, manifest, key_services, self._evidence_parts)
            segment = self._journal.newest()
            self._started = self._resume(model, segment) if segment else self._start(model)
            self._between.renew_checkpoint()
        except OSError as error:
            self._end()
            raise unusable_folder(folder, error) from error
        except BaseException:
            self._end()
            raise

    def _start(self, model: Model) -> Started:
        """Begin a new federation. What lies here is of one whose state is lost."""
        self._models.begin(model)
        self._statements.begin()
        for update in self._store.left():
            update.discard()  # the key that opened it has ended with its enclave
        request = StartRequest(
            manifest=self._manifest,
            approvals=self._approvals,
            schema=model.schema.to_bytes(),
            payload_offset=len(self._models.head),
            time=int(time.time()),
        )
        with Opened(self._models.newest, os.O_RDONLY) as base:
            started = self._enclave.request(Operation.START, request, Started, [base.number])
        self._statements.append(started.start)
        return started

    def _resume(self, model: Model, segment: Path) -> Started:
        """Go on where the last run of this enclave was."""
        request = ResumeRequest(
            manifest=self._manifest,
            approvals=self._approvals,
            schema=model.schema.to_bytes(),
            payload_offset=len(self._models.head),
            log_size=len(self._statements.leaves),
        )
        with (
            Opened(self._models.newest, os.O_RDONLY) as base,
            Opened(segment, os.O_RDONLY) as sealed,
        ):
            resumed = self._enclave.request(
                Operation.RESUME, request, Resumed, [base.number, sealed.number]
            )
        self._journal.go_on(resumed.size)
        self._write_again(resumed)
        status = self.status()
        self._round = status.round
        # The enclave knows which ciphertext of the open round it has admitted.
        self._store.hand_in(
            len(resumed.awaits),
            lambda number: self._enclave.request(Operation.ATTACH, Empty(), Empty, [number]),
        )
        if status.state == "lost":
            # Its keys have ended with the earlier run; it ends properly, and the next can begin.
            self.abort_round()
        if resumed.closed:
            self._closed = Closed.from_bytes(resumed.closed)
            self._model_pending = status.state == "unwritten"
            if self._model_pending:
                self._compute_again()
        return resumed.started

    def _write_again(self, resumed: Resumed) -> None:
        """Let the log end as the enclave's sealed state does."""
        self._statements.end_as(resumed.first_leaf, resumed.statements, resumed.log)
        for signed in self._statements.statements():
            kind = Signed.from_bytes(signed).type
            if kind == Release.TYPE:
                self._releases.append(signed)
            elif kind == Announcement.TYPE:
                self._admissions.clear()
            elif kind == Admission.TYPE:
                self._admissions.add(statement_digest(signed))

    def _compute_again(self) -> None:
        """Have the newest release's model computed again: the last run did not write it."""
        request = RepeatRequest(base_offset=len(self._models.head))
        with (
            Opened(self._models.newest, os.O_RDONLY) as base,
            self._optimiser.opened(self._models.round) as states,
        ):
            self._enclave.request(Operation.REPEAT, request, Empty, [base.number, *states])
        self._fetch()

    @property
    def enclave_pid(self) -> int:
        """The enclave's process id."""
        return self._enclave.pid

    @property
    def alive(self) -> bool:
        """Whether the enclave's process has not ended."""
        return self._enclave.alive

    def info(self) -> tuple[bytes, tuple[bytes, ...], Started]:
        """See `AggregatorApi`."""
        return self._manifest, self._approvals, self._started

    def evidence(self, nonce: bytes) -> bytes:
        """See `AggregatorApi`."""
        request = EvidenceRequest(nonce=nonce)
        evidence = self._enclave.request(Operation.EVIDENCE, request, Evidence)
        return with_parts(evidence, self._evidence_parts).to_bytes()

    def open_round(self, cohort: Sequence[str], training_config: Digest) -> bytes:
        """See `AggregatorApi`."""
        request = OpenRequest(
            cohort=tuple(cohort), training_config=training_config, time=int(time.time())
        )
        with self._lock:
            if self._model_pending:
                raise RequestRefused(
                    Refusal.WRONG_STATE,
                    hint="the last round's model is not written yet; close that round again",
                )
            self._statements.flush_or_refuse()
            signed = self._enclave.request(Operation.OPEN, request, SignedStatement).statement
            self._round += 1
            self._closed, self._admissions = None, set()
            self._statements.append(signed)
        return signed

    def submit(self, sealed: Iterable[bytes]) -> AdmissionResult:
        """See `AggregatorApi`."""
        update = self._store.create()
        try:
            # Outside the lock: a slow sender holds up nobody else.
            for part in sealed:
                update.append(part)
            update.finish()
            if self._flushed:
                update.flush()
            with self._lock:
                return self._admit(update)
        except BaseException:
            update.discard()
            raise

    def _admit(self, update: StoredUpdate) -> AdmissionResult:
        result = self._enclave.request(
            Operation.ADMIT, Empty(), AdmissionResult, [update.descriptor]
        )
        leaf = statement_digest(result.statement)
        # The same update again gets its admission again, which is in the log already. A rejection
        # is a new entry each time, also where its bytes are those of an earlier one.
        if leaf not in self._admissions:
            self._statements.append(result.statement)
        if result.admitted and leaf not in self._admissions:
            self._admissions.add(leaf)
            update.keep()
        else:
            update.discard()
        return result

    def close_round(self) -> RoundResult:
        """See `AggregatorApi`. Until another round is opened the same is handed over again."""
        with self._lock:
            try:
                if self._closed is None and not self._model_pending:
                    self._close()
                closed = self._fetch() if self._model_pending else self._last_closed()
            except OSError as error:
                raise StoreFull(
                    f"cannot write the new model: {error.strerror}",
                    hint="free disk space, and close the round again: nothing is lost",
                ) from error
            return RoundResult(closed=closed, model=self.model())

    def _last_closed(self) -> Closed:
        assert self._closed is not None  # noqa: S101  # or it would have been closed just now
        return self._closed

    def _close(self) -> None:
        request = CloseRequest(base_offset=len(self._models.head), time=int(time.time()))
        with (
            Opened(self._models.newest, os.O_RDONLY) as base,
            self._optimiser.opened(self._models.round) as states,
        ):
            self._enclave.request(Operation.CLOSE, request, Empty, [base.number, *states])
        # The enclave has released. Until its model is in place, closing again fetches it again.
        self._model_pending = True

    def _fetch(self) -> Closed:
        """Have the newest release, and its model in place."""
        request = FetchRequest(model_offset=len(self._models.head))
        self._optimiser.promote(self._round, self._models.round, flushed=self._flushed)
        closed = self._models.write(
            self._round,
            lambda file: self._enclave.request(Operation.FETCH, request, Closed, [file]),
        )
        if self._closed is None:
            self._statements.append(*closed.set_aside, closed.release)
            self._releases.append(closed.release)
        self._closed, self._model_pending = closed, False
        self._store.clear()
        self._between.renew_checkpoint()
        return closed

    def abort_round(self) -> bytes:
        """See `AggregatorApi`."""
        request = AbortRequest(time=int(time.time()))
        with self._lock:
            signed = self._enclave.request(Operation.ABORT, request, SignedStatement).statement
            self._statements.append(signed)
            self._store.clear()
            self._between.renew_checkpoint()
        return signed

    def evaluated(self, digest: Digest) -> bytes:
        """See `AggregatorApi`."""
        return self._between.evaluated(digest)

    def checkpoint(self) -> bytes:
        """See `AggregatorApi`."""
        return self._between.note

    def leaves(self, first: int) -> tuple[Digest, ...]:
        """See `AggregatorApi`."""
        return tuple(self._statements.leaves[first:])

    def log_part(self, first: int, end: int) -> bytes:
        """See `AggregatorApi`."""
        with self._lock:
            return self._statements.part(first, end)

    def releases(self) -> tuple[bytes, ...]:
        """See `AggregatorApi`."""
        return tuple(self._releases)

    def model(self) -> bytes:
        """See `AggregatorApi`."""
        return self._models.newest.read_bytes()

    def status(self) -> StatusReply:
        """See `AggregatorApi`."""
        return self._enclave.request(Operation.STATUS, Empty(), StatusReply)

    def close(self) -> None:
        """End the enclave; with no round open it says so in its log first.

        An open round's ciphertext stays where its state is sealed.
        """
        self._between.shut_down()
        self._end()

    def _end(self) -> None:
        self._enclave.close()
        self._journal.close()
        self._statements.close()
        self._store.close(keep=self._journal.newest() is not None)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
