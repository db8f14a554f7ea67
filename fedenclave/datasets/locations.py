"""Where a user says that datasets are: a path of this machine, or a URL of another storage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedenclave.datasets.errors import StorageFailed
from fedenclave.datasets.layout import HEAD
from fedenclave.datasets.local_store import LocalStore
from fedenclave.datasets.store import Store
from fedenclave.keys.durable import why


def store_at(location: str) -> Store:
    """Return the store of one dataset; nothing is looked at yet."""
    return LocalStore(Path(location))


def stores_in(location: str) -> Sequence[Store]:
    """Return the store at `location`, if that is a dataset, or those of all folders in it.

    Raises:
        StorageFailed: it cannot be looked at.
    """
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
