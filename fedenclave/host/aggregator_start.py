"""How an aggregator begins: anew, where it was, or there and on under another manifest.

SPEC.md, sections 11.5 and 11.7.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from fedenclave.host.between_rounds import BetweenRounds
from fedenclave.host.checkpoint_file import CheckpointFile
from fedenclave.host.enclave_process import EnclaveProcess
from fedenclave.host.journal import JournalFiles, flush_folder
from fedenclave.host.key_services import Commands, unlock
from fedenclave.host.manifest_files import ManifestFiles
from fedenclave.host.model_files import ModelFiles
from fedenclave.host.optimiser_files import Opened, OptimiserFiles
from fedenclave.host.round_ends import keep, kept
from fedenclave.host.statement_log import StatementLog
from fedenclave.host.store import CiphertextStore, unusable_folder
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.frames import (
    AbortRequest,
    AmendRequest,
    Closed,
    Empty,
    FetchRequest,
    Operation,
    RepeatRequest,
    Resumed,
    ResumeRequest,
    SignedStatement,
    Started,
    StartRequest,
    StatusReply,
)
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import Signed, statement_digest
from fedenclave.protocol.statements import Admission, Announcement, Release

DEFAULT_STORE_BYTES = 64 << 30
RELEASE_FILE = "newest-release"
"""In the folder: a record `Closed`, with the cohort report that the log does not hold."""


class StartedAggregator:
    """One enclave, its ciphertext store, its released models and its log, all in a folder."""

    _changing = False
    """Whether this start takes up another manifest."""

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
        wanted = manifest, tuple(approvals)
        self._wanted = manifest
        self._folder, self._key_services = folder, dict(key_services or {})
        self._evidence_parts = dict(evidence_parts or {})
        self._lock = threading.RLock()
        self._flushed = flushed
        try:
            with contextlib.ExitStack() as undo:
                self._models = ModelFiles(folder / "models", model, flushed=flushed)
                self._store = CiphertextStore(folder / "ciphertext", store_bytes)
                undo.callback(self._store.close, keep=True)
                self._statements = StatementLog(folder / "statements.fel", flushed=flushed)
                undo.callback(self._statements.close)
                self.checkpoint_file = CheckpointFile(folder / "checkpoint")
                self._journal = JournalFiles(folder / "state", flushed=flushed)
                undo.callback(self._journal.close)
                self._enclave = EnclaveProcess(
                    tee=tee, code=code, log=folder / "enclave.log", journal=self._journal
                )
                undo.callback(self._enclave.close)
                self._between = BetweenRounds(
                    self._enclave, self._statements, self.checkpoint_file, self._lock
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
        self._newest_release: Closed | None = None
        """Kept while later rounds go on, and over a restart: see `round_ends`."""
        self._model_pending = False
        try:
            segment = self._journal.newest()
            manifests = ManifestFiles(folder / "manifests")
            self._agree(*manifests.in_force(segment, wanted))
            self._started = self._resume(model, segment) if segment else self._start(model)
            if self._manifest != manifest:
                self._amend(*wanted)
            manifests.keep(*wanted)
            self._between.renew_after_start()
        except OSError as error:
            self._end()
            raise unusable_folder(folder, error) from error
        except BaseException:
            self._end()
            raise

    def _agree(self, manifest: bytes, approvals: tuple[bytes, ...]) -> None:
        """Go by this manifest; the enclave gets its key from that one's key services."""
        self._manifest, self._approvals = manifest, approvals
        self._optimiser = OptimiserFiles(self._folder / "optimiser", manifest)
        commands = self._key_services
        self._changing |= manifest != self._wanted
        if self._changing:
            # From one manifest to another: the commands are those of both, and each has its own.
            named = {service.name for service in Manifest.from_bytes(manifest).key_services}
            commands = {name: commands[name] for name in named & commands.keys()}
        if commands:
            unlock(self._enclave, manifest, commands, self._evidence_parts)

    def _amend(self, manifest: bytes, approvals: tuple[bytes, ...]) -> None:
        """Have the enclave go on under another manifest; an open round is aborted before."""
        if self.status().state == "collecting":
            self.abort_round()
        self._agree(manifest, approvals)
        self._statements.flush_or_refuse()
        request = AmendRequest(manifest=manifest, approvals=approvals, time=int(time.time()))
        self._statements.append(
            self._enclave.request(Operation.AMEND, request, SignedStatement).statement
        )

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
        self._newest_release = kept(self._folder / RELEASE_FILE)
        if resumed.closed:
            self._take_release(Closed.from_bytes(resumed.closed))
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
        self._take_release(closed)
        self._model_pending = False
        self._store.clear()
        self._between.renew_checkpoint()
        return closed

    def _take_release(self, closed: Closed) -> None:
        self._closed = self._newest_release = closed
        keep(self._folder / RELEASE_FILE, closed)

    def abort_round(self) -> bytes:
        """See `AggregatorApi`."""
        request = AbortRequest(time=int(time.time()))
        with self._lock:
            signed = self._enclave.request(Operation.ABORT, request, SignedStatement).statement
            self._statements.append(signed)
            self._store.clear()
            self._between.renew_checkpoint()
        return signed

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
