"""The host's side of a federation: one enclave, its ciphertext store, its released models, its log.

Relays and keeps; judges nothing. Whoever asks what a round's statements are worth must verify them
(`fedenclave.client`, `fedenclave.audit`).

Its methods may be called from several threads: updates arrive side by side, everything else one
after the other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence

from fedenclave.host.aggregator_api import RoundResult
from fedenclave.host.aggregator_start import StartedAggregator
from fedenclave.host.evidence_parts import with_parts
from fedenclave.host.optimiser_files import Opened
from fedenclave.host.round_ends import RoundEnd, newest_ends
from fedenclave.host.store import StoredUpdate, StoreFull
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Refusal, RequestRefused
from fedenclave.protocol.evidence import Evidence
from fedenclave.protocol.frames import (
    AdmissionResult,
    Closed,
    CloseRequest,
    Empty,
    EvidenceRequest,
    OpenRequest,
    Operation,
    SignedStatement,
    Started,
)
from fedenclave.protocol.signing import statement_digest


class Aggregator(StartedAggregator):
    """A federation on this host, in a folder.

    `state/` holds the enclave's sealed state, `models/` the newest two models, `ciphertext/` the
    open round's sealed updates, `optimiser/` what the server optimiser remembers, sealed; and
    `statements.fel` everything that the enclave has signed.

    Made again in the same folder it goes on: with the same enclave key, and with the open round.
    """

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
            self._between.hear()
            if self._enclave.untold is Operation.OPEN:
                # Opened for the call before, whose announcement has reached nobody.
                self._opened(Empty())
                self.abort_round()
            self._statements.flush_or_refuse()
            return self._opened(request)

    def _opened(self, request: OpenRequest | Empty) -> bytes:
        """Have a round opened, or hear that it was."""
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

    def evaluated(self, digest: Digest) -> bytes:
        """See `AggregatorApi`."""
        return self._between.evaluated(digest)

    def checkpoint(self) -> bytes:
        """See `AggregatorApi`."""
        return self.checkpoint_file.note

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

    def round_ends(self) -> tuple[RoundEnd, ...]:
        """See `AggregatorApi`. Started again in the middle of a round it knows of aborts alone."""
        with self._lock:
            return newest_ends(self._statements.backwards(), self._newest_release)

    def model(self) -> bytes:
        """See `AggregatorApi`."""
        return self._models.newest.read_bytes()
