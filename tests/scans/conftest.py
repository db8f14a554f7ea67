"""Made-up pictures of one hospital, in a folder and sealed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'fedenclave[demo]'")
pytest.importorskip("PIL", reason="pillow is not installed: pip install 'fedenclave[demo]'")

from PIL import Image

from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.node_data import NodeData
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import Options, seal
from fedenclave.keys.keyring import create_keyring
from gallery.made_up import draw_images
from scans.holdings import PARTS, SIDE
from tests.keys.conftest import CHEAP, PASSPHRASE

PICTURES = 40


def write_pictures(folder: Path, seed: int, count: int = PICTURES) -> Path:
    """Write pictures of made-up shapes, two kinds of them, into all parts."""
    for number, part in enumerate(PARTS):
        pixels, kinds = draw_images(10 * count, seed=seed, part=number)
        chosen = [row for row in range(len(kinds)) if kinds[row] < 2][:count]
        for row in chosen:
            target = folder / part / f"kind-{kinds[row]}"
            target.mkdir(parents=True, exist_ok=True)
            shape = (pixels[row].reshape(14, 14) * 255).astype(np.uint8).repeat(2, 0).repeat(2, 1)
            assert shape.shape == (SIDE, SIDE)
            Image.fromarray(shape).save(target / f"{row}.png")
    return folder


def sealed(folder: Path, plain: Path) -> NodeData:
    """Seal a folder in `folder`; return what node.toml would say of it."""
    folder.mkdir(exist_ok=True)
    ring = create_keyring(folder / "keyring", PASSPHRASE, cost=CHEAP)
    ring.create("node")
    (folder / "keyring.passphrase").write_bytes(PASSPHRASE)
    (folder / "keyring.passphrase").chmod(0o600)
    options = Options(clock=lambda: 1000.0)
    seal(LocalFiles(plain), LocalStore(folder / "sealed"), ring, "node", options)
    return NodeData(
        dataset="sealed", keys="keyring:keyring", passphrase_file="keyring.passphrase"
    ).below(folder)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("pictures"), seed=1)
