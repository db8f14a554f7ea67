"""Against RFC 6962, section 2.1, written down once more as plainly as it reads there."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.merkle import (
    EMPTY_ROOT,
    Frontier,
    Tree,
    consistent,
    includes,
    inclusion_paths,
    root,
    root_from_path,
)

# The leaves of certificate-transparency's reference tests (merkletree/merkle_tree_test.cc), which
# Go's and Rust's libraries use too, with the roots and consistency proofs published there.
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        *("", "00", "10", "2021", "3031", "40414243"),
        *("5051525354555657", "606162636465666768696a6b6c6d6e6f"),
    )
]
CT_ROOTS = [
    bytes.fromhex(digest)
    for digest in (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
CT_PROOFS = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH(D[n])."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH(m, D[n])."""
    if len(leaves) == 1:
        return []
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_proof(m: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    """PROOF(m, D[n]), by SUBPROOF(m, D[n], whole)."""
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    if m <= k:
        return [*naive_proof(m, leaves[:k], whole=whole), naive_root(leaves[k:])]
    return [*naive_proof(m - k, leaves[k:], whole=False), naive_root(leaves[:k])]


def leaves_of(count: int) -> list[bytes]:
    return [b"leaf %d" % i for i in range(count)]


@pytest.mark.parametrize("count", [*range(20), 31, 32, 33])
def test_roots_and_all_paths_are_those_of_the_rfc(count: int) -> None:
    leaves = leaves_of(count)
    frontier = Frontier()
    for index, leaf in enumerate(leaves):
        assert frontier.root() == naive_root(leaves[:index])
        assert frontier.append(leaf) == index
    assert root(leaves) == frontier.root() == naive_root(leaves)
    assert frontier.size == count
    for index, path in enumerate(inclusion_paths(leaves)):
        assert list(path) == naive_path(index, leaves)
        assert includes(naive_root(leaves), leaves[index], index=index, size=count, path=path)


@given(st.integers(1, 20), st.data())
def test_a_wrong_leaf_place_path_or_root_is_refused(count: int, data: st.DataObject) -> None:
    leaves = leaves_of(count)
    index = data.draw(st.integers(0, count - 1))
    path, top = inclusion_paths(leaves)[index], root(leaves)
    assert not includes(top, b"another", index=index, size=count, path=path)
    assert not includes(bytes(32), leaves[index], index=index, size=count, path=path)
    assert not includes(top, leaves[index], index=index, size=count, path=(*path, bytes(32)))
    for other in range(count):
        if other != index:
            assert not includes(top, leaves[index], index=other, size=count, path=path)
    if path:
        assert not includes(top, leaves[index], index=index, size=count, path=path[:-1])
        at = data.draw(st.integers(0, len(path) - 1))
        changed = (*path[:at], bytes(32), *path[at + 1 :])
        assert not includes(top, leaves[index], index=index, size=count, path=changed)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (2**64 - 1, 5), (-1, 5)])
def test_a_place_outside_the_tree_leads_to_no_root(index: int, size: int) -> None:
    assert root_from_path(b"leaf", index=index, size=size, path=()) is None


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_a_path_of_another_length_leads_to_no_root(count: int) -> None:
    for index, path in enumerate(inclusion_paths(leaves_of(count))):
        for other in ((*path, bytes(32)), (*path, *path, bytes(32)), path[:-1]):
            if len(other) != len(path):
                found = root_from_path(b"leaf %d" % index, index=index, size=count, path=other)
                assert found is None


def test_an_inner_node_is_no_leaf() -> None:
    left, right = (hashlib.sha256(b"\x00" + leaf).digest() for leaf in (b"a", b"b"))
    assert root([left + right]) != root([b"a", b"b"])


@given(st.binary(max_size=8), st.integers(0, 2**64), st.integers(0, 2**64), st.lists(st.binary()))
def test_hostile_paths_end_in_a_root_or_in_nothing(
    leaf: bytes, index: int, size: int, path: list[bytes]
) -> None:
    found = root_from_path(leaf, index=index, size=size, path=path)
    assert found is None or len(found) == 32


# -- stored subtrees, and consistency


def tree_of(leaves: list[bytes]) -> Tree:
    tree = Tree()
    for index, leaf in enumerate(leaves):
        assert tree.append(leaf) == index
    return tree


def test_the_reference_tests_roots_and_proofs_are_ours() -> None:
    tree = tree_of(CT_LEAVES)
    assert [tree.root(size) for size in range(1, 9)] == CT_ROOTS
    assert [root(CT_LEAVES[:size]) for size in range(1, 9)] == CT_ROOTS
    for (old, new), proof in CT_PROOFS.items():
        assert [node.hex() for node in tree.consistency_proof(old, new)] == proof
        assert consistent(
            CT_ROOTS[old - 1],
            CT_ROOTS[new - 1],
            old_size=old,
            new_size=new,
            proof=[bytes.fromhex(node) for node in proof],
        )


@given(st.integers(1, 70), st.data())
def test_a_stored_tree_gives_the_roots_paths_and_proofs_of_the_rfc(
    count: int, data: st.DataObject
) -> None:
    leaves = leaves_of(count)
    tree = tree_of(leaves)
    assert tree.size == count
    new = data.draw(st.integers(1, count))
    old = data.draw(st.integers(1, new))
    index = data.draw(st.integers(0, new - 1))
    assert tree.root(new) == naive_root(leaves[:new])
    assert list(tree.inclusion_path(index, new)) == naive_path(index, leaves[:new])
    proof = tree.consistency_proof(old, new)
    assert list(proof) == naive_proof(old, leaves[:new])
    assert consistent(
        naive_root(leaves[:old]), naive_root(leaves[:new]), old_size=old, new_size=new, proof=proof
    )


@given(st.integers(2, 40), st.data())
def test_a_proof_that_was_changed_or_is_of_other_sizes_or_roots_is_none(
    count: int, data: st.DataObject
) -> None:
    tree = tree_of(leaves_of(count))
    new = data.draw(st.integers(2, count))
    old = data.draw(st.integers(1, new - 1))
    proof, first, second = tree.consistency_proof(old, new), tree.root(old), tree.root(new)

    def holds(a: bytes, b: bytes, m: int, n: int, path: tuple[bytes, ...]) -> bool:
        return consistent(a, b, old_size=m, new_size=n, proof=path)

    assert holds(first, second, old, new, proof)
    assert not holds(bytes(32), second, old, new, proof)
    assert not holds(first, bytes(32), old, new, proof)
    assert not holds(second, first, new, old, proof)
    assert not holds(first, second, old, new, (*proof, bytes(32)))
    assert not holds(first, second, old, new, proof[:-1])
    at = data.draw(st.integers(0, len(proof) - 1))
    assert not holds(first, second, old, new, (*proof[:at], bytes(32), *proof[at + 1 :]))
    # A taller tree needs a longer proof, whatever its root is said to be.
    assert not holds(first, second, old, 1 << (new.bit_length() + 1), proof)
    # A complete old tree is a subtree in many larger ones; a root, of one size only.
    for other in range(1, new):
        if other != old:
            assert not holds(tree.root(other), second, old, new, proof)


def test_every_tree_continues_the_empty_one_and_itself() -> None:
    tree = tree_of(leaves_of(3))
    top = tree.root(3)
    assert tree.root(0) == EMPTY_ROOT == root([])
    assert tree.consistency_proof(0, 3) == tree.consistency_proof(3, 3) == ()
    assert consistent(EMPTY_ROOT, top, old_size=0, new_size=3, proof=())
    assert consistent(top, top, old_size=3, new_size=3, proof=())
    assert consistent(EMPTY_ROOT, EMPTY_ROOT, old_size=0, new_size=0, proof=())
    assert not consistent(bytes(32), top, old_size=0, new_size=3, proof=())
    assert not consistent(EMPTY_ROOT, top, old_size=0, new_size=3, proof=(top,))
    assert not consistent(top, bytes(32), old_size=3, new_size=3, proof=())
    assert not consistent(top, top, old_size=3, new_size=3, proof=(top,))


def test_no_smaller_tree_continues_a_larger_one_though_its_root_is_said_to_be_the_same() -> None:
    tree = tree_of(leaves_of(9))
    for old in range(1, 10):
        top = tree.root(old)
        for new in range(old):
            for proof in ((), (top,), (top, top)):
                assert not consistent(top, top, old_size=old, new_size=new, proof=proof)


def test_a_proof_longer_than_the_way_to_the_root_shows_nothing() -> None:
    """It would let a tree of another shape, with any leaves in it, pass for a continuation."""
    tree = tree_of(leaves_of(6))

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\x01" + left + right).digest()

    fourth, fifth = (hashlib.sha256(b"\x00leaf %d" % n).digest() for n in (4, 5))
    first, strange = tree.root(4), bytes(32)
    forged = node(first, node(fourth, node(fifth, strange)))
    proof = (fifth, strange, fourth, first)
    assert not consistent(tree.root(6), forged, old_size=6, new_size=7, proof=proof)


@given(st.integers(0, 40), st.integers(0, 40))
def test_a_tree_goes_on_from_its_subtrees_and_from_no_other_number_of_them(
    size: int, more: int
) -> None:
    leaves = leaves_of(size + more)
    roots = tree_of(leaves).subtree_roots(size)
    grown = Frontier.of(size, roots)
    assert (grown.size, grown.roots, grown.root()) == (size, roots, naive_root(leaves[:size]))
    for leaf in leaves[size:]:
        grown.append(leaf)
    assert grown.root() == naive_root(leaves)
    for other in (roots[:-1], (*roots, EMPTY_ROOT), (grown.root(),) * (size.bit_count() + 2)):
        if len(other) != size.bit_count():
            with pytest.raises(MalformedMessage, match=f"roots of a tree of {size} leaves"):
                Frontier.of(size, other)


@given(
    st.binary(), st.binary(), st.integers(-1, 2**64), st.integers(-1, 2**64), st.lists(st.binary())
)
def test_hostile_proofs_are_refused_and_raise_nothing(
    old_root: bytes, new_root: bytes, old: int, new: int, proof: list[bytes]
) -> None:
    if old != new and (old or old_root != EMPTY_ROOT):
        assert not consistent(old_root, new_root, old_size=old, new_size=new, proof=proof)


@pytest.mark.parametrize("size", [-1, 4])
def test_a_stored_tree_has_no_proofs_of_leaves_that_it_lacks(size: int) -> None:
    tree = tree_of(leaves_of(3))
    for ask in (
        lambda: tree.root(size),
        lambda: tree.subtree_roots(size),
        lambda: tree.inclusion_path(0, size),
        lambda: tree.inclusion_path(size, 3),
        lambda: tree.consistency_proof(0, size),
        lambda: tree.consistency_proof(size, 3),
    ):
        with pytest.raises(ValueError, match="want"):
            ask()


def test_a_long_tree_is_hashed_without_recursion_and_proved_without_its_leaves() -> None:
    leaves = [b"%d" % i for i in range(20_001)]
    tree = tree_of(leaves)
    top = root(leaves)
    assert tree.root(len(leaves)) == top
    for index in (0, 16_383, 16_384, 20_000):
        path = tree.inclusion_path(index, len(leaves))
        assert includes(top, leaves[index], index=index, size=len(leaves), path=path)
    proof = tree.consistency_proof(12_345, len(leaves))
    assert len(proof) < 2 * 15
    assert consistent(
        root(leaves[:12_345]), top, old_size=12_345, new_size=len(leaves), proof=proof
    )
