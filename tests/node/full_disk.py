"""A disk that is full: after so many files were made durable, no further one is."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def full_after(files: int, *, below: Path = Path("/")) -> Iterator[None]:
    """Let `files` files be flushed to the disk, and refuse the next ones as a full disk does.

    Only those below a folder count, and are refused.
    """
    real, left = os.fsync, [files]

    def flush(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and name.is_relative_to(below.resolve()):
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left[0] -= 1
        real(descriptor)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", flush)
        yield
