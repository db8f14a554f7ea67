"""The released models on this host's disk: `round-N.fem`, the newest two.

A new model is written beside, over the file of a model that nobody needs any more: its pages are in
memory (see `store`). Then it is renamed: a file under a round's name is whole.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fedenclave.host.journal import flush_file, flush_folder
from fedenclave.host.optimiser_files import Opened
from fedenclave.protocol.model import Model, model_file_head

T = TypeVar("T")


class ModelFiles:
    """The models in a folder."""

    def __init__(self, folder: Path, first: Model, *, flushed: bool) -> None:
        """Use `folder`, made if missing, for models like `first`.

        Raises:
            OSError: it cannot be used.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._flushed = folder, flushed
        self.head = model_file_head(first.schema)
        self._size = len(self.head) + first.schema.payload_size
        self._rounds = sorted(filter(None, map(_round_of, folder.glob("round-*.fem"))))

    def begin(self, first: Model) -> None:
        """Forget every model that lies there, and begin with the first one.

        Raises:
            OSError: it cannot be written.
        """
        for round_ in self._rounds:
            self._path(round_).unlink(missing_ok=True)
        self._rounds = []
        self._partial.write_bytes(first.to_bytes())
        if self._flushed:
            flush_file(self._partial)
        self._partial.replace(self._path(0))
        if self._flushed:
            flush_folder(self._folder)

    @property
    def round(self) -> int:
        """The round that released the newest one; 0 for the first model."""
        return self._rounds[-1] if self._rounds else 0

    @property
    def newest(self) -> Path:
        """Its file."""
        return self._path(self.round)

    def _path(self, round_: int) -> Path:
        return self._folder / f"round-{round_}.fem"

    @property
    def _partial(self) -> Path:
        return self._folder / "next.partial"

    def write(self, round_: int, fill: Callable[[int], T]) -> T:
        """Have `fill` write a model's payload behind the head, and let it be that of `round_`.

        Whatever fails, the newest model is what it was before. Returns what `fill` does.

        Raises:
            OSError: the disk refuses.
        """
        self._recycle()
        with Opened(self._partial, os.O_RDWR | os.O_CREAT) as model:
            os.ftruncate(model.number, self._size)
            os.pwrite(model.number, self.head, 0)
            filled = fill(model.number)
            if self._flushed:
                os.fsync(model.number)
        self._partial.replace(self._path(round_))
        if self._flushed:
            flush_folder(self._folder)
        self._rounds.append(round_)
        return filled

    def _recycle(self) -> None:
        """Turn the model before the newest into the file that is written next."""
        known = [0, *self._rounds]
        for round_ in known[:-1]:
            with contextlib.suppress(OSError):
                self._path(round_).replace(self._partial)
        self._rounds = [round_ for round_ in known[-1:] if round_]


def _round_of(path: Path) -> int:
    digits = path.stem.removeprefix("round-")
    return int(digits) if digits.isascii() and digits.isdecimal() else 0
