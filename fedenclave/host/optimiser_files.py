"""Where the server optimiser's sealed state lies: a file for each of the newest two releases.

Named after their rounds. The file before the newest is kept: where a release's model was not
written before a crash, it is computed again from there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedenclave.host.journal import flush_file, flush_folder
from fedenclave.protocol.aggregation import NoOptimiser
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.manifest import Manifest


class Opened:
    """A file descriptor for the length of a with block."""

    def __init__(self, path: Path, flags: int) -> None:
        """Open `path`, for this user alone where it is made."""
        self.number = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> Opened:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        os.close(self.number)


class OptimiserFiles:
    """The sealed state of the server optimiser."""

    def __init__(self, folder: Path, manifest: bytes) -> None:
        """Find out whether there is any.

        Raises:
            OSError: the folder cannot be made.
        """
        self._folder, self._wanted = folder, False
        try:
            rules = Manifest.from_bytes(manifest).rules
        except ConfigurationError:
            return  # the enclave says so
        self._wanted = not isinstance(rules.server, NoOptimiser)
        if self._wanted:
            folder.mkdir(parents=True, exist_ok=True)

    def _path(self, round_: int) -> Path:
        return self._folder / f"round-{round_}.sealed"

    @property
    def _next(self) -> Path:
        return self._folder / "next.partial"

    @contextlib.contextmanager
    def opened(self, base: int) -> Iterator[Sequence[int]]:
        """Open the state of the release of round `base` to read, and a new one to write.

        Before the first release it is empty. Without an optimiser there is nothing to open.
        """
        if not self._wanted:
            yield ()
            return
        flags = os.O_RDONLY if self._path(base).exists() else os.O_RDWR | os.O_CREAT
        with (
            Opened(self._path(base), flags) as old,
            Opened(self._next, os.O_RDWR | os.O_CREAT) as new,
        ):
            yield old.number, new.number

    def promote(self, round_: int, base: int, *, flushed: bool) -> None:
        """Let the one that was written count for the release of `round_`, which follows `base`.

        Done before: nothing happens.
        """
        if not self._wanted or not self._next.exists():
            return
        if flushed:
            flush_file(self._next)
        self._next.replace(self._path(round_))
        if flushed:
            flush_folder(self._folder)
        for path in self._folder.glob("round-*.sealed"):
            if path not in (self._path(round_), self._path(base)):
                path.unlink(missing_ok=True)
