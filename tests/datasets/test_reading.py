"""What is sealed is read back: whole, as a stream, at offsets, by threads, by other processes."""

import csv
import io
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.datasets.errors import DatasetMissing
from fedenclave.datasets.layout import CHUNK
from fedenclave.datasets.reader import SealedDataset
from fedenclave.datasets.verify import verify
from fedenclave.keys.keyring import Keyring, audit_path
from tests.datasets.conftest import FILES, opened, sealed_at, write_files
from tests.keys.events import read_events


def test_every_file_is_read_back(sealed: Path, ring: Keyring) -> None:
    with opened(sealed, ring) as dataset:
        assert sorted(FILES, key=str.encode) == list(dataset.members)
        for name, data in FILES.items():
            assert dataset.read(name) == data
            with dataset.open(name) as stream:
                assert stream.read() == data
        assert verify(dataset).problems == []


def test_one_file_is_a_dataset(tmp_path: Path, ring: Keyring) -> None:
    source = write_files(tmp_path, {"table.csv": b"a,b\n1,2\n"})
    sealed_at(tmp_path / "sealed", source / "table.csv", ring)
    with opened(tmp_path / "sealed", ring) as dataset:
        text = io.TextIOWrapper(dataset.open("table.csv"), newline="")
        assert list(csv.reader(text)) == [["a", "b"], ["1", "2"]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, plain: Path, ring: Keyring) -> SealedDataset:
    folder = tmp_path_factory.mktemp("shared") / "sealed"
    sealed_at(folder, plain, ring)
    return opened(folder, ring)


POSITIONS = st.integers(0, 5 * CHUNK + 40) | st.sampled_from(
    [CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK, 5 * CHUNK + 16, 5 * CHUNK + 17]
)


@given(reads=st.lists(st.tuples(POSITIONS, st.integers(0, 2 * CHUNK + 3)), max_size=6))
def test_reads_at_offsets_are_those_of_the_plain_file(
    shared: SealedDataset, reads: list[tuple[int, int]]
) -> None:
    with shared.open("c") as stream, io.BytesIO(FILES["c"]) as plain:
        for position, count in reads:
            assert stream.seek(position) == plain.seek(position)
            assert stream.read(count) == plain.read(count)
            assert stream.tell() == plain.tell()


def test_seeking_is_that_of_a_file(shared: SealedDataset) -> None:
    with shared.open("b-more") as stream:
        assert stream.seek(-1, io.SEEK_END) == CHUNK
        assert stream.read() == FILES["b-more"][-1:]
        assert stream.seek(-2, io.SEEK_CUR) == CHUNK - 1
        assert stream.read(5) == FILES["b-more"][-2:]
        with pytest.raises(ValueError, match="0 or more"):
            stream.raw.seek(-1)
        assert not stream.writable()


def test_numpy_reads_arrays_and_archives(tmp_path: Path, ring: Keyring) -> None:
    values = np.arange(300_000, dtype=np.float32).reshape(-1, 3)
    (tmp_path / "plain").mkdir()
    np.save(tmp_path / "plain/values.npy", values)
    np.savez(tmp_path / "plain/values.npz", values=values)
    sealed_at(tmp_path / "sealed", tmp_path / "plain", ring)
    with opened(tmp_path / "sealed", ring) as dataset:
        with dataset.open("values.npy") as stream:
            assert np.array_equal(np.load(stream, allow_pickle=False), values)
        with dataset.open("values.npz") as stream:
            assert np.array_equal(np.load(stream, allow_pickle=False)["values"], values)


def test_threads_share_a_dataset(shared: SealedDataset) -> None:
    with ThreadPoolExecutor(4) as pool:
        for name, data in zip(FILES, pool.map(shared.read, FILES), strict=True):
            assert data == FILES[name]


def _read_all(dataset: SealedDataset, out: "multiprocessing.SimpleQueue[bool]") -> None:
    out.put(all(dataset.read(name) == data for name, data in FILES.items()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_process_reads(shared: SealedDataset, method: str) -> None:
    context = multiprocessing.get_context(method)
    answers = context.SimpleQueue()
    process = context.Process(target=_read_all, args=(shared, answers))
    process.start()
    assert answers.get() is True
    process.join()


def test_a_dataset_cannot_be_pickled_into_a_file(shared: SealedDataset) -> None:
    from multiprocessing.reduction import ForkingPickler

    with pytest.raises(RuntimeError, match="through inheritance"):
        ForkingPickler.dumps(shared)


def test_a_file_that_is_not_there_is_named(shared: SealedDataset) -> None:
    with pytest.raises(DatasetMissing, match="has no file 'x'"):
        shared.read("x")


def test_what_lies_there_says_nothing_of_names_or_contents(sealed: Path, ring: Keyring) -> None:
    sealed_bytes = b"".join(path.read_bytes() for path in sealed.iterdir())
    for name, data in FILES.items():
        for piece in (name.encode(), data[:16], data[-16:]):
            assert len(piece) < 4 or piece not in sealed_bytes


def test_the_same_data_twice_gives_other_bytes_and_another_digest(
    tmp_path: Path, plain: Path, ring: Keyring
) -> None:
    heads = [sealed_at(tmp_path / name, plain, ring) for name in ("x", "y")]
    assert heads[0].dataset != heads[1].dataset
    assert heads[0].digest != heads[1].digest
    assert heads[0].body_size == heads[1].body_size


def test_sealing_and_reading_are_audit_events(sealed: Path, ring: Keyring) -> None:
    with opened(sealed, ring) as dataset:
        name = dataset.head.name
    (log,) = [audit_path(ring._path)]
    assert [event["subject"] for event in read_events(log)[-2:]] == [
        f"seal dataset {name}",
        f"read dataset {name}",
    ]
