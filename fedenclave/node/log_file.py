"""A log of bounded size: the file, and the one before it."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from fedenclave.protocol.errors import ConfigurationError

MAX_BYTES = 8 * 1024 * 1024


class LogFile:
    """Appends lines with their time. A full disk loses lines, and stops nothing."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Open it, readable for its owner alone.

        Raises:
            ConfigurationError: it cannot be written.
        """
        self._path, self._max_bytes = path, max_bytes
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._append("")
        except OSError as error:
            raise ConfigurationError(
                f"cannot write log {path}: {error.strerror}", hint="may this user write there?"
            ) from error

    def write(self, line: str) -> None:
        """Append one line."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self._lock, suppress(OSError):
            if self._path.exists() and self._path.stat().st_size > self._max_bytes:
                self._path.replace(self._path.with_name(f"{self._path.name}.before"))
            self._append(f"{stamp} {line}\n")

    def _append(self, text: str) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
