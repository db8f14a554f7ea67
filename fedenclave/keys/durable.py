"""Files that are there wholly or not at all, and stay there when the power fails.

A file is written under a name that nothing reads, synced, and given its own name; then its folder
is synced, without which a crash could still lose the name. A process that is killed in between
leaves the other name, with all that was written: `sweep` deletes those.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import tempfile
from pathlib import Path


def write_whole(path: Path, data: bytes, *, mode: int, replace: bool) -> None:
    """Write `data` to `path`, in the place of what is there if `replace`.

    Raises:
        FileExistsError: something is there, and is not to be replaced.
        OSError: it cannot be written; what was there before still is.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            # Unlike a rename, a link never takes the place of what another process has written.
            path.hardlink_to(temporary)
            temporary.unlink()
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def sweep(path: Path) -> list[str]:
    """Delete what killed writes of `path` have left; return the names, sorted.

    Call it where nobody writes `path`: it cannot tell a killed write from one that goes on.

    Raises:
        OSError: one cannot be deleted, or the folder not be read.
    """
    found = leftovers(path)
    for name in found:
        path.with_name(name).unlink(missing_ok=True)
    if found:
        sync_folder(path.parent)
    return found


def leftovers(path: Path) -> list[str]:
    """Return the names of what writes of `path`, killed or going on, have made beside it.

    Raises:
        OSError: the folder cannot be read.
    """
    # mkstemp's eight characters, and no dot: `.a.b.12345678` is of the file a.b, and not of a.
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}")
    return sorted(entry.name for entry in path.parent.iterdir() if pattern.fullmatch(entry.name))


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
