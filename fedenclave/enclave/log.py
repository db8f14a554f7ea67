"""The enclave's log: a Merkle tree over everything it ever signed, in order.

A leaf is the digest of a signed statement. The enclave keeps only the tree's frontier and the
checkpoints that it handed out; the statements themselves are the host's to keep.

SPEC.md, section 7.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.protocol.merkle import Frontier
from fedenclave.protocol.signing import Statement, sign, statement_digest
from fedenclave.protocol.statements import Checkpoint


class Log:
    """Signs statements and appends them."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Begin an empty log."""
        self._key = key
        self._tree = Frontier()
        self._handed_out: set[Checkpoint] = set()

    @property
    def size(self) -> int:
        """Number of statements so far."""
        return self._tree.size

    def checkpoint(self) -> Checkpoint:
        """Return size and root of what has been signed so far, and remember having said so."""
        checkpoint = Checkpoint(size=self._tree.size, root=self._tree.root())
        self._handed_out.add(checkpoint)
        return checkpoint

    def knows(self, checkpoint: Checkpoint) -> bool:
        """Return whether this log ever handed out `checkpoint`.

        One that it does not know comes from a future that was rolled back, or from a fork (T7).
        """
        return checkpoint in self._handed_out

    def append(self, statement: Statement) -> bytes:
        """Sign `statement`, add it, and return the signed bytes."""
        signed = sign(statement, self._key)
        self._tree.append(statement_digest(signed))
        return signed
