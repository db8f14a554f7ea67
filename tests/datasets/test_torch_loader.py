"""A model trains on sealed data as on plain data, with workers, and nothing plain is written."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fedenclave.datasets.arrays import SealedArray
from fedenclave.datasets.errors import DatasetDamaged, DatasetMissing, SourceRefused
from fedenclave.datasets.reader import SealedDataset
from fedenclave.datasets.torch_loader import SealedFiles, SealedRows
from fedenclave.keys.keyring import Keyring
from tests.datasets.conftest import opened, part, sealed_at, write_files

ROWS = 3000
IMAGES = np.random.default_rng(1).integers(0, 256, (ROWS, 28, 28), dtype=np.uint8)
LABELS = np.arange(ROWS, dtype=np.int64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ring: Keyring) -> Path:
    source = tmp_path_factory.mktemp("arrays")
    np.save(source / "images.npy", IMAGES)
    np.save(source / "labels.npy", LABELS)
    np.save(source / "short.npy", LABELS[:10])
    np.save(source / "columns.npy", np.asfortranarray(IMAGES[:, :, 0]))
    np.save(source / "scalar.npy", np.float32(1))
    np.save(source / "none.npy", np.zeros((0, 3)))
    np.save(source / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    whole = (source / "labels.npy").read_bytes()
    write_files(source, {"cut.npy": whole[:-1], "table.csv": b"a,b\n"})
    write_files(source, {f"scans/{i % 3}/{i}.raw": bytes([i]) * 784 for i in range(60)})
    sealed_at(source.with_name("sealed"), source, ring)
    return source.with_name("sealed")


@pytest.fixture
def dataset(folder: Path, ring: Keyring) -> SealedDataset:
    return opened(folder, ring)


def test_rows_are_those_of_the_plain_array(dataset: SealedDataset) -> None:
    array = SealedArray(dataset, "images.npy")
    assert (array.shape, array.dtype, len(array)) == ((ROWS, 28, 28), np.uint8, ROWS)
    for row in (0, 1, 333, 334, 335, ROWS - 1, -1, -ROWS):
        assert np.array_equal(array[row], IMAGES[row])
    for rows in (slice(5, 5), slice(300, 700), slice(None), slice(-3, None), slice(9, 2)):
        assert np.array_equal(array[rows], IMAGES[rows])
    for row in (ROWS, -ROWS - 1):
        with pytest.raises(IndexError):
            array[row]
    with pytest.raises(ValueError, match="step"):
        array[::2]
    assert SealedArray(dataset, "none.npy")[:].shape == (0, 3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("columns.npy", "stored by columns"),
        ("scalar.npy", "no rows"),
        ("objects.npy", "no rows"),
        ("cut.npy", "has 24127 bytes, want 24128"),
        ("table.csv", "is no NumPy array"),
    ],
)
def test_what_has_no_rows_is_refused(dataset: SealedDataset, name: str, message: str) -> None:
    with pytest.raises(SourceRefused, match=message):
        SealedArray(dataset, name)
    with pytest.raises(DatasetMissing):
        SealedArray(dataset, "nothing.npy")


@pytest.mark.parametrize(("workers", "method"), [(0, None), (2, "fork"), (2, "forkserver")])
def test_a_loader_gives_every_row_once(
    dataset: SealedDataset, workers: int, method: str | None
) -> None:
    rows = SealedRows(dataset, ["images.npy", "labels.npy"])
    loader = DataLoader(
        rows,
        batch_size=256,
        shuffle=True,
        num_workers=workers,
        multiprocessing_context=method,
        generator=torch.Generator().manual_seed(1),
    )
    seen = []
    for images, labels in loader:
        assert torch.equal(images, torch.from_numpy(IMAGES[labels.numpy()]))
        seen += labels.tolist()
    assert seen != sorted(seen)
    assert sorted(seen) == list(range(ROWS))


def scan(name: str, stream: io.BufferedReader) -> tuple[torch.Tensor, int]:
    return torch.frombuffer(bytearray(stream.read()), dtype=torch.uint8), int(name.split("/")[1])


@pytest.mark.parametrize(("workers", "method"), [(0, None), (2, "fork"), (2, "spawn")])
def test_a_folder_of_files_is_a_dataset(
    dataset: SealedDataset, workers: int, method: str | None
) -> None:
    files = SealedFiles(dataset, scan, suffixes=(".raw",))
    assert len(files) == 60
    loader = DataLoader(files, batch_size=7, num_workers=workers, multiprocessing_context=method)
    values = [
        (int(p), int(t)) for pixels, ts in loader for p, t in zip(pixels[:, 0], ts, strict=True)
    ]
    assert sorted(values) == [(i, i % 3) for i in range(60)]
    with pytest.raises(SourceRefused, match="has no file with"):
        SealedFiles(dataset, scan, suffixes=(".png",))


def test_arrays_of_different_length_are_refused(dataset: SealedDataset) -> None:
    with pytest.raises(SourceRefused, match=r"\[3000, 10\] rows"):
        SealedRows(dataset, ["images.npy", "short.npy"])


def test_a_dataset_cannot_be_saved_with_its_key(dataset: SealedDataset, tmp_path: Path) -> None:
    from multiprocessing.reduction import ForkingPickler

    for item in (SealedRows(dataset, ["labels.npy"]), SealedFiles(dataset, scan)):
        with pytest.raises(RuntimeError, match="through inheritance"):
            ForkingPickler.dumps(item)


def open_files() -> list[str]:
    return sorted(str(path) for path in Path("/proc/self/fd").iterdir())


def test_reading_writes_no_file(
    dataset: SealedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = open_files()
    rows = SealedRows(dataset, ["images.npy"])
    assert len([row for (row,) in rows]) == ROWS  # type: ignore[attr-defined]
    assert open_files() == before
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_row_stops_the_loader_and_says_where(tmp_path: Path, ring: Keyring) -> None:
    np.save(tmp_path / "labels.npy", LABELS)
    sealed_at(tmp_path / "sealed", tmp_path / "labels.npy", ring)
    body = part(tmp_path / "sealed", "body")
    data = bytearray(body.read_bytes())
    data[-1] ^= 1
    body.write_bytes(data)
    with (
        opened(tmp_path / "sealed", ring) as dataset,
        pytest.raises(DatasetDamaged, match="chunk 0 of 1"),
    ):
        SealedRows(dataset, ["labels.npy"])
