"""Merkle trees with inclusion and consistency proofs: for the clients' nonces and for the log.

Hashes, tree shape and proofs are RFC 6962 section 2.1 (leaf prefix 0x00, node prefix 0x01). Three
ways to have a tree: all leaves at once (`root`, `inclusion_paths`), its frontier alone (`Frontier`,
O(log n) memory), or every complete subtree's hash (`Tree`, which gives any proof at once).

SPEC.md, section 4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from fedenclave.protocol.digests import DIGEST_SIZE, Digest, equal
from fedenclave.protocol.errors import MalformedMessage

EMPTY_ROOT = Digest(hashlib.sha256(b"").digest())
"""The root of the tree without leaves."""


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
    """Return the root over leaf hashes, level by level.

    A level's last node that has no sibling is the next level's last node: that is the RFC's tree,
    in which the left subtree is the largest complete one.
    """
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above: list[bytes] = [_node(left, right) for left, right in pairs]
        level = above + level[len(above) * 2 :]
    return Digest(level[0])


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


def consistent(
    old_root: bytes, new_root: bytes, *, old_size: int, new_size: int, proof: Sequence[bytes]
) -> bool:
    """Return whether `proof` shows that the tree of `new_size` begins with that of `old_size`.

    Of the empty tree every tree is a continuation, and the proof is empty. Algorithm: RFC 9162
    section 2.1.4.2.
    """
    if not 0 <= old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and equal(old_root, new_root)
    if old_size == 0:
        return not proof and equal(old_root, EMPTY_ROOT)
    # 2. The subtree that ends the old tree is the old tree itself where it is complete.
    nodes = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not nodes:
        return False
    # 3.-4. Where that subtree lies, at its own level, and where its level ends in the new tree.
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    # 5.-6. Both roots are computed side by side: a left sibling is in both trees.
    fr = sr = Digest(nodes[0])
    for sibling in nodes[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = _node(sibling, fr), _node(sibling, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = _node(sr, sibling)
        fn, sn = fn >> 1, sn >> 1
    # 7. Both are what they should be, and the path was as long as it has to be.
    return sn == 0 and equal(fr, old_root) and equal(sr, new_root)


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


class Tree:
    """A growing tree that keeps the hash of every complete subtree: 64 bytes a leaf.

    Roots and proofs of this and of every earlier size cost O(log n) hashes.
    """

    def __init__(self) -> None:
        """Begin an empty tree."""
        # Of level k the hashes of the complete subtrees of 2**k leaves, one after the other.
        self._levels: list[bytearray] = [bytearray()]

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0]) // DIGEST_SIZE

    def append(self, data: bytes) -> int:
        """Add a leaf and return its index."""
        index = count = self.size
        digest = leaf_hash(data)
        level = 0
        self._levels[0] += digest
        while count & 1:
            digest = _node(self._complete(level, count - 1), digest)
            count, level = count >> 1, level + 1
            if level == len(self._levels):
                self._levels.append(bytearray())
            self._levels[level] += digest
        return index

    def _complete(self, level: int, place: int) -> Digest:
        return Digest(bytes(self._levels[level][place * DIGEST_SIZE : (place + 1) * DIGEST_SIZE]))

    def _hash(self, level: int, place: int, size: int) -> Digest:
        """Return the hash at `place` of `level` in the tree of the first `size` leaves."""
        start = place << level
        if start + (1 << level) <= size:
            return self._complete(level, place)
        # The right edge: complete subtrees of shrinking size, joined from the right.
        parts = []
        while start < size:
            height = (size - start).bit_length() - 1
            parts.append(self._complete(height, start >> height))
            start += 1 << height
        digest = parts.pop()
        while parts:
            digest = _node(parts.pop(), digest)
        return digest

    def root(self, size: int) -> Digest:
        """Return the root over the first `size` leaves.

        Raises:
            ValueError: there are fewer.
        """
        self._check(size)
        return self._hash(max(size - 1, 0).bit_length(), 0, size) if size else EMPTY_ROOT

    def subtree_roots(self, size: int) -> tuple[Digest, ...]:
        """Return the roots of the complete subtrees of the first `size` leaves, left to right.

        They are what `Frontier.of` goes on from.

        Raises:
            ValueError: there are fewer leaves.
        """
        self._check(size)
        roots, start = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                roots.append(self._complete(level, start >> level))
                start += 1 << level
        return tuple(roots)

    def inclusion_path(self, index: int, size: int) -> tuple[Digest, ...]:
        """Return the path from the leaf at `index` to the root over the first `size` leaves.

        Raises:
            ValueError: there are fewer, or `index` is not below `size`.
        """
        self._check(size)
        if not 0 <= index < size:
            raise ValueError(f"leaf is {index}, want 0 to {size - 1}")
        return self._path(0, index, size)

    def _path(self, level: int, place: int, size: int) -> tuple[Digest, ...]:
        """Return the siblings on the way from `place` of `level` to the root."""
        path = []
        last = (size - 1) >> level
        while last:
            if place ^ 1 <= last:
                path.append(self._hash(level, place ^ 1, size))
            place, last, level = place >> 1, last >> 1, level + 1
        return tuple(path)

    def consistency_proof(self, old_size: int, new_size: int) -> tuple[Digest, ...]:
        """Return what shows that the first `new_size` leaves begin with the first `old_size`.

        RFC 6962 section 2.1.2: the path of the subtree that ends the old tree, and before it that
        subtree's own hash where it is not the whole old tree.

        Raises:
            ValueError: there are fewer leaves, or the sizes are the wrong way round.
        """
        self._check(new_size)
        if not 0 <= old_size <= new_size:
            raise ValueError(f"old size is {old_size}, want 0 to {new_size}")
        if old_size in (0, new_size):
            return ()
        level, place = 0, old_size - 1
        while place & 1:
            level, place = level + 1, place >> 1
        own = (self._complete(level, place),) if place else ()
        return own + self._path(level, place, new_size)

    def _check(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise ValueError(f"size is {size}, want 0 to {self.size}")
