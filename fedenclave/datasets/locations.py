"""Where a user says that datasets are: a path of this machine, or a URL of another storage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedenclave.datasets.errors import StorageFailed
from fedenclave.datasets.layout import HEAD
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.store import Store
from fedenclave.keys.durable import why

if TYPE_CHECKING:
    from fedenclave.datasets.remote_store import RemoteStore


def is_remote(location: str) -> bool:
    """Return whether `location` is a URL of another storage, and no path."""
    return "://" in location


def store_at(location: str) -> Store:
    """Return the store of one dataset; nothing is looked at yet.

    Raises:
        StorageFailed: it is a URL that cannot be used here.
    """
    return _remote(location) if is_remote(location) else LocalStore(Path(location))


def stores_in(location: str) -> Sequence[Store]:
    """Return the store at `location`, if that is a dataset, or those of all folders in it.

    Raises:
        StorageFailed: it cannot be looked at, or is a URL that cannot be used here.
    """
    if is_remote(location):
        remote = _remote(location)
        return [remote] if remote.holds_dataset() else remote.folders()
    folder = Path(location)
    try:
        if (folder / HEAD).is_file():
            return [LocalStore(folder)]
        return [LocalStore(entry) for entry in sorted(folder.iterdir()) if entry.is_dir()]
    except OSError as error:
        raise StorageFailed(
            f"cannot read {folder}: {why(error)}",
            hint="is the path right, and may this user read it?",
        ) from error


def _remote(url: str) -> RemoteStore:
    try:
        # Whoever has all data on local disks needs no fsspec.
        from fedenclave.datasets.remote_store import RemoteStore
    except ImportError as error:
        raise StorageFailed(
            f"{url} needs fsspec, which is not installed",
            hint="pip install 'fedenclave[data]', and the storage's own package, such as s3fs",
        ) from error
    return RemoteStore(url)
