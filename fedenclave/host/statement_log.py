"""Everything that the enclave has signed, on this host's disk: a log file that only grows.

It is the log that members mirror and auditors walk. The enclave's sealed state holds the statements
of the newest segment, too: what a crash has cut off here is written again from there. So a full
disk may keep the file behind the enclave for the length of a round, and no longer.

SPEC.md, section 7.1.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from fedenclave.host.store import StoreFull
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.log_file import MAGIC, LogDamaged, LogTorn, frame, read_log, unframed
from fedenclave.protocol.merkle import Tree
from fedenclave.protocol.signing import statement_digest
from fedenclave.protocol.statements import Checkpoint


class StatementLog:
    """The file, and the digests of what is in it."""

    def __init__(self, path: Path, *, flushed: bool) -> None:
        """Open `path`, or begin it; an entry that was not written whole is cut off.

        Raises:
            OSError: it cannot be used.
            ConfigurationError: it is damaged.
        """
        self._path, self._flushed = path, flushed
        self._descriptor = -1
        self._open()

    def _open(self) -> None:
        self._forget()
        if self._path.exists() and self._path.stat().st_size:
            self._read()
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self.rewind(len(self.leaves))

    def _forget(self) -> None:
        self.leaves: list[Digest] = []
        self._ends = [len(MAGIC)]
        self._unwritten = b""

    def _read(self) -> None:
        try:
            with self._path.open("rb") as stream:
                for entry in read_log(stream):
                    self._note(entry.unverified)
        except LogTorn:
            pass  # nobody has been told of it: `rewind` cuts it off
        except LogDamaged as error:
            raise ConfigurationError(
                f"{self._path} is damaged: {error.message}",
                hint="put it back from a member's mirror or a backup",
            ) from error

    def _note(self, signed: bytes) -> None:
        self.leaves.append(statement_digest(signed))
        self._ends.append(self._ends[-1] + len(frame(signed)))

    def begin(self) -> None:
        """Begin a new log; an older one, of another enclave, is kept beside it.

        Raises:
            OSError: it cannot be written.
        """
        if not self.leaves:
            return
        self._path.replace(self._path.with_name(f"statements-{self.leaves[0].hex()[:16]}.fel"))
        self.close()
        self._open()

    def rewind(self, count: int) -> None:
        """Keep the first `count` statements.

        Raises:
            OSError: the file cannot be written.
        """
        del self.leaves[count:], self._ends[count + 1 :]
        os.ftruncate(self._descriptor, self._ends[-1])
        os.pwrite(self._descriptor, MAGIC, 0)

    def end_as(self, first: int, signed: Sequence[bytes], end: Checkpoint) -> None:
        """End as the enclave's sealed state does: with `signed`, from leaf `first` on.

        Raises:
            ConfigurationError: the statements before are not all there, or not those of `end`.
        """
        restore = "put statements.fel back from a member's mirror or a backup"
        if len(self.leaves) < first:
            raise ConfigurationError(
                f"the log has {len(self.leaves)} statements, and the enclave's state goes on from "
                f"{first}",
                hint=restore,
            )
        self.rewind(first)
        self.append(*signed)
        if self.tree().root(end.size) != end.root:
            raise ConfigurationError(
                f"the log's {end.size} statements are not those that the enclave signed",
                hint=restore,
            )

    def append(self, *signed: bytes) -> None:
        """Add statements. What the disk refuses is written with the next ones, or by `flush`."""
        for each in signed:
            self._note(each)
        self._unwritten += b"".join(map(frame, signed))
        with contextlib.suppress(OSError):
            self._write()

    def _write(self) -> None:
        while self._unwritten:
            at = self._ends[-1] - len(self._unwritten)
            written = os.pwrite(self._descriptor, self._unwritten, at)
            self._unwritten = self._unwritten[written:]

    def statements(self) -> list[bytes]:
        """Return everything signed so far.

        Raises:
            OSError: the file cannot be read, or what is missing of it not written.
        """
        self._write()
        with self._path.open("rb") as stream:
            return [entry.unverified for entry in read_log(stream)]

    def flush_or_refuse(self) -> None:
        """Have on the disk what the next segment builds on.

        Raises:
            StoreFull: the disk does not take it.
        """
        try:
            self.flush()
        except OSError as error:
            raise StoreFull(
                f"cannot write the log: {error.strerror}",
                hint="free disk space and try again: nothing has changed",
            ) from error

    def part(self, first: int, end: int) -> bytes:
        """Return statements `first` to `end` (excluded) as they stand in the file.

        Raises:
            OSError: the file cannot be read, or what is missing of it not written.
        """
        self._write()
        last = len(self._ends) - 1
        start, stop = (self._ends[min(number, last)] for number in (first, end))
        data = b""
        while len(data) < stop - start:
            more = os.pread(self._descriptor, stop - start - len(data), start + len(data))
            if not more:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            data += more
        return data

    def backwards(self) -> Iterator[bytes]:
        """Yield what was signed, the newest first.

        Raises:
            OSError: the file cannot be read, or what is missing of it not written.
        """
        self._write()
        for end, begin in pairwise(self._ends[::-1]):
            yield unframed(os.pread(self._descriptor, end - begin, begin))

    def tree(self) -> Tree:
        """Return the log's Merkle tree, for proofs."""
        tree = Tree()
        for leaf in self.leaves:
            tree.append(leaf)
        return tree

    def flush(self) -> None:
        """Return once the disk has all of it.

        Raises:
            OSError: the disk refuses.
        """
        self._write()
        if self._flushed:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
