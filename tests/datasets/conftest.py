"""A keyring, and a folder with files of every length at which something begins or ends."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fedenclave.cli.main import run
from fedenclave.datasets.head import Head
from fedenclave.datasets.layout import CHUNK
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.reader import SealedDataset, open_dataset
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.writer import Options, seal
from fedenclave.keys.keyring import Keyring, create_keyring
from tests.datasets.faults import SteadyKeys
from tests.keys.conftest import CHEAP, PASSPHRASE

LENGTHS = {
    "a/empty": 0,
    "a/one": 1,
    "b-less": CHUNK - 1,
    "b-whole": CHUNK,
    "b-more": CHUNK + 1,
    "c": 5 * CHUNK + 17,
    "ü/ö\nä": 1000,
}
OPTIONS = Options(clock=lambda: 1000.0)


def content(size: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


FILES = {name: content(size, i) for i, (name, size) in enumerate(LENGTHS.items())}
SMALL = {"a": b"abc" * 1000, "b": b""}


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("plain"), FILES)


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    made = create_keyring(tmp_path_factory.mktemp("keys") / "keyring", PASSPHRASE, cost=CHEAP)
    made.create("node")
    return made


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_files(tmp_path / "small", SMALL)


@pytest.fixture
def keys() -> SteadyKeys:
    return SteadyKeys()


def sealed_at(folder: Path, source: Path, ring: Keyring) -> Head:
    return seal(LocalFiles(source), LocalStore(folder), ring, "node", OPTIONS)


def opened(folder: Path, ring: Keyring) -> SealedDataset:
    return open_dataset(LocalStore(folder), ring)


@pytest.fixture
def sealed(tmp_path: Path, plain: Path, ring: Keyring) -> Path:
    folder = tmp_path / "sealed"
    sealed_at(folder, plain, ring)
    return folder


def part(folder: Path, name: str) -> Path:
    """Return the one file of a sealed dataset whose name begins so."""
    (found,) = [path for path in folder.iterdir() if path.name.startswith(name)]
    return found


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def node(tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a keyring, its passphrase's file and data; the environment names them."""
    create_keyring(tmp_path / "keyring", PASSPHRASE, cost=CHEAP).create("node")
    (tmp_path / "passphrase").write_bytes(PASSPHRASE + b"\n")
    (tmp_path / "passphrase").chmod(0o600)
    shutil.copytree(plain, tmp_path / "plain")
    monkeypatch.setenv("FEDENCLAVE_KEYRING", str(tmp_path / "keyring"))
    monkeypatch.setenv("FEDENCLAVE_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def fedenclave(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Command:
    def command(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["fedenclave", *map(str, words)])
        capfdbinary.readouterr()
        status = run()
        printed = capfdbinary.readouterr()
        return Ended(status, printed.out.decode("latin-1"), printed.err.decode())

    return command
