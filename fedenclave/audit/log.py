"""Verify a whole log: everything that one enclave ever signed under one manifest, in order.

Says what a receipt cannot: that nothing else was signed. That everybody was shown this log, it does
not say; for that compare it with receipts, with other copies, and with witnesses' cosignatures.

A statement's signature is either checked itself, or vouched for: a later statement's checkpoint, of
which the signature is checked, names the root over all entries before it, signatures included. Both
ways the key has put every entry where it is. What vouching leaves open is whether an entry taken
out of the log, and shown to somebody who has not the log, would verify by itself.

SPEC.md, section 7.2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing import get_context
from typing import BinaryIO, Self

from fedenclave.audit.log_entry import Committing, CommonForms, KeyCheck, Opened
from fedenclave.audit.log_rounds import LogInvalid, LogRounds
from fedenclave.audit.round_history import End, RoundHistory
from fedenclave.protocol.digests import Digest, to_text
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.log_file import LogEntry, read_log
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import PublicKey, key_to_text, statement_digest
from fedenclave.protocol.statements import Amendment, Checkpoint, Start

Signed = tuple[str, bytes, bytes]
"""Type, payload, signature."""

_BATCH = 2048
_BATCHES_PER_PROCESS = 4
"""In flight at most, so that a log of any length is read with the same memory."""


class Signatures(StrEnum):
    """Which signatures are checked one by one."""

    CHECKPOINTS = "checkpoints"
    """Those of the start, of statements with a checkpoint, and of all after the last of these."""
    ALL = "all"
    """Every one: an honest enclave's log passes this, too, and it takes ten times as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedLog:
    """What a log has been found to say.

    Attributes:
        federation: its name.
        manifest: the digest of the manifest that the log ends under.
        approved_by: for each manifest, by its digest, the members whose approvals of it the enclave
            had verified when it took it up.
        key: the enclave's.
        checkpoint: size and root of the whole log.
        rounds: every round, an open one last.
        admissions: how many updates were admitted.
        rejections: how many were refused, by reason.
        shutdowns: how often the enclave was ended on purpose, and said so.
        model: the newest.
        signatures: which were checked one by one.
    """

    federation: str
    manifest: Digest
    approved_by: tuple[tuple[Digest, tuple[str, ...]], ...]
    key: PublicKey
    checkpoint: Checkpoint
    rounds: tuple[RoundHistory, ...]
    admissions: int
    rejections: dict[str, int]
    shutdowns: int
    model: Digest
    signatures: Signatures

    def ended(self, end: End) -> int:
        """Return how many rounds ended so."""
        return sum(each.end is end for each in self.rounds)


def verify_log(
    stream: BinaryIO,
    key: PublicKey,
    manifest: Manifest,
    *,
    former: Sequence[Manifest] = (),
    signatures: Signatures = Signatures.CHECKPOINTS,
    processes: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> VerifiedLog:
    """Return what the log says, after every check of every entry.

    Args:
        stream: the log file, from its beginning.
        key: the enclave's signing key, as evidence or a receipt gives it.
        manifest: the one that the reader trusts.
        former: those that it has taken the place of, the oldest first; see `manifests_before`.
        signatures: which are checked one by one; what a valid log says is the same.
        processes: that check signatures where there are many; with 1 it is this one.
        progress: is told now and then how many bytes have been read.

    Raises:
        LogInvalid: an entry cannot be there.
        LogTorn: the last entry is cut. LogDamaged: the file is none, or damaged.
        MalformedMessage: the key is none.
    """
    rounds = LogRounds(key, [*former, manifest])
    forms = CommonForms(manifest.name, rounds.manifest.digest)
    with _SignatureChecks(key, processes) as checks:
        # Entries that only a later checkpoint vouches for. Their number is that of a round's.
        unvouched: list[tuple[int, Signed]] = []
        # 1. The file is whole.
        for entry in read_log(stream):
            opened = _open(forms, entry)
            rounds.add(opened.unverified, statement_digest(entry.unverified))
            if isinstance(opened.unverified, Start | Amendment):
                forms = CommonForms(manifest.name, rounds.manifest.digest)
            signed = opened.type, opened.payload, opened.signature
            if signatures is Signatures.ALL or isinstance(opened.unverified, Start | Committing):
                checks.add(entry.index, signed)
                unvouched.clear()
            else:
                unvouched.append((entry.index, signed))
            if entry.index % _BATCH == 0:
                progress(entry.offset)
        for index, signed in unvouched:
            checks.add(index, signed)
        checks.finish()
    # 10. There is something in it.
    if not rounds.checkpoint().size:
        raise LogInvalid(
            "log proves nothing: it has no entry", hint="a log begins with the enclave's start"
        )
    return VerifiedLog(
        federation=manifest.name,
        manifest=rounds.manifest.digest,
        approved_by=tuple(rounds.approved),
        key=key,
        checkpoint=rounds.checkpoint(),
        rounds=tuple(rounds.history()),
        admissions=rounds.admissions,
        rejections={reason.value: count for reason, count in sorted(rounds.rejections.items())},
        shutdowns=rounds.shutdowns,
        model=rounds.model,
        signatures=signatures,
    )


def _open(forms: CommonForms, entry: LogEntry) -> Opened:
    # 2. An entry is a statement that enclaves make, and the key has signed it (`_SignatureChecks`).
    try:
        return forms.open(entry.unverified)
    except MalformedMessage as error:
        raise _cannot_be(entry.index, error.message) from error


def _cannot_be(index: int, why: str) -> LogInvalid:
    return LogInvalid(
        f"log proves nothing: entry {index}: {why}",
        hint="the log was changed, or is another enclave's: is the key the right one?",
    )


class _SignatureChecks(AbstractContextManager["_SignatureChecks"]):
    """Checks signatures in batches, here or in several processes; a bad one is an error."""

    def __init__(self, key: PublicKey, processes: int) -> None:
        self._key, self._check = key, KeyCheck(key)
        self._batch: list[tuple[int, Signed]] = []
        self._running: deque[tuple[list[int], Future[int | None]]] = deque()
        self._most = processes * _BATCHES_PER_PROCESS
        # Spawned, for a fork of a process with threads may hang.
        self._pool = (
            ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
            if processes > 1
            else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def add(self, index: int, signed: Signed) -> None:
        """Have one more checked, at once or later.

        Raises:
            LogInvalid: the key has not signed this one, or an earlier one.
        """
        if index == 0:
            # At once: who holds another's key learns it before a long log has been read.
            self._judge([index], self._check.first_unsigned([signed]))
            return
        self._batch.append((index, signed))
        if len(self._batch) == _BATCH:
            self._start()

    def finish(self) -> None:
        """Wait for all.

        Raises:
            LogInvalid: the key has not signed one of them.
        """
        # The rest, here: where there are few, no process is started for them.
        indices, signed = self._taken()
        unsigned = self._check.first_unsigned(signed)
        while self._running:
            self._judge(*self._next())
        self._judge(indices, unsigned)

    def _start(self) -> None:
        indices, signed = self._taken()
        if self._pool is None:
            self._judge(indices, self._check.first_unsigned(signed))
            return
        self._running.append((indices, self._pool.submit(first_unsigned, self._key, signed)))
        while len(self._running) > self._most or (self._running and self._running[0][1].done()):
            self._judge(*self._next())

    def _taken(self) -> tuple[list[int], list[Signed]]:
        """Return the indices and entries of the batch, and begin another."""
        batch, self._batch = self._batch, []
        return [index for index, _ in batch], [each for _, each in batch]

    def _next(self) -> tuple[list[int], int | None]:
        indices, future = self._running.popleft()
        return indices, future.result()

    @staticmethod
    def _judge(indices: list[int], unsigned: int | None) -> None:
        if unsigned is not None:
            raise _cannot_be(indices[unsigned], "the key has not signed it")


def first_unsigned(key: PublicKey, entries: list[Signed]) -> int | None:
    """Return the place of the first that the key has not signed; what a helping process runs."""
    return KeyCheck(key).first_unsigned(entries)


def summary(verified: VerifiedLog) -> dict[str, object]:
    """Return the result as plain values for JSON."""
    return {
        "federation": verified.federation,
        "manifest": to_text(verified.manifest),
        "manifests": [
            {"manifest": to_text(digest), "approved_by": names}
            for digest, names in verified.approved_by
        ],
        "key": key_to_text(verified.key),
        "entries": verified.checkpoint.size,
        "root": to_text(verified.checkpoint.root),
        "model": to_text(verified.model),
        "releases": verified.ended(End.RELEASED),
        "aborts": verified.ended(End.ABORTED),
        "adoptions": verified.ended(End.ADOPTED),
        "admissions": verified.admissions,
        "rejections": verified.rejections,
        "shutdowns": verified.shutdowns,
        "signatures": verified.signatures.value,
        "rounds": [each.summary() for each in verified.rounds],
    }
