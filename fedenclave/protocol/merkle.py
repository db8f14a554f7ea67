"""Merkle trees with inclusion proofs: for the clients' nonces and for the log.

Hashes, tree shape and proofs are RFC 6962 section 2.1 (leaf prefix 0x00, node prefix 0x01).

SPEC.md, section 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from fedenclave.protocol.digests import Digest, equal
from fedenclave.protocol.errors import MalformedMessage


def leaf_hash(data: bytes) -> Digest:
    """Return the hash of one leaf."""
    return Digest(hashlib.sha256(b"\x00" + data).digest())


def _node(left: bytes, right: bytes) -> Digest:
    return Digest(hashlib.sha256(b"\x01" + left + right).digest())


def _split(size: int) -> int:
    """Return the largest power of two below `size` (size >= 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def root(leaves: Sequence[bytes]) -> Digest:
    """Return the root over leaf *data*; the empty tree's root is SHA-256 of nothing."""
    return _root([leaf_hash(leaf) for leaf in leaves])


def _root(hashes: Sequence[bytes]) -> Digest:
    if not hashes:
        return Digest(hashlib.sha256(b"").digest())
    if len(hashes) == 1:
        return Digest(hashes[0])
    k = _split(len(hashes))
    return _node(_root(hashes[:k]), _root(hashes[k:]))


def inclusion_paths(leaves: Sequence[bytes]) -> list[tuple[Digest, ...]]:
    """Return for every leaf the sibling hashes from it up to the root."""
    return _paths([leaf_hash(leaf) for leaf in leaves])[1]


def _paths(hashes: Sequence[bytes]) -> tuple[Digest, list[tuple[Digest, ...]]]:
    if len(hashes) < 2:
        return _root(hashes), [()] * len(hashes)
    k = _split(len(hashes))
    (left, left_paths), (right, right_paths) = _paths(hashes[:k]), _paths(hashes[k:])
    paths = [(*path, right) for path in left_paths] + [(*path, left) for path in right_paths]
    return _node(left, right), paths


def root_from_path(data: bytes, *, index: int, size: int, path: Sequence[bytes]) -> Digest | None:
    """Return the root that `path` leads to from leaf `data` at `index` of `size` leaves.

    None where the path has the wrong length for that place. Algorithm: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size:
        return None
    fn, sn = index, size - 1
    digest = leaf_hash(data)
    for sibling in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            digest = _node(sibling, digest)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            digest = _node(digest, sibling)
        fn, sn = fn >> 1, sn >> 1
    return digest if sn == 0 else None


def includes(
    root_hash: bytes, data: bytes, *, index: int, size: int, path: Sequence[bytes]
) -> bool:
    """Return whether `path` shows leaf `data` at `index` of the tree of `size` with `root_hash`."""
    found = root_from_path(data, index=index, size=size, path=path)
    return found is not None and equal(found, root_hash)


@dataclass(slots=True)
class Frontier:
    """A growing tree that remembers only the roots of its complete subtrees: O(log n) memory."""

    size: int = 0
    _roots: list[Digest] = field(default_factory=list)

    @classmethod
    def of(cls, size: int, roots: Sequence[bytes]) -> Frontier:
        """Return the tree of `size` leaves whose complete subtrees have these roots, left to right.

        Raises:
            MalformedMessage: a tree of that size has another number of them.
        """
        if len(roots) != size.bit_count():
            raise MalformedMessage(f"{len(roots)} roots of a tree of {size} leaves")
        return cls(size, [Digest(root) for root in roots])

    @property
    def roots(self) -> tuple[Digest, ...]:
        """The roots of the complete subtrees, left to right: as many as `size` has bits set."""
        return tuple(self._roots)

    def append(self, data: bytes) -> int:
        """Add a leaf and return its index."""
        digest, count = leaf_hash(data), self.size
        while count & 1:
            digest = _node(self._roots.pop(), digest)
            count >>= 1
        self._roots.append(digest)
        self.size += 1
        return self.size - 1

    def root(self) -> Digest:
        """Return the root over all leaves so far."""
        if not self._roots:
            return _root([])
        digest = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            digest = _node(left, digest)
        return digest
