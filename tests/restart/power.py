"""What a power failure would take: every change that the disk has not been asked to keep.

Only what was flushed counts: a file's content by `fsync` or `fdatasync` of the file, a name (made,
changed or removed) by `fsync` of its folder. A file system may keep more, and need not.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedenclave.host.enclave_process import EnclaveProcess

WRITES = ("write", "pwrite", "ftruncate")
FLUSHES = ("fsync", "fdatasync")
WRITTEN_BY_THE_ENCLAVE = ("close", "repeat", "fetch")


class Power:
    """Knows at each moment what is unflushed below a folder, and says so at every event."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: Path, told: Callable[[str], None]
    ) -> None:
        """Call `told` with each event's name: `ask OPERATION`, `answer OPERATION`, `rename PATH`.

        `ask` comes before a request goes to the enclave, `answer` after its answer and before
        anybody learns of it, `rename` before a file gets its new name.
        """
        self._folder, self._told = folder, told
        self.contents: set[str] = set()
        self.names: set[str] = set()
        self.flushed: list[str] = []
        for name in (*WRITES, *FLUSHES):
            monkeypatch.setattr(os, name, self._on_descriptor(name, getattr(os, name)))
        for name in ("replace", "rename"):
            monkeypatch.setattr(os, name, self._renaming(getattr(os, name)))
        monkeypatch.setattr(os, "open", self._opening(os.open))
        monkeypatch.setattr(os, "unlink", self._unlinking(os.unlink))
        monkeypatch.setattr(EnclaveProcess, "request", self._asking(EnclaveProcess.request))

    def _path(self, path: object) -> str | None:
        path = Path(str(path))
        return str(path.relative_to(self._folder)) if self._folder in path.parents else None

    def _named(self, path: str) -> None:
        self.names.add(str(Path(path).parent))

    def _on_descriptor(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(descriptor: int, *rest: Any) -> Any:
            found = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            result = real(descriptor, *rest)
            path = "." if found == str(self._folder) else self._path(found)
            if path is not None and name in WRITES:
                self.contents.add(path)
            elif path is not None:
                self.flushed.append(path)
                self.contents.discard(path)
                if name == "fsync":
                    self.names.discard(path)
            return result

        return call

    def _renaming(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(source: object, target: object, **keywords: Any) -> None:
            old, new = self._path(source), self._path(target)
            if old is not None and new is not None:
                self._told(f"rename {new}")
            real(source, target, **keywords)
            if old is not None and new is not None:
                self.contents.discard(new)
                if old in self.contents:
                    self.contents.remove(old)
                    self.contents.add(new)
                self._named(new)

        return call

    def _opening(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *rest: Any, **keywords: Any) -> int:
            made = bool(flags & os.O_CREAT) and not Path(path).exists()
            descriptor = real(path, flags, *rest, **keywords)
            inside = self._path(path)
            if made and inside is not None:
                self._named(inside)
            return descriptor

        return call

    def _unlinking(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(path: Any, **keywords: Any) -> None:
            real(path, **keywords)
            inside = self._path(path)
            if inside is not None:
                self.contents.discard(inside)

        return call

    def _asking(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def request(process: EnclaveProcess, operation: Any, *rest: Any, **more: Any) -> Any:
            self._told(f"ask {operation}")
            result = real(process, operation, *rest, **more)
            if operation in WRITTEN_BY_THE_ENCLAVE:
                self.contents |= self._writable(rest[2])
            self._told(f"answer {operation}")
            return result

        return request

    def _writable(self, descriptors: Sequence[int]) -> set[str]:
        """Return the files that the enclave may have written to."""
        found = {
            self._path(Path(f"/proc/self/fd/{number}").readlink())
            for number in descriptors
            if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        }
        # The state before is opened so only where it was made just now, and is empty.
        return {path for path in found if path is not None and path.endswith(".partial")}

    def unflushed(self, *folders: str) -> set[str]:
        """Return what a power failure would take from these folders, by path."""
        return {p for p in self.contents | self.names if p.split("/")[0] in folders}
