"""Write an initial file system as Linux unpacks it: a cpio archive, "new ASCII" format.

Rules:
  * The same content gives the same bytes on every machine: names are sorted, times and owners are
    zero, inodes are numbered.
  * Nothing is compressed, so that one changed byte in a file is one changed byte in the archive.

Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import stat
from collections.abc import Mapping
from dataclasses import dataclass

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"
_ALIGNMENT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file, a folder or a link; `data` is a file's content, or where a link leads."""

    mode: int
    data: bytes = b""


FOLDER = Entry(mode=stat.S_IFDIR | 0o755)


def program(data: bytes) -> Entry:
    """Return a file that everybody can read and execute."""
    return Entry(mode=stat.S_IFREG | 0o755, data=data)


def link(target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(mode=stat.S_IFLNK | 0o777, data=target.encode())


def pack(entries: Mapping[str, Entry]) -> bytes:
    """Return the archive of `entries`, by their paths without a leading slash.

    Folders in which an entry lies are added.
    """
    complete = dict(entries)
    for path in entries:
        parts = path.split("/")[:-1]
        complete |= {"/".join(parts[: i + 1]): FOLDER for i in range(len(parts))}
    archive = bytearray()
    for number, path in enumerate(sorted(complete), start=1):
        _append(archive, path, complete[path], number)
    _append(archive, _TRAILER, Entry(mode=0), 0)
    return bytes(archive)


def _append(archive: bytearray, path: str, entry: Entry, number: int) -> None:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    # Inode, mode, owner, group, links, time, size, four device numbers, size of the name, checksum.
    fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    archive += _MAGIC + b"".join(b"%08X" % field for field in fields) + name
    archive += bytes(-len(archive) % _ALIGNMENT)
    archive += entry.data
    archive += bytes(-len(archive) % _ALIGNMENT)
