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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from fedenclave.host.aggregator_api import RoundResult
from fedenclave.host.enclave_process import EnclaveProcess
from fedenclave.host.optimiser_files import Opened, OptimiserFiles
from fedenclave.host.store import CiphertextStore, StoredUpdate, StoreFull
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import ConfigurationError, Refusal, RequestRefused
from fedenclave.protocol.evidence import INSECURE, Evidence, EvidenceParts
from fedenclave.protocol.frames import (
    AbortRequest,
    AdmissionResult,
    Closed,
    CloseRequest,
    Empty,
    EvidenceRequest,
    OpenRequest,
    Operation,
    SignedStatement,
    Started,
    StartRequest,
    StatusReply,
)
from fedenclave.protocol.model import Model, model_file_head
from fedenclave.protocol.signing import statement_digest

DEFAULT_STORE_BYTES = 64 << 30


class Aggregator:
    """A federation on this host, in a folder.

    `models/` holds the newest two models, `ciphertext/` the round's sealed updates, `optimiser/`
    what the server optimiser remembers, sealed.
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
        store_bytes: int = DEFAULT_STORE_BYTES,
        code: Path | None = None,
    ) -> None:
        """Start the enclave on an approved manifest and its agreed first model.

        Args:
            folder: for models and ciphertext; made if missing.
            manifest: the manifest file's bytes.
            approvals: members' signed approvals.
            model: the agreed first model.
            tee: what vouches for the enclave; see `EnclaveProcess`.
            evidence_parts: see `with_parts`.
            store_bytes: limit of the ciphertext store.
            code: another copy of the package for the enclave to run (tests, demonstrations).

        Raises:
            RequestRefused: the enclave does not take up this manifest or model.
            EnclaveDied: the enclave's process ended.
            ConfigurationError: the folder cannot be used, or `tee` gives no evidence here.
        """
        self._manifest, self._approvals = manifest, tuple(approvals)
        self._evidence_parts = dict(evidence_parts or {})
        self._lock = threading.RLock()
        self._models = folder / "models"
        self._base = self._models / "round-0.fem"
        self._superseded: Path | None = None
        self._optimiser = OptimiserFiles(folder / "optimiser", manifest)
        self._head = model_file_head(model.schema)
        self._model_size = len(self._head) + model.schema.payload_size
        try:
            self._models.mkdir(parents=True, exist_ok=True)
            self._store = CiphertextStore(folder / "ciphertext", store_bytes)
            with contextlib.ExitStack() as undo:
                undo.callback(self._store.close)
                self._base.write_bytes(model.to_bytes())
                self._enclave = EnclaveProcess(tee=tee, code=code, log=folder / "enclave.log")
                undo.pop_all()
        except OSError as error:
            raise ConfigurationError(
                f"cannot use folder {folder}: {error.strerror}",
                hint="name a folder that this user can write to",
            ) from error
        self._leaves: list[Digest] = []
        self._releases: list[bytes] = []
        self._admissions: set[Digest] = set()
        self._round = 0
        self._model_pending = False
        try:
            self._started = self._start(model)
        except BaseException:
            self.close()
            raise
        self._log(self._started.start)

    def _log(self, *signed: bytes) -> None:
        """Add signed statements as leaves, each as often as the enclave does."""
        self._leaves.extend(map(statement_digest, signed))

    def _start(self, model: Model) -> Started:
        request = StartRequest(
            manifest=self._manifest,
            approvals=self._approvals,
            schema=model.schema.to_bytes(),
            payload_offset=len(self._head),
            time=int(time.time()),
        )
        with Opened(self._base, os.O_RDONLY) as base:
            return self._enclave.request(Operation.START, request, Started, [base.number])

    @property
    def enclave_pid(self) -> int:
        """The enclave's process id."""
        return self._enclave.pid

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
            signed = self._enclave.request(Operation.OPEN, request, SignedStatement).statement
            self._round += 1
            self._log(signed)
        return signed

    def submit(self, sealed: Iterable[bytes]) -> AdmissionResult:
        """See `AggregatorApi`."""
        update = self._store.create()
        try:
            # Outside the lock: a slow sender holds up nobody else.
            for part in sealed:
                update.append(part)
            update.finish()
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
            self._log(result.statement)
        if result.admitted and leaf not in self._admissions:
            self._admissions.add(leaf)
            update.keep()
        else:
            update.discard()
        return result

    def close_round(self) -> RoundResult:
        """See `AggregatorApi`."""
        with self._lock:
            try:
                return self._close_round()
            except OSError as error:
                raise StoreFull(
                    f"cannot write the new model: {error.strerror}",
                    hint="free disk space, and close the round again: nothing is lost",
                ) from error

    def _close_round(self) -> RoundResult:
        target = self._models / f"round-{self._round}.fem"
        request = CloseRequest(
            base_offset=len(self._head), model_offset=len(self._head), time=int(time.time())
        )
        partial = self._models / "next.partial"
        flags = os.O_RDWR | os.O_CREAT
        with (
            self._recycling(partial),
            Opened(self._base, os.O_RDONLY) as base,
            Opened(partial, flags) as model,
            self._optimiser.opened() as states,
        ):
            os.ftruncate(model.number, self._model_size)
            os.pwrite(model.number, self._head, 0)
            closed = self._close_or_fetch(request, base.number, model.number, states)
        # The enclave has released. Until its model is in place, closing again fetches it again.
        self._model_pending = True
        file = partial.read_bytes()
        partial.replace(target)
        self._model_pending = False
        self._log(*closed.set_aside, closed.release)
        self._releases.append(closed.release)
        self._superseded, self._base = self._base, target
        self._store.clear()
        return RoundResult(closed=closed, model=file)

    @contextlib.contextmanager
    def _recycling(self, partial: Path) -> Iterator[None]:
        """Have the model before the base, whose pages are in memory (see `store`), written over.

        Its file is given back where the block fails before the enclave has released: until then
        nothing was written but the head, which all models share.
        """
        superseded, self._superseded = self._superseded, None
        try:
            if superseded is not None:
                superseded.replace(partial)
        except OSError:
            superseded = None
        try:
            yield
        except (RequestRefused, OSError):
            if superseded is not None and not self._model_pending:
                with contextlib.suppress(OSError):
                    partial.replace(superseded)
                    self._superseded = superseded
            raise

    def _close_or_fetch(
        self, request: CloseRequest, base: int, model: int, states: Sequence[int]
    ) -> Closed:
        """Close the round; or fetch its release again, where only the write of it failed before."""
        if self._model_pending:
            return self._enclave.request(Operation.FETCH, request, Closed, [model])
        try:
            closed = self._enclave.request(Operation.CLOSE, request, Closed, [base, model, *states])
        except RequestRefused as refused:
            released = refused.refusal is Refusal.STORAGE and self.status().state == "idle"
            self._model_pending = released
            if released:
                self._optimiser.promote()
            raise
        self._optimiser.promote()
        return closed

    def abort_round(self) -> bytes:
        """See `AggregatorApi`."""
        request = AbortRequest(time=int(time.time()))
        with self._lock:
            signed = self._enclave.request(Operation.ABORT, request, SignedStatement).statement
            self._log(signed)
            self._store.clear()
        return signed

    def leaves(self, first: int) -> tuple[Digest, ...]:
        """See `AggregatorApi`."""
        return tuple(self._leaves[first:])

    def releases(self) -> tuple[bytes, ...]:
        """See `AggregatorApi`."""
        return tuple(self._releases)

    def model(self) -> bytes:
        """See `AggregatorApi`."""
        return self._base.read_bytes()

    def status(self) -> StatusReply:
        """See `AggregatorApi`."""
        return self._enclave.request(Operation.STATUS, Empty(), StatusReply)

    def close(self) -> None:
        """End the enclave and delete the ciphertext."""
        self._enclave.close()
        self._store.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def with_parts(evidence: Evidence, parts: Mapping[str, bytes]) -> Evidence:
    """Return evidence of a TEE with parts that its machine cannot say itself.

    A TPM's certificates and activations, a VCEK that the host's table lacks: endorsements, which
    who appraises verifies whoever hands them over. A part of the same name is replaced.

    Raises:
        ConfigurationError: together they are longer than what a client decodes.
    """
    if evidence.format == INSECURE or not parts:
        return evidence
    own = EvidenceParts.from_bytes(evidence.document).by_name()
    joined = replace(evidence, document=EvidenceParts.of({**own, **parts}).to_bytes())
    if (size := len(joined.to_bytes())) > Evidence.MAX_SIZE:
        raise ConfigurationError(
            f"evidence has {size} bytes with its [evidence_parts], want at most "
            f"{Evidence.MAX_SIZE}",
            hint="of certificates, name only those that the evidence needs",
        )
    return joined
