"""Digests: what they commit to, computed once more from FORMAT.md alone; what they hide."""

import hashlib
from pathlib import Path

import cbor2
import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.datasets.digest import SALT_SIZE, ContentsDigest, FileDigest, leaf
from fedenclave.datasets.lineage import Lineage
from fedenclave.keys.keyring import Keyring
from fedenclave.protocol.digests import Digest, sha256
from tests.datasets.conftest import FILES, opened

CHUNK = 262_144
FIRST = sha256(b"data")


def by_the_page(salt: bytes, files: dict[str, bytes]) -> bytes:
    """Return a dataset's digest by FORMAT.md, section 5."""
    whole = hashlib.sha256(b"fedenclave/dataset/v1\0" + salt)
    for name in sorted(files, key=str.encode):
        data = files[name]
        chunks = [data[at : at + CHUNK] for at in range(0, max(1, len(data)), CHUNK)]
        leaves = b"".join(blake3(chunk).digest() for chunk in chunks)
        size = len(data).to_bytes(8, "big")
        file = hashlib.sha256(b"fedenclave/dataset-file/v1\0" + size + leaves).digest()
        whole.update(cbor2.dumps([name, len(data), file]))
    return whole.digest()


def test_a_datasets_digest_is_that_of_the_page(sealed: Path, ring: Keyring) -> None:
    with opened(sealed, ring) as dataset:
        assert dataset.digest == by_the_page(dataset.salt, FILES)
        assert len(dataset.salt) == SALT_SIZE
        assert by_the_page(bytes(32), FILES) != dataset.digest
        changed = FILES | {"a/one": b"?"}
        assert by_the_page(dataset.salt, changed) != dataset.digest


def test_a_fixed_dataset_has_a_fixed_digest() -> None:
    digest = FileDigest(5)
    digest.add(leaf(b"hello"))
    whole = ContentsDigest(bytes(32))
    whole.add("x", 5, digest.digest())
    assert whole.digest() == by_the_page(bytes(32), {"x": b"hello"})


def test_a_stage_is_that_of_the_page() -> None:
    written = {"std": ["float", "0x1.4000000000000p-2"], "size": ["list", [["int", "28"]]]}
    inner = cbor2.dumps(
        [FIRST, "normalise", dict(sorted(written.items(), key=lambda i: len(i[0])))]
    )
    want = hashlib.sha256(b"fedenclave/lineage-stage/v1\0" + inner).digest()
    assert Lineage.of(FIRST).then("normalise", size=[28], std=0.3125).digest == want


def test_every_stage_and_parameter_counts() -> None:
    a = Lineage.of(FIRST).then("crop", width=28).then("normalise", mean=0.5)
    assert a == Lineage.of(FIRST).then("crop", width=28).then("normalise", mean=0.5)
    others = [
        Lineage.of(FIRST).then("normalise", mean=0.5).then("crop", width=28),
        Lineage.of(FIRST).then("crop", width=29).then("normalise", mean=0.5),
        Lineage.of(FIRST).then("crop", widht=28).then("normalise", mean=0.5),
        Lineage.of(sha256(b"")).then("crop", width=28).then("normalise", mean=0.5),
        Lineage.of(FIRST).then("normalise", mean=0.5),
    ]
    assert len({lineage.digest for lineage in [a, *others]}) == 6
    assert [stage["stage"] for stage in a.to_plain()] == ["dataset", "crop", "normalise"]


def test_what_looks_alike_is_not_the_same() -> None:
    values = [None, False, 0, 0.0, -0.0, "0", b"0", "", b"", [], {}, [0], ["0"], {"0": 0}, -1, "-1"]
    digests = {Lineage.of(FIRST).then("s", value=value).digest for value in values}
    assert len(digests) == len(values)


@given(
    parameters=st.dictionaries(
        st.text(max_size=5), st.integers() | st.floats() | st.text(max_size=5), max_size=4
    )
)
def test_the_order_of_parameters_does_not_count(parameters: dict[str, int | float | str]) -> None:
    backwards = dict(reversed(parameters.items()))
    first = Lineage.of(FIRST)
    assert first.then("s", **parameters).digest == first.then("s", **backwards).digest


def test_several_datasets_are_one_start() -> None:
    other = sha256(b"other")
    assert Lineage.of(FIRST, other).digest != Lineage.of(other, FIRST).digest
    assert Lineage.of(FIRST).digest == FIRST
    for wrong in ([], [Digest(b"short")]):
        with pytest.raises(ValueError, match="digests of 32 bytes"):
            Lineage.of(*wrong)


def test_what_is_no_plain_value_is_refused() -> None:
    with pytest.raises(ValueError, match="a parameter is ndarray"):
        Lineage.of(FIRST).then("s", value=np.zeros(3))  # type: ignore[arg-type]
