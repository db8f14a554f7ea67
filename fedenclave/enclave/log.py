"""The enclave's log: a Merkle tree over everything it ever signed, in order.

A leaf is the digest of a signed statement. The enclave keeps only the tree's frontier and the
checkpoints that it handed out; the statements themselves are the host's to keep.

SPEC.md, section 7.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.journal import Journal
from fedenclave.enclave.transitions import (
    CHECKPOINT_SIZE,
    Snapshot,
    Transition,
    join_checkpoints,
    split_checkpoints,
    split_equal,
)
from fedenclave.protocol.checkpoint_note import log_origin, sign_checkpoint
from fedenclave.protocol.digests import DIGEST_SIZE
from fedenclave.protocol.merkle import Frontier
from fedenclave.protocol.signing import Statement, public_key, sign, statement_digest
from fedenclave.protocol.statements import Checkpoint


class Log:
    """Signs statements and appends them."""

    def __init__(self, key: Ed25519PrivateKey, journal: Journal) -> None:
        """Begin an empty log, of which `journal` notes every change."""
        self._key, self._journal = key, journal
        self._tree = Frontier()
        self._handed_out: set[Checkpoint] = set()

    @classmethod
    def remembered(cls, key: Ed25519PrivateKey, journal: Journal, snapshot: Snapshot) -> Log:
        """Return the log as it was at a snapshot.

        Raises:
            MalformedMessage: what is remembered of it is none.
        """
        log = cls(key, journal)
        log._tree = Frontier.of(snapshot.log_size, split_equal(snapshot.log_roots, DIGEST_SIZE))
        log._handed_out = split_checkpoints(snapshot.handed_out)
        return log

    def remember(self) -> tuple[bytes, bytes]:
        """Return the tree's roots and the checkpoints handed out, each joined for a snapshot."""
        return b"".join(self._tree.roots), join_checkpoints(self._handed_out)

    def replay(self, transition: Transition) -> None:
        """Take over what an earlier run of this enclave has signed and handed out.

        Raises:
            MalformedMessage: the checkpoints are none.
        """
        for signed in transition.statements:
            self._tree.append(statement_digest(signed))
        self._handed_out |= split_checkpoints(transition.handed_out)

    @property
    def size(self) -> int:
        """Number of statements so far."""
        return self._tree.size

    def head(self) -> Checkpoint:
        """Return size and root of what has been signed so far, for the host's own use."""
        return Checkpoint(size=self._tree.size, root=self._tree.root())

    def checkpoint(self) -> Checkpoint:
        """Return size and root of what has been signed so far, and remember having said so."""
        checkpoint = self.head()
        self._handed_out.add(checkpoint)
        self._journal.notes.handed_out.append(checkpoint)
        return checkpoint

    def note(self, federation: str) -> bytes:
        """Return the newest checkpoint as a signed note, for witnesses of other logs, too."""
        origin = log_origin(federation, public_key(self._key))
        return sign_checkpoint(self.checkpoint(), origin, self._key)

    @property
    def is_half_full(self) -> bool:
        """Whether the checkpoints handed out take half of what a snapshot can hold."""
        return len(self._handed_out) * CHECKPOINT_SIZE > Snapshot.MAX_SIZE // 2

    def knows(self, checkpoint: Checkpoint) -> bool:
        """Return whether this log ever handed out `checkpoint`.

        One that it does not know comes from a future that was rolled back, or from a fork (T7).
        """
        return checkpoint in self._handed_out

    def append(self, statement: Statement) -> bytes:
        """Sign `statement`, add it, and return the signed bytes."""
        signed = sign(statement, self._key)
        self._tree.append(statement_digest(signed))
        self._journal.notes.statements.append(signed)
        return signed
