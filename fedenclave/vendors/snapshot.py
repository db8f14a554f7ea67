"""Write fetched files as one new snapshot of a bundle: whole, or not at all."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from fedenclave.attestation.collateral import SNAPSHOT_FORMAT
from fedenclave.protocol.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9._/-]+")


def write_snapshot(bundle: Path, files: Mapping[str, bytes], now: int) -> Path:
    """Write `files` below `bundle`, in a folder named by the time, and return that folder.

    Args:
        bundle: the bundle's folder; made if it is not there.
        files: contents by name, with slashes.
        now: Unix seconds.

    Raises:
        ConfigurationError: there is a snapshot of that second already, or it cannot be written.
    """
    snapshot = bundle / datetime.fromtimestamp(now, UTC).strftime(SNAPSHOT_FORMAT)
    if snapshot.exists():
        raise ConfigurationError(f"{snapshot} exists already", hint="try again in a second")
    for name in files:
        # Names are made from what evidence says: none may lead out of the bundle, or be one that
        # nobody can read back.
        if ".." in PurePosixPath(name).parts or name.startswith("/") or not _NAME.fullmatch(name):
            raise ConfigurationError(f"collateral would be written as {name[:200]!r}")
    try:
        bundle.mkdir(parents=True, exist_ok=True)
        # Beside the bundle and not in it: a reader would take an unfinished folder for a snapshot.
        with tempfile.TemporaryDirectory(dir=bundle.parent, prefix=".collateral-") as place:
            made = Path(place) / snapshot.name
            for name, data in files.items():
                path = made / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            made.mkdir(exist_ok=True)
            shutil.move(made, snapshot)
    except OSError as error:
        raise ConfigurationError(f"cannot write {snapshot}: {error.strerror}") from error
    return snapshot
