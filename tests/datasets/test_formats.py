"""The formats that hospitals and banks have, read by their own libraries out of sealed datasets."""

import importlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fedenclave.datasets.lineage import Lineage
from fedenclave.datasets.torch_loader import SealedFiles
from fedenclave.keys.keyring import Keyring
from tests.datasets.conftest import opened, sealed_at


def test_a_folder_of_images_is_decoded_and_trained_on(tmp_path: Path, ring: Keyring) -> None:
    image = pytest.importorskip("PIL.Image")
    random = np.random.default_rng(3)
    for i in range(40):
        path = tmp_path / f"scans/{'ill' if i % 2 else 'well'}/{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 100, (8, 8), dtype=np.uint8) + np.uint8(100 * (i % 2))
        image.fromarray(pixels).save(path)
    sealed_at(tmp_path / "sealed", tmp_path / "scans", ring)

    def decode(name: str, stream: io.BufferedReader) -> tuple[torch.Tensor, int]:
        pixels = np.asarray(image.open(stream), dtype=np.float32) / 255
        return torch.from_numpy(pixels).reshape(-1), int(name.startswith("ill/"))

    torch.manual_seed(1)
    model = torch.nn.Linear(64, 2)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.2)
    with opened(tmp_path / "sealed", ring) as dataset:
        loader = DataLoader(
            SealedFiles(dataset, decode, suffixes=(".png",)), batch_size=8, shuffle=True
        )
        for _ in range(30):
            for pixels, labels in loader:
                optimiser.zero_grad()
                torch.nn.functional.cross_entropy(model(pixels), labels).backward()
                optimiser.step()
        right = sum(int((model(x).argmax(1) == y).sum()) for x, y in loader)
        lineage = Lineage.of(dataset.digest).then("scale", divisor=255)
    assert right >= 38
    assert len(lineage.digest) == 32


def test_parquet_is_read_by_columns(tmp_path: Path, ring: Keyring) -> None:
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        pytest.skip("pyarrow is not installed: pip install pyarrow")
    values = np.random.default_rng(4).normal(size=200_000)
    table = arrow.table({"amount": values, "branch": np.arange(200_000)})
    parquet.write_table(table, tmp_path / "loans.parquet", row_group_size=10_000)
    sealed_at(tmp_path / "sealed", tmp_path / "loans.parquet", ring)
    with opened(tmp_path / "sealed", ring) as dataset, dataset.open("loans.parquet") as stream:
        file = parquet.ParquetFile(stream)
        assert file.num_row_groups == 20
        column = file.read_row_group(7, columns=["branch"]).column("branch").to_numpy()
        assert np.array_equal(column, np.arange(70_000, 80_000))
        assert np.array_equal(file.read().column("amount").to_numpy(), values)
