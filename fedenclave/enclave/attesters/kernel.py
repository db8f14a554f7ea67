"""The one door to the kernel: files that are no files, ioctls, and where they lie.

Attesters ask this and nothing else, so that a test can stand in for a kernel, errors included.
Every method raises OSError as the kernel does. A file under /sys or /dev answers system call by
system call, so nothing is buffered here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path


class Kernel:
    """This machine's kernel."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Look for everything below `root`."""
        self._root = root

    def path(self, absolute: str) -> Path:
        """Return where `absolute` lies."""
        return self._root / absolute.lstrip("/")

    def exists(self, path: Path) -> bool:
        """Say whether something is there; OSError where this user may not even look."""
        return self._mode(path) is not None

    def is_folder(self, path: Path) -> bool:
        """Say whether a folder is there; OSError where this user may not even look."""
        mode = self._mode(path)
        return mode is not None and stat.S_ISDIR(mode)

    def _mode(self, path: Path) -> int | None:
        # Not by pathlib: from Python 3.14 on, its `exists` and `is_dir` pass over EACCES, too.
        try:
            return os.stat(path).st_mode  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: Path, limit: int) -> bytes:
        """Return a file's content; OSError (EFBIG) where it has more than `limit` bytes."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            content = bytearray()
            while part := os.read(descriptor, limit + 1 - len(content)):
                content += part
                if len(content) > limit:
                    raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
            return bytes(content)
        finally:
            os.close(descriptor)

    def write(self, path: Path, content: bytes) -> None:
        """Write `content` in one system call, as these interfaces want it."""
        descriptor = os.open(path, os.O_WRONLY)
        try:
            if os.write(descriptor, content) != len(content):
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        finally:
            os.close(descriptor)

    def make_folder(self, path: Path) -> None:
        """Make a folder, which in configfs makes an object of the kernel's."""
        path.mkdir()

    def remove_folder(self, path: Path) -> None:
        """Remove a folder, and in configfs the object with its files."""
        path.rmdir()

    def ioctl(self, device: Path, request: int, argument: bytearray) -> None:
        """Send one request to a device; the kernel answers in `argument`."""
        descriptor = os.open(device, os.O_RDWR)
        try:
            fcntl.ioctl(descriptor, request, argument)
        finally:
            os.close(descriptor)
