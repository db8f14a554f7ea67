"""What is to be sealed: a file, or a folder of files, read as it was when it was listed.

Rules:
  * A symbolic link is refused, by name: it would bring in what lies outside without anybody seeing.
  * So is whatever is neither file nor folder, and a name that is not UTF-8.
  * A file that is changed between listing and reading stops the seal: a dataset is one state of it.
  * Empty folders, times and modes are not kept.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedenclave.datasets.errors import SourceRefused
from fedenclave.datasets.layout import MAX_FILES
from fedenclave.datasets.names import name_problem
from fedenclave.keys.durable import why
from fedenclave.keys.regular_file import open_regular


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """A file to be sealed: its name in the dataset, with slashes, and its bytes."""

    name: str
    size: int


class Source(Protocol):
    """Plaintext to be sealed."""

    @property
    def files(self) -> Sequence[SourceFile]:
        """Return the files, sorted by the bytes of their names, each once."""
        ...

    def read_into(self, number: int, offset: int, into: memoryview) -> None:
        """Fill `into` with bytes of the file at index `number`, from `offset` on.

        Called from several threads.

        Raises:
            SourceRefused: it cannot be read, or is not as it was listed.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Found:
    path: str
    inode: int
    changed: int


class LocalFiles:
    """A file, or all files below a folder."""

    def __init__(self, root: Path) -> None:
        """List what is at `root`.

        Raises:
            SourceRefused: there is nothing, or something that cannot be sealed.
        """
        found = sorted(_walk(root), key=lambda item: item[0].name.encode())
        if not found:
            raise SourceRefused(f"{root} holds no file", hint="is it the right folder?")
        if len(found) > MAX_FILES:
            raise SourceRefused(f"{root} holds {len(found)} files, want at most {MAX_FILES}")
        self.files: Sequence[SourceFile] = [file for file, _ in found]
        self._found = [facts for _, facts in found]

    def read_into(self, number: int, offset: int, into: memoryview) -> None:
        """Fill `into`. See `Source`."""
        found, file = self._found[number], self.files[number]
        try:
            descriptor = open_regular(Path(found.path), follow=False)
        except OSError as error:
            raise _cannot_read(found.path, error) from error
        try:
            done = 0
            while done < len(into):
                count = os.preadv(descriptor, [into[done:]], offset + done)
                if count == 0:
                    break
                done += count
            facts = os.fstat(descriptor)
        except OSError as error:
            raise _cannot_read(found.path, error) from error
        finally:
            os.close(descriptor)
        now = (facts.st_size, facts.st_ino, facts.st_mtime_ns)
        if done < len(into) or now != (file.size, found.inode, found.changed):
            raise SourceRefused(
                f"{found.path} was changed while it was sealed: it has {facts.st_size} bytes, "
                f"had {file.size}",
                hint="seal it again when nothing writes to it",
            )


def _walk(root: Path) -> Iterator[tuple[SourceFile, _Found]]:
    try:
        facts = root.stat()
    except OSError as error:
        raise _cannot_read(str(root), error) from error
    if stat.S_ISREG(facts.st_mode):
        yield _named(root.name, str(root), facts)
    elif stat.S_ISDIR(facts.st_mode):
        yield from _walk_folders(str(root))
    else:
        raise SourceRefused(f"{root} is neither a file nor a folder")


def _walk_folders(root: str) -> Iterator[tuple[SourceFile, _Found]]:
    # One folder open at a time, and no call within a call: a path of 4096 bytes can be 2000 deep.
    folders = [(root, "")]
    while folders:
        folder, prefix = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append((entry.path, f"{prefix}{entry.name}/"))
                    else:
                        yield _file_at(entry, prefix + entry.name)
        except OSError as error:
            raise _cannot_read(folder, error) from error


def _file_at(entry: os.DirEntry[str], name: str) -> tuple[SourceFile, _Found]:
    if entry.is_symlink():
        raise SourceRefused(
            f"{entry.path} is a symbolic link",
            hint="put what it points to in its place, or take it out: nothing from outside the "
            "folder is sealed unseen",
        )
    if not entry.is_file(follow_symlinks=False):
        raise SourceRefused(f"{entry.path} is neither a file nor a folder", hint="take it out")
    return _named(name, entry.path, entry.stat(follow_symlinks=False))


def _named(name: str, path: str, facts: os.stat_result) -> tuple[SourceFile, _Found]:
    if problem := name_problem(name):
        raise SourceRefused(f"{path!r} cannot be sealed: {problem}", hint="rename it")
    file = SourceFile(name=name, size=facts.st_size)
    return file, _Found(path, facts.st_ino, facts.st_mtime_ns)


def _cannot_read(path: str, error: OSError) -> SourceRefused:
    return SourceRefused(
        f"cannot read {path}: {why(error)}", hint="is the path right, and may this user read it?"
    )
