"""Open a file that must be one: what is put in its place keeps no reader waiting."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def open_regular(path: Path, *, follow: bool) -> int:
    """Open a file for reading, and return its descriptor.

    A pipe without a writer would keep `open` waiting for ever, and a device has no end.

    Args:
        path: the file.
        follow: whether a symbolic link in its place is followed.

    Raises:
        OSError: it cannot be opened, or is no file; or a link, if those are not followed.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.ELOOP, "it is a symbolic link, want a file") from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(code, "it is no file")
    return descriptor
