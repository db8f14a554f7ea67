"""Whoever may write where a dataset lies gains nothing: all is refused, and named.

A reader gives out nothing but what was sealed; what is not touched stays readable.
"""

import contextlib
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.datasets.digest import ContentsDigest
from fedenclave.datasets.errors import DatasetDamaged, DatasetMissing, DatasetRefused
from fedenclave.datasets.head import MAGIC, Head, _Authenticated, read_head, write_head
from fedenclave.datasets.index import Entry, write_index
from fedenclave.datasets.layout import CHUNK, PREFIX_SIZE, TAG_SIZE, DatasetKeys
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.reader import SealedDataset, unverified_head, unwrap
from fedenclave.datasets.rotate import reencrypt
from fedenclave.datasets.verify import verify
from fedenclave.keys.errors import CannotUnwrap, KeyDestroyed, KeysRefused, NoSuchKey
from fedenclave.keys.keyring import Keyring, create_keyring
from fedenclave.protocol.digests import Digest, sha256
from fedenclave.protocol.errors import FedEnclaveError
from tests.datasets.conftest import FILES, OPTIONS, opened, part, sealed_at, write_files
from tests.keys.conftest import CHEAP, PASSPHRASE

SEALED_CHUNK = CHUNK + TAG_SIZE
NO_DIGEST = Digest(bytes(32))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


def reads_nothing_false(folder: Path, ring: Keyring) -> list[str]:
    """Read every file; return the names of those that are refused. The others must be right."""
    refused = []
    with opened(folder, ring) as dataset:
        for name, data in FILES.items():
            try:
                assert dataset.read(name) == data
            except DatasetDamaged as error:
                named = f"dataset {dataset.head.name} at {folder}: file {name!r}, chunk "
                if not error.message.startswith(named):
                    pytest.fail(error.message)
                refused.append(name)
    return refused


def test_a_flipped_bit_in_the_head_is_refused(sealed: Path, ring: Keyring) -> None:
    head = sealed / "head"
    whole = head.read_bytes()
    for position in range(len(whole)):
        flip(head, position)
        with pytest.raises((DatasetDamaged, KeysRefused, DatasetMissing)):
            opened(sealed, ring)
        head.write_bytes(whole)
    opened(sealed, ring).close()


def test_a_flipped_bit_in_the_index_is_refused(sealed: Path, ring: Keyring) -> None:
    index = part(sealed, "index")
    whole = index.read_bytes()
    store = LocalStore(sealed)
    head, data_key = unwrap(store, ring, "test")
    for position in range(len(whole)):
        flip(index, position)
        with pytest.raises(DatasetDamaged, match="index"):
            SealedDataset(store, head, data_key)
        index.write_bytes(whole)
    opened(sealed, ring).close()


def test_a_flipped_bit_in_the_body_is_refused_and_the_rest_is_read(
    sealed: Path, ring: Keyring
) -> None:
    body = part(sealed, "body")
    with opened(sealed, ring) as dataset:
        members = list(dataset.members.values())
    for member in members:
        for within in (0, member.size, member.size + TAG_SIZE - 1):
            at = member.offset + min(within, SEALED_CHUNK - 1)
            flip(body, at)
            if member.size:
                assert reads_nothing_false(sealed, ring) == [member.name]
            with opened(sealed, ring) as dataset:
                (problem,) = verify(dataset).problems
                assert "chunk 0 of" in problem
            flip(body, at)


def test_a_damaged_chunk_is_named_with_its_bytes(sealed: Path, ring: Keyring) -> None:
    with opened(sealed, ring) as dataset:
        member = dataset.member("c")
        flip(part(sealed, "body"), member.offset + 3 * SEALED_CHUNK + 5)
        with pytest.raises(DatasetDamaged) as refused:
            dataset.read("c")
        message = f"file 'c', chunk 3 of 6 (bytes {3 * CHUNK} to {4 * CHUNK})"
        assert message in refused.value.message
        with dataset.open("c") as stream:
            assert stream.read(3 * CHUNK) == FILES["c"][: 3 * CHUNK]
            stream.seek(4 * CHUNK)
            assert stream.read() == FILES["c"][4 * CHUNK :]


def _readable_head(store: LocalStore, head: Head) -> Head:
    """Return `head`, if the store's decodes."""
    unverified_head(store)
    return head


@pytest.mark.parametrize("where", ["body", "index", "head"])
def test_what_was_cut_off_anywhere_is_refused(sealed: Path, ring: Keyring, where: str) -> None:
    path = part(sealed, where)
    whole = path.read_bytes()
    cuts = {0, 1, 3, 4, 19, 20, 24, len(whole) // 2, len(whole) - 17, len(whole) - 16}
    if where == "body":
        cuts |= {PREFIX_SIZE + TAG_SIZE, len(whole) - SEALED_CHUNK, len(whole) - 1}
    else:
        cuts |= set(range(len(whole)))
    store = LocalStore(sealed)
    head, data_key = unwrap(store, ring, "test")
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        with pytest.raises(DatasetDamaged, match=r"cut off|begins with|cut or changed"):
            SealedDataset(store, _readable_head(store, head), data_key)
    path.write_bytes(whole + b"\0")
    with pytest.raises(DatasetDamaged):
        opened(sealed, ring)


@pytest.mark.parametrize("where", ["body", "index", "head"])
def test_a_part_that_is_gone_is_named(sealed: Path, ring: Keyring, where: str) -> None:
    path = part(sealed, where)
    path.unlink()
    with pytest.raises(DatasetMissing, match=path.name):
        opened(sealed, ring)


def swap(body: Path, first: int, second: int, size: int) -> None:
    data = bytearray(body.read_bytes())
    data[first : first + size], data[second : second + size] = (
        data[second : second + size],
        data[first : first + size],
    )
    body.write_bytes(data)


def test_swapped_chunks_of_one_file_are_refused(sealed: Path, ring: Keyring) -> None:
    with opened(sealed, ring) as dataset:
        start = dataset.member("c").offset
    swap(part(sealed, "body"), start + SEALED_CHUNK, start + 3 * SEALED_CHUNK, SEALED_CHUNK)
    assert reads_nothing_false(sealed, ring) == ["c"]
    with opened(sealed, ring) as dataset:
        problems = verify(dataset).problems
    assert [("chunk 1 " in p, "chunk 3 " in p) for p in problems] == [(True, False), (False, True)]


def test_swapped_files_are_refused(tmp_path: Path, ring: Keyring) -> None:
    files = {"x": b"1" * 1000, "y": b"2" * 1000}
    write_files(tmp_path / "plain", files)
    sealed_at(tmp_path / "sealed", tmp_path / "plain", ring)
    with opened(tmp_path / "sealed", ring) as dataset:
        x, y = dataset.member("x"), dataset.member("y")
        swap(part(tmp_path / "sealed", "body"), x.offset, y.offset, x.size + TAG_SIZE)
        for name in files:
            with pytest.raises(DatasetDamaged, match=f"file '{name}', chunk 0"):
                dataset.read(name)


def test_a_doubled_chunk_is_refused(sealed: Path, ring: Keyring) -> None:
    with opened(sealed, ring) as dataset:
        start = dataset.member("c").offset
    body = part(sealed, "body")
    data = bytearray(body.read_bytes())
    data[start + SEALED_CHUNK : start + 2 * SEALED_CHUNK] = data[start : start + SEALED_CHUNK]
    body.write_bytes(data)
    assert reads_nothing_false(sealed, ring) == ["c"]


@pytest.fixture
def other(tmp_path: Path, plain: Path, ring: Keyring) -> Path:
    """Give the same data, sealed once more."""
    sealed_at(tmp_path / "other", plain, ring)
    return tmp_path / "other"


@pytest.mark.parametrize("where", ["body", "index"])
def test_another_datasets_part_is_named(
    sealed: Path, other: Path, ring: Keyring, where: str
) -> None:
    theirs = read_head((other / "head").read_bytes(), "").head.name
    shutil.copyfile(part(other, where), part(sealed, where))
    with pytest.raises(DatasetDamaged, match=f"is that of dataset {theirs}"):
        opened(sealed, ring)


@pytest.mark.parametrize("where", ["body", "index"])
def test_another_datasets_part_under_a_forged_name_is_refused(
    sealed: Path, other: Path, ring: Keyring, where: str
) -> None:
    mine = part(sealed, where)
    data = part(other, where).read_bytes()
    mine.write_bytes(mine.read_bytes()[:PREFIX_SIZE] + data[PREFIX_SIZE:])
    if where == "index":
        with pytest.raises(DatasetDamaged, match="index page 0 is not what was sealed there"):
            opened(sealed, ring)
    else:
        assert set(reads_nothing_false(sealed, ring)) == {n for n, d in FILES.items() if d}


def test_a_chunk_of_another_dataset_is_refused(sealed: Path, other: Path, ring: Keyring) -> None:
    with opened(sealed, ring) as dataset:
        start = dataset.member("b-whole").offset
    theirs, mine = part(other, "body"), part(sealed, "body")
    data = bytearray(mine.read_bytes())
    data[start : start + SEALED_CHUNK] = theirs.read_bytes()[start : start + SEALED_CHUNK]
    mine.write_bytes(data)
    assert reads_nothing_false(sealed, ring) == ["b-whole"]


def test_another_datasets_wrapped_key_is_refused(sealed: Path, other: Path, ring: Keyring) -> None:
    mine, theirs = (read_head((f / "head").read_bytes(), "") for f in (sealed, other))
    mixed = replace(mine.head, key=theirs.head.key)
    body = _Authenticated(head=mixed.to_bytes(), mac=mine.mac).to_bytes()
    (sealed / "head").write_bytes(MAGIC + body)
    with pytest.raises(CannotUnwrap, match="did not wrap this key"):
        opened(sealed, ring)


def test_another_datasets_head_reads_nothing_of_this_one(
    sealed: Path, other: Path, ring: Keyring
) -> None:
    shutil.copyfile(other / "head", sealed / "head")
    with pytest.raises(DatasetMissing, match="index-"):
        opened(sealed, ring)


def test_the_wrong_key_is_named(sealed: Path, tmp_path: Path, plain: Path) -> None:
    stranger = create_keyring(tmp_path / "stranger", PASSPHRASE, cost=CHEAP)
    with pytest.raises(NoSuchKey, match="has no key node version 1"):
        opened(sealed, stranger)
    stranger.create("node")
    with pytest.raises(CannotUnwrap, match="stranger did not wrap"):
        opened(sealed, stranger)
    sealed_at(tmp_path / "mine", plain, stranger)
    stranger.destroy("node", 1)
    with pytest.raises(KeyDestroyed, match="node version 1 was destroyed"):
        opened(tmp_path / "mine", stranger)


class TestWhoHasTheKey:
    """A head or an index made with the key, as a changed program could make one."""

    def rewritten(self, dataset: SealedDataset, entries: list[Entry], count: int) -> bytes:
        return write_index(dataset.salt, entries, count, dataset.keys)

    def refused(self, folder: Path, ring: Keyring, entries: list[Entry], count: int) -> str:
        head, data_key = unwrap(LocalStore(folder), ring, "test")
        keys = DatasetKeys.derive(data_key, head.dataset)
        with opened(folder, ring) as dataset:
            index = self.rewritten(dataset, entries, count)
        part(folder, "index").write_bytes(index)
        new: Head = replace(head, index_size=len(index))
        (folder / "head").write_bytes(write_head(new, keys))
        with pytest.raises(DatasetDamaged) as error:
            opened(folder, ring)
        return error.value.message

    @pytest.mark.parametrize(
        "name", ["../x", "/etc/passwd", "a/../b", "a//b", ".", "..", "", "a\0b", "x" * 5000, "a/"]
    )
    def test_names_that_lead_out_of_a_folder_are_refused(
        self, sealed: Path, ring: Keyring, name: str
    ) -> None:
        entry = Entry(name=name, size=1, digest=NO_DIGEST)
        assert "file name" in self.refused(sealed, ring, [entry], 1)

    def test_sizes_that_are_not_there_take_no_memory(self, sealed: Path, ring: Keyring) -> None:
        entry = Entry(name="a", size=2**55, digest=NO_DIGEST)
        assert "files of" in self.refused(sealed, ring, [entry], 1)

    def test_a_size_out_of_range_is_refused(self, sealed: Path, ring: Keyring) -> None:
        entry = Entry(name="a", size=2**63, digest=NO_DIGEST)
        assert f"{2**63} bytes" in self.refused(sealed, ring, [entry], 1)

    def test_a_count_that_is_not_there_is_refused(self, sealed: Path, ring: Keyring) -> None:
        assert "0 files, want 4000000000" in self.refused(sealed, ring, [], 4_000_000_000)

    def test_a_name_twice_is_refused(self, sealed: Path, ring: Keyring) -> None:
        entry = Entry(name="a", size=1, digest=NO_DIGEST)
        assert "is out of order or twice there" in self.refused(sealed, ring, [entry, entry], 2)

    def test_another_digest_than_the_heads_is_refused(self, sealed: Path, ring: Keyring) -> None:
        with opened(sealed, ring) as dataset:
            members = list(dataset.members.values())
        entries = [Entry(name=m.name, size=m.size, digest=m.digest) for m in members]
        entries[0] = Entry(name=entries[0].name, size=0, digest=NO_DIGEST)
        assert "digest is not the head's" in self.refused(sealed, ring, entries, len(entries))


def with_false_digest(folder: Path, ring: Keyring) -> None:
    """Let the index give file `c` another digest, and the head fit it; the chunks stay."""
    store = LocalStore(folder)
    head, data_key = unwrap(store, ring, "test")
    with SealedDataset(store, head, data_key) as dataset:
        whole, entries = ContentsDigest(dataset.salt), []
        for m in dataset.members.values():
            digest = sha256(b"another") if m.name == "c" else m.digest
            entries.append(Entry(name=m.name, size=m.size, digest=digest))
            whole.add(m.name, m.size, digest)
        index = write_index(dataset.salt, entries, len(entries), dataset.keys)
        new = replace(head, index_size=len(index), digest=whole.digest())
        part(folder, "index").write_bytes(index)
        (folder / "head").write_bytes(write_head(new, dataset.keys))


def test_a_digest_that_its_file_does_not_have_is_found_by_verify_and_stops_reencryption(
    sealed: Path, ring: Keyring
) -> None:
    with_false_digest(sealed, ring)
    with opened(sealed, ring) as dataset:
        (problem,) = verify(dataset).problems
    assert "file 'c' opens, and does not have the digest" in problem
    before = sorted(path.name for path in sealed.iterdir())
    with pytest.raises(DatasetDamaged, match="opens to contents of another digest"):
        reencrypt(LocalStore(sealed), ring, "node", OPTIONS)
    assert sorted(path.name for path in sealed.iterdir()) == before


def test_of_a_chunk_that_is_refused_nothing_is_given_out(sealed: Path, ring: Keyring) -> None:
    with opened(sealed, ring) as dataset:
        member = dataset.member("b-whole")
        flip(part(sealed, "body"), member.offset + CHUNK)
        into, scratch = (memoryview(bytearray(b"x" * size)) for size in (CHUNK, SEALED_CHUNK))
        with pytest.raises(DatasetDamaged):
            dataset.open_chunk(member, 0, into, scratch)
        assert bytes(into) == bytes(CHUNK)


def test_a_page_of_huge_length_takes_no_memory(sealed: Path, ring: Keyring) -> None:
    index = part(sealed, "index")
    data = bytearray(index.read_bytes())
    struct.pack_into(">I", data, PREFIX_SIZE, 2**32 - 1)
    index.write_bytes(data)
    with pytest.raises(DatasetDamaged, match=f"index page 0 has {2**32 - 1} bytes"):
        opened(sealed, ring)


def test_a_head_of_any_bytes_is_read_or_refused_by_one_error() -> None:
    @given(data=st.binary(max_size=200), ours=st.booleans())
    def whatever(data: bytes, ours: bool) -> None:
        with contextlib.suppress(DatasetRefused):
            read_head(MAGIC + data if ours else data, "here")

    whatever()


def test_a_body_that_is_cut_off_while_it_is_read_ends_in_an_error_and_no_signal(
    sealed: Path, ring: Keyring
) -> None:
    with opened(sealed, ring) as dataset:
        body = part(sealed, "body")
        size = body.stat().st_size
        with body.open("r+b") as file:
            file.truncate(size // 2)
        with pytest.raises(FedEnclaveError, match="cut off while it was read"):
            for name in FILES:
                dataset.read(name)
