"""Witnesses of the operator's choice: each is asked to cosign every new checkpoint of the log.

Rules:
  * Nobody is asked who is not in the configuration.
  * No round waits for a witness, nor one witness for another: each has a thread of its own.
  * Only a cosignature that holds, by the configured key, over the text that is published now is
    added to the note.
  * What goes wrong is said once a witness and kind, until that witness has cosigned again.

SPEC.md, section 7.3.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from fedenclave.host.add_checkpoint import (
    Asker,
    HttpAsker,
    OtherSize,
    WitnessFailed,
    checked_url,
    request_body,
)
from fedenclave.host.checkpoint_file import CheckpointFile
from fedenclave.protocol.checkpoint_note import verify_checkpoint, witness_key
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.merkle import Tree
from fedenclave.protocol.signed_note import NoteKey, Signature, SignedNote
from fedenclave.protocol.toml_table import Table

MAX_WITNESSES = 32
"""A note may have 100 signatures, and whoever asks for more gets a file that nobody reads."""

_ATTEMPTS = 3
"""Of one checkpoint in a row: the first may begin at the wrong size, the rest at one told."""

_CLOSING_SECONDS = 2.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """Where a witness takes checkpoints, and the key that it cosigns with."""

    url: str
    key: NoteKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds: between two looks at the note, and before the second attempt and the later ones."""

    look: float = 0.5
    first: float = 30.0
    most: float = 3600.0


PATIENCE = Patience()
HTTP = HttpAsker()


def read_witnesses(table: Table) -> tuple[Witness, ...]:
    """Return the witnesses in a table of tables, by their names.

    Raises:
        ConfigurationError: an address or a key is not usable, or two have one key.
    """
    witnesses = tuple(_read_witness(table, name) for name in table.names())
    if len(witnesses) > MAX_WITNESSES:
        raise ConfigurationError(
            f"{table.where} names {len(witnesses)} witnesses, want at most {MAX_WITNESSES}"
        )
    if len({witness.key.key for witness in witnesses}) != len(witnesses):
        raise ConfigurationError(
            f"{table.where} has one key for two witnesses",
            hint="that would be one witness that counts twice",
        )
    return witnesses


def _read_witness(table: Table, name: str) -> Witness:
    named = table.take_table(name)
    url, text = checked_url(named.take_text("url")), named.take_text("key")
    named.finish()
    try:
        key = witness_key(text)
    except MalformedMessage as error:
        raise ConfigurationError(
            f"{named.where} key cannot be used: {error.message}",
            hint=error.hint or "the witness publishes it: name+id+base64, on one line",
        ) from error
    if key.name != name:
        raise ConfigurationError(
            f"{named.where} has the key of {key.name}, want one of {name}",
            hint="the table's name is the witness's own",
        )
    return Witness(url=url, key=key)


class Witnesses:
    """Asks for cosignatures as long as it is open."""

    def __init__(
        self,
        witnesses: Sequence[Witness],
        *,
        log_key: NoteKey,
        file: CheckpointFile,
        leaves: Callable[[int], Sequence[Digest]],
        asker: Asker = HTTP,
        patience: Patience = PATIENCE,
    ) -> None:
        """Begin to ask.

        Args:
            witnesses: whom; there may be none.
            log_key: the enclave's, whose name is the log's origin.
            file: the newest note, where cosignatures go.
            leaves: gives the log's leaves from a number on.
            asker: how to ask.
            patience: when to ask again.
        """
        proofs = _Proofs(leaves)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(
                target=_Inquiry(witness, log_key, file, proofs, asker, patience).run,
                args=(self._stop,),
                name=f"witness {witness.key.name}",
                daemon=True,  # one that is being waited for must not hold up the end
            )
            for witness in witnesses
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Ask nobody any more."""
        self._stop.set()
        end = time.monotonic() + _CLOSING_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


class _Proofs:
    """The log's tree, for all witnesses; it is read up to where it has to be proved."""

    def __init__(self, leaves: Callable[[int], Sequence[Digest]]) -> None:
        self._leaves, self._tree = leaves, Tree()
        self._lock = threading.Lock()

    def consistency(self, old_size: int, new_size: int) -> tuple[Digest, ...]:
        with self._lock:
            if self._tree.size < new_size:
                for leaf in self._leaves(self._tree.size):
                    self._tree.append(leaf)
            return self._tree.consistency_proof(old_size, new_size)


class _Inquiry:
    """What one witness has been asked, and when it is asked again."""

    def __init__(
        self,
        witness: Witness,
        log_key: NoteKey,
        file: CheckpointFile,
        proofs: _Proofs,
        asker: Asker,
        patience: Patience,
    ) -> None:
        self._witness, self._log_key = witness, log_key
        self._file, self._proofs, self._asker = file, proofs, asker
        self._patience = patience
        self._cosigned = self._tried = ""
        """Texts: of the newest checkpoint that it has cosigned, and that it was asked about."""
        self._size = 0
        """Of the log that it has cosigned last, as far as is known here."""
        self._delay = self._again_at = 0.0
        self._said: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        """Ask until `stop` is set. Whatever goes wrong is logged, and ends nothing."""
        self._take_up(self._file.note)
        while not stop.wait(self._patience.look):
            note = self._file.note
            if not note:
                continue
            text = SignedNote.from_bytes(note).unverified_text
            if text == self._cosigned or (
                text == self._tried and time.monotonic() < self._again_at
            ):
                continue
            self._ask_about(note, text)

    def _take_up(self, note: bytes) -> None:
        """Know what an earlier run of this host was given."""
        try:
            noted = verify_checkpoint(note, self._log_key, [self._witness.key])
        except MalformedMessage:
            return  # there is no note yet, or one that has to be cosigned anew
        if noted.witnesses:
            self._cosigned = SignedNote.from_bytes(note).unverified_text
            self._size = noted.checkpoint.size

    def _ask_about(self, note: bytes, text: str) -> None:
        if text != self._tried:
            self._tried, self._delay = text, 0.0
        try:
            size, signature = self._cosignature(note, text)
        except WitnessFailed as failed:
            self._fail(failed)
        except Exception:
            # A defect of ours must not end the thread: the next checkpoint may go through.
            self._fail(WitnessFailed("defect", "asking it failed here"), defect=True)
        else:
            self._cosigned, self._size = text, size
            self._said.clear()
            key = self._witness.key
            self._file.add(lambda current: _with(signature, key, text, current))
            _LOG.info("checkpoint of %s entries cosigned by %s", size, key.name)

    def _fail(self, failed: WitnessFailed, *, defect: bool = False) -> None:
        first, most = self._patience.first, self._patience.most
        self._delay = min(self._delay * 2 or first, most)
        self._again_at = time.monotonic() + self._delay
        if failed.kind not in self._said:
            self._said.add(failed.kind)
            hint = f": {failed.hint}" if failed.hint else ""
            said = f"witness {self._witness.key.name} does not cosign: {failed.message}{hint}"
            _LOG.warning("%s", said, exc_info=defect)

    def _cosignature(self, note: bytes, text: str) -> tuple[int, Signature]:
        """Return the checkpoint's size and the witness's line, which holds.

        Raises:
            WitnessFailed: there is none.
        """
        size = verify_checkpoint(note, self._log_key).checkpoint.size
        own = _signed_by(note, self._log_key)
        for _ in range(_ATTEMPTS):
            old = min(self._size, size)
            body = request_body(old, self._proofs.consistency(old, size), own)
            try:
                return size, self._checked(self._asker.ask(self._witness.url, body), text)
            except OtherSize as other:
                if other.size > size:
                    raise WitnessFailed(
                        "ahead",
                        f"it has cosigned {other.size} entries of this log, and here are {size}",
                        hint="the enclave's state was wound back, or another host has its key",
                    ) from other
                if other.size == old == size:
                    raise _forked(size) from other
                self._size = other.size
        raise WitnessFailed("conflict", "it names another size each time that it is asked")

    def _checked(self, answer: bytes, text: str) -> Signature:
        """Return the newest of the witness's own lines in an answer; other keys' are passed over.

        Raises:
            WitnessFailed: there is none, or one does not hold.
        """
        key = self._witness.key
        try:
            parsed = SignedNote.from_bytes(f"{text}\n".encode() + answer)
            # An answer with a blank line in it would be of another text.
            if parsed.unverified_text != text:
                raise MalformedMessage("its answer is not lines of signatures")
            times = parsed.verified_by(key)
        except MalformedMessage as error:
            raise WitnessFailed("answer", f"its answer does not hold: {error.message}") from error
        if not times:
            raise WitnessFailed(
                "answer",
                f"its answer has no cosignature of {key.name} with key id {key.id.hex()}",
                hint="has the witness changed its key?",
            )
        own = [each for each in parsed.signatures if _is_of(each, key)]
        return own[times.index(max(times))]


def _forked(size: int) -> WitnessFailed:
    return WitnessFailed(
        "forked",
        f"it has cosigned another log of {size} entries",
        hint="the enclave was wound back or forked: compare the members' copies "
        "(`fedenclave log denounce`)",
    )


def _is_of(signature: Signature, key: NoteKey) -> bool:
    return (signature.name, signature.key_id) == (key.name, key.id)


def _signed_by(note: bytes, key: NoteKey) -> bytes:
    """Return the note with the lines of one key alone: what others wrote is not for a witness."""
    parsed = SignedNote.from_bytes(note)
    own = tuple(each for each in parsed.signatures if _is_of(each, key))
    return replace(parsed, signatures=own).to_bytes()


def _with(signature: Signature, key: NoteKey, text: str, note: bytes) -> bytes:
    """Return the note with a line in place of older ones of its key; another text stays as it is.

    The next round may have ended while the witness was asked.
    """
    current = SignedNote.from_bytes(note)
    if current.unverified_text != text:
        return note
    others = [each for each in current.signatures if not _is_of(each, key)]
    return replace(current, signatures=(*others, signature)).to_bytes()
