"""One process at a time changes a dataset in a folder: `flock` on a file that is there meanwhile.

Rules:
  * The lock goes with the process, so that one that was killed locks nobody out.
  * Nobody waits: who finds it taken is told so, and nothing was changed.
  * The file is deleted by whoever holds it, and only then let go of. Who has opened it before, and
    gets the lock of a file that is gone, begins anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fedenclave.datasets.errors import DatasetBusy, DatasetMissing, StorageFailed
from fedenclave.keys.durable import why

LOCK = ".lock"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder's lock.

    Raises:
        DatasetBusy: another process holds it.
        DatasetMissing: there is no such folder.
        StorageFailed: no lock can be had there.
    """
    path = folder / LOCK
    descriptor = _taken(path)
    try:
        yield
    finally:
        try:
            with contextlib.suppress(OSError):
                path.unlink()
        finally:
            os.close(descriptor)


def _taken(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        try:
            descriptor = os.open(path, flags, 0o600)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DatasetMissing(
                f"there is no {path.parent}", hint="fedenclave data list shows those in a folder"
            ) from error
        except OSError as error:
            raise _no_lock(path, why(error)) from error
        try:
            if _locked(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _locked(descriptor: int, path: Path) -> bool:
    """Lock an open file; return whether it is still the one at `path`."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DatasetBusy(
            f"another process is changing the dataset in {path.parent}",
            hint="a rotation or a cleaning: call again once it is done. nothing was changed",
        ) from error
    except OSError as error:
        raise _no_lock(path, why(error)) from error
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise _no_lock(path, "it is no file")
    try:
        now = path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _no_lock(path, why(error)) from error
    return (now.st_dev, now.st_ino) == (facts.st_dev, facts.st_ino)


def _no_lock(path: Path, reason: str) -> StorageFailed:
    return StorageFailed(
        f"cannot lock {path}: {reason}",
        hint="nothing was changed. may this user write there, has the file system locks?",
    )
