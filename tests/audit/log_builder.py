"""Logs by an enclave that signs whatever a test asks for; true where a test asks for nothing.

Each method adds one statement, as an honest enclave would make it at that place but for `changes`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.audit.log import VerifiedLog, verify_log
from fedenclave.audit.log_rounds import LogInvalid
from fedenclave.protocol.digests import Digest, sha256
from fedenclave.protocol.errors import Reason
from fedenclave.protocol.log_file import MAGIC, frame
from fedenclave.protocol.merkle import Frontier
from fedenclave.protocol.peers import PeerMessage, Purpose
from fedenclave.protocol.signing import public_key, sign, statement_digest
from fedenclave.protocol.statements import (
    NO_DATA,
    Abort,
    Admission,
    Adoption,
    Amendment,
    Announcement,
    Checkpoint,
    Evaluation,
    FederationStatement,
    Rejection,
    Release,
    Shutdown,
    Start,
)
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.audit.lying_receipt import BASICS, MANIFEST, OWNERS

ZERO = Digest(bytes(32))
APPROVING = tuple(sorted(member.name for member in MANIFEST.members))
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
COHORT = tuple(OWNERS)


def update_of(client: str, round_: int) -> Digest:
    """Return a digest for an update."""
    return sha256(f"update of {client} in {round_}".encode())


def model_of(round_: int) -> Digest:
    """Return a digest for a released model."""
    return sha256(f"model of {round_}".encode())


class LogBuilder:
    """A log as it grows; `signed` are its entries."""

    def __init__(self, key: Ed25519PrivateKey = KEY) -> None:
        self.key = key
        self.signed: list[bytes] = []
        self._tree = Frontier()
        self._round = 0
        self._model = MANIFEST.initial_model
        self._announcement = ZERO
        self._admitted: list[str] = []

    def add(self, statement: FederationStatement, **changes: Any) -> bytes:
        """Sign a statement and append it."""
        return self.append(sign(replace(statement, **changes), self.key))

    def append(self, signed: bytes) -> bytes:
        """Append what is signed already."""
        self.signed.append(signed)
        self._tree.append(statement_digest(signed))
        return signed

    def checkpoint(self) -> Checkpoint:
        """Return the log so far."""
        return Checkpoint(size=self._tree.size, root=self._tree.root())

    def start(self, **changes: Any) -> bytes:
        """Add the start."""
        return self.add(
            Start(
                **BASICS,
                model=MANIFEST.initial_model,
                schema=MANIFEST.schema,
                measurement=ZERO,
                approved_by=APPROVING,
                time=1,
            ),
            **changes,
        )

    def announce(self, cohort: Sequence[str] = COHORT, **changes: Any) -> bytes:
        """Open the next round."""
        self._round += 1
        self._admitted = []
        signed = self.add(
            Announcement(
                **BASICS,
                round=self._round,
                base_model=self._model,
                schema=MANIFEST.schema,
                training_config=NO_TRAINING_CONFIG,
                suite=MANIFEST.suite,
                public_key=b"key",
                cohort=tuple(cohort),
                available=(),
                checkpoint=self.checkpoint(),
                time=self._round * 100,
            ),
            **changes,
        )
        self._announcement = statement_digest(signed)
        return signed

    def admit(self, client: str, **changes: Any) -> bytes:
        """Admit a client's update."""
        self._admitted.append(client)
        update = update_of(client, self._round)
        admitted = Admission(
            **BASICS, round=self._round, client=client, update=update, data=NO_DATA
        )
        return self.add(admitted, **changes)

    def reject(self, client: str, reason: Reason = Reason.NOT_FINITE, **changes: Any) -> bytes:
        """Reject a client's update; with CHANGED_AFTER_ADMISSION it is set aside."""
        if reason is Reason.CHANGED_AFTER_ADMISSION and client in self._admitted:
            self._admitted.remove(client)
        return self.add(
            Rejection(
                **BASICS,
                round=self._round,
                client=client,
                update=update_of(client, self._round),
                reason=reason,
            ),
            **changes,
        )

    def message(self, purpose: Purpose, **changes: Any) -> bytes:
        """Say something to another enclave."""
        return self.add(
            PeerMessage(
                **BASICS,
                round=self._round,
                purpose=purpose,
                sender=public_key(self.key),
                receiver=b"r" * 32,
                answers=ZERO,
                sealed=b"sealed",
            ),
            **changes,
        )

    def release(self, **changes: Any) -> bytes:
        """Release the round."""
        owners = {OWNERS[client] for client in self._admitted}
        signed = self.add(
            Release(
                **BASICS,
                round=self._round,
                announcement=self._announcement,
                base_model=self._model,
                model=model_of(self._round),
                schema=MANIFEST.schema,
                cohort=ZERO,
                clients=len(self._admitted),
                organisations=len(owners),
                metrics=(),
                checkpoint=self.checkpoint(),
                time=self._round * 100 + 50,
            ),
            **changes,
        )
        self._model = model_of(self._round)
        return signed

    def amend(self, **changes: Any) -> bytes:
        """Say that another manifest has taken the place of this one."""
        basics = {**BASICS, "manifest": Digest(b"m" * 32)}
        return self.add(
            Amendment(
                **basics,
                before=BASICS["manifest"],
                approved_by=APPROVING,
                let_by=APPROVING,
                round=self._round,
                base_model=self._model,
                checkpoint=self.checkpoint(),
                time=0,
            ),
            **changes,
        )

    def abort(self, **changes: Any) -> bytes:
        """Abort the round."""
        return self.add(
            Abort(**BASICS, round=self._round, checkpoint=self.checkpoint(), time=0), **changes
        )

    def adopt(self, **changes: Any) -> bytes:
        """End the round with another enclave's release."""
        self._model = model_of(self._round)
        return self.add(
            Adoption(
                **BASICS,
                round=self._round,
                root=b"r" * 32,
                release=ZERO,
                model=self._model,
                checkpoint=self.checkpoint(),
                time=0,
            ),
            **changes,
        )

    def evaluate(self, digest: Digest = ZERO, **changes: Any) -> bytes:
        """Log that the newest model was evaluated."""
        return self.add(
            Evaluation(
                **BASICS,
                round=self._round,
                model=self._model,
                digest=digest,
                checkpoint=self.checkpoint(),
                time=0,
            ),
            **changes,
        )

    def shut_down(self, **changes: Any) -> bytes:
        """End the enclave's run between two rounds."""
        return self.add(
            Shutdown(**BASICS, round=self._round, checkpoint=self.checkpoint(), time=0), **changes
        )

    def round(self, *clients: str) -> bytes:
        """Run a whole round of these clients; return its release."""
        self.announce()
        for client in clients or COHORT:
            self.admit(client)
        return self.release()

    def file(self) -> bytes:
        """Return the log file."""
        return MAGIC + b"".join(map(frame, self.signed))

    def verified(self, **options: Any) -> VerifiedLog:
        """Return what the log says."""
        return verify_log(io.BytesIO(self.file()), public_key(self.key), MANIFEST, **options)


def three_rounds() -> LogBuilder:
    """Return a log of a release with all kinds of answers, an abort, and another release."""
    log = LogBuilder()
    log.start()
    log.announce()
    log.admit("a")
    log.reject("stranger", Reason.UNKNOWN_CLIENT)
    log.admit("b")
    log.reject("", Reason.MALFORMED)
    log.admit("c")
    log.reject("c", Reason.CHANGED_AFTER_ADMISSION)
    log.release()
    log.announce(("a", "b"))
    log.admit("a")
    log.abort()
    log.round("b", "c")
    return log


Lie = Callable[[LogBuilder], Any]
"""Adds to a log what an honest enclave would not."""


def refused(log: LogBuilder, match: str, **options: Any) -> None:
    """Expect that a log proves nothing, with a message that matches and a hint."""
    with pytest.raises(LogInvalid, match=match) as caught:
        log.verified(**options)
    assert caught.value.hint
