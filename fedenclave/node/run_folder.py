"""The private folder of a node's programs: a new one each time the SuperNode is started.

It holds the secret by which the SuperNode knows its launcher, the key and the certificate by which
launcher and apps know the SuperNode, Flower's home, and what apps write to TMPDIR.

Rules:
  * A name in the temporary folder that is gone may be anybody's the next moment. So none is used
    again: a folder that was taken away is replaced by another one, with another secret and key.
  * A folder is locked while it is in use (flock), which systemd's cleaning of /tmp respects.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from fedenclave.client.files import write_whole
from fedenclave.node.runtime_api import make_identity
from fedenclave.protocol.errors import ConfigurationError

PREFIX = "fedenclave-node-"
SECRET, CERTIFICATE, KEY = "launcher-secret", "supernode.pem", "supernode.key"


class RunFolder:
    """Holds one folder at a time, and removes it when the next one is made."""

    def __init__(self, announce: Callable[[Path], None]) -> None:
        """Make nothing yet.

        Args:
            announce: is told of each folder before anything is in it.
        """
        self._announce = announce
        self._path: Path | None = None
        self._descriptor = -1

    @property
    def path(self) -> Path:
        """The folder in use.

        Raises:
            ValueError: there is none.
        """
        if self._path is None:
            raise ValueError("no folder was made yet")
        return self._path

    def renew(self) -> None:
        """Make another folder, with all that the two programs need, and remove the one before.

        Raises:
            ConfigurationError: it cannot be written; then there is none.
        """
        self.remove()
        try:
            path = Path(tempfile.mkdtemp(prefix=PREFIX))
        except OSError as error:
            raise ConfigurationError(
                f"cannot make a folder in {tempfile.gettempdir()}: {error.strerror}",
                hint="is there room, and may this user write there?",
            ) from error
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            self._announce(path)
            certificate, key = make_identity()
            contents = ((SECRET, secrets.token_bytes(32)), (CERTIFICATE, certificate), (KEY, key))
            for name, content in contents:
                write_whole(path / name, content, mode=0o600)
        except (OSError, ConfigurationError) as error:
            self.remove()
            raise ConfigurationError(f"cannot write {path}: {error}") from error

    def is_there(self) -> bool:
        """Say whether the folder in use is still where it was made."""
        if self._path is None:
            return False
        try:
            found, held = self._path.lstat(), os.fstat(self._descriptor)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)

    def is_whole(self) -> bool:
        """Say whether a program can be started with it."""
        return self.is_there() and all(
            (self.path / name).is_file() for name in (SECRET, CERTIFICATE, KEY)
        )

    def remove(self) -> None:
        """Remove the folder in use, if there is one and nobody has put another in its place."""
        if self.is_there():
            shutil.rmtree(self.path, ignore_errors=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._path, self._descriptor = None, -1


def clear_left_behind(folder: Path) -> None:
    """Remove the folder of a run that was killed, if it is one, and this user's."""
    with contextlib.suppress(OSError):
        facts = folder.lstat()
        made_here = folder.parent == Path(tempfile.gettempdir())
        ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid()
        if made_here and ours and folder.name.startswith(PREFIX):
            shutil.rmtree(folder)
