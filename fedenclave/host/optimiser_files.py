"""Where the server optimiser's sealed state lies: a file that counts, and one in the making."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

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
    """The sealed state of the server optimiser: the file that counts, and the one being written."""

    def __init__(self, folder: Path, manifest: bytes) -> None:
        """Find out whether there is any; what an earlier enclave left is of no use any more."""
        self._folder, self._wanted = folder, False
        try:
            rules = Manifest.from_bytes(manifest).rules
        except ConfigurationError:
            return  # the enclave says so
        self._wanted = not isinstance(rules.server, NoOptimiser)
        if self._wanted:
            folder.mkdir(parents=True, exist_ok=True)
            self._current.write_bytes(b"")

    @property
    def _current(self) -> Path:
        return self._folder / "state.sealed"

    @property
    def _next(self) -> Path:
        return self._folder / "next.partial"

    @contextlib.contextmanager
    def opened(self) -> Iterator[Sequence[int]]:
        """Open both, the old one to read; nothing where the federation has no optimiser."""
        if not self._wanted:
            yield ()
            return
        with (
            Opened(self._current, os.O_RDONLY) as old,
            Opened(self._next, os.O_RDWR | os.O_CREAT) as new,
        ):
            yield old.number, new.number

    def promote(self) -> None:
        """Let the one that was written count: its round is released."""
        if self._wanted:
            self._next.replace(self._current)
