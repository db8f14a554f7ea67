"""Against RFC 6962, section 2.1, written down once more as plainly as it reads there."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.protocol.merkle import Frontier, includes, inclusion_paths, root, root_from_path


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
