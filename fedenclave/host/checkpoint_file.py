"""The log's newest checkpoint, as a signed note in a file: what an operator publishes.

The enclave signs it after every round. Witnesses' signatures are added to it as they come; the next
round's end begins anew.

SPEC.md, section 7.3.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path

from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.signed_note import SignedNote


class CheckpointFile:
    """The file, and the note in it."""

    def __init__(self, path: Path) -> None:
        """Use `path`; what an earlier run has left there is taken up where it is a note."""
        self._path = path
        self._lock = threading.Lock()
        self._note = b""
        with contextlib.suppress(OSError, MalformedMessage):
            self._note = SignedNote.from_bytes(path.read_bytes()).to_bytes()

    @property
    def note(self) -> bytes:
        """The newest note; empty before there is one."""
        return self._note

    def renew(self, signed: bytes) -> None:
        """Take the enclave's own note; the signatures of witnesses stay with an equal text."""
        with self._lock:
            if not self._note or _text(self._note) != _text(signed):
                self._write(signed)

    @property
    def size(self) -> int:
        """How many entries the note is of, as it says itself; 0 before there is one."""
        lines = _text(self._note).splitlines() if self._note else []
        return int(lines[1]) if len(lines) > 1 and lines[1].isdecimal() else 0

    def add(self, change: Callable[[bytes], bytes]) -> None:
        """Let `change` add to the note that is there now."""
        with self._lock:
            self._write(change(self._note))

    def _write(self, note: bytes) -> None:
        self._note = note
        partial = self._path.with_suffix(".partial")
        # The disk may be full: the enclave signs the same checkpoint again at the next start.
        with contextlib.suppress(OSError):
            partial.write_bytes(note)
            partial.replace(self._path)


def _text(note: bytes) -> str:
    return SignedNote.from_bytes(note).unverified_text
