"""Files that are there wholly or not at all, and stay there when the power fails.

A file is written under a name that nothing reads, synced, and given its own name; then its folder
is synced, without which a crash could still lose the name.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes, *, mode: int, replace: bool) -> None:
    """Write `data` to `path`, in the place of what is there if `replace`.

    Raises:
        FileExistsError: something is there, and is not to be replaced.
        OSError: it cannot be written; what was there before still is.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)  # noqa: PTH105 - both names are strings here
        else:
            # Unlike a rename, a link never takes the place of what another process has written.
            Path(path).hardlink_to(temporary)
            os.unlink(temporary)  # noqa: PTH108
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
        raise


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable.

    Raises:
        OSError: the folder cannot be read.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def why(error: OSError) -> str:
    """Return what went wrong, in words that name no path."""
    if error.errno == errno.EFBIG:
        return "the file would be larger than this process may write"
    return error.strerror or str(error)
