"""Datasets of two small files, made anew for each fault and each order of calls."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fsspec")

from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.reader import open_dataset
from fedenclave.datasets.remote_store import RemoteStore
from fedenclave.datasets.rotate import reencrypt, rewrap
from fedenclave.datasets.source import LocalFiles
from fedenclave.datasets.verify import verify
from fedenclave.datasets.writer import Options, seal
from fedenclave.protocol.errors import FedEnclaveError
from tests.datasets.conftest import SMALL
from tests.datasets.faults import OBJECT_CALLS, Hook, Hooked, SteadyKeys

OPTIONS = Options(clock=lambda: 1000.0, threads=1)

OPERATIONS: dict[str, Callable[[Any, SteadyKeys, Path], object]] = {
    "seal": lambda store, keys, plain: seal(LocalFiles(plain), store, keys, "node", OPTIONS),
    "rewrap": lambda store, keys, plain: rewrap(store, keys, "node"),
    "reencrypt": lambda store, keys, plain: reencrypt(store, keys, "node", OPTIONS),
}
EXPECTED = (FedEnclaveError, KeyboardInterrupt, OSError, TimeoutError)
"""What an operation that meets a fault may end in."""


def is_whole(store: LocalStore | RemoteStore, keys: SteadyKeys) -> bool:
    with open_dataset(store, keys) as dataset:
        return (
            verify(dataset).problems == []
            and {name: bytes(dataset.read(name)) for name in dataset.members} == SMALL
        )


class Folders:
    """Datasets in folders: a fresh one for each fault, from one that was sealed once."""

    def __init__(self, base: Path, small: Path, keys: SteadyKeys) -> None:
        self._base, self._made = base, 0
        self.template = base / "template"
        seal(LocalFiles(small), LocalStore(self.template), keys, "node", OPTIONS)

    def fresh(self, *, sealed: bool) -> Path:
        self._made += 1
        folder = self._base / str(self._made)
        if sealed:
            shutil.copytree(self.template, folder)
        return folder


class Bucket:
    """Datasets in fsspec's memory, through a hook."""

    made = 0

    def __init__(self, name: str) -> None:
        Bucket.made += 1
        self.url = f"memory://{name}-{Bucket.made}/x"

    def store(self, hook: Hook | None = None) -> RemoteStore:
        store = RemoteStore(self.url)
        if hook is not None:
            store._system = Hooked(store._storage(), hook, OBJECT_CALLS)
        return store
