"""What a checkpoint's note proves to a reader: signed by the enclave, and of the log at hand.

SPEC.md, section 7.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from fedenclave.protocol.checkpoint_note import (
    NotedCheckpoint,
    log_origin,
    verify_checkpoint,
    witness_key,
)
from fedenclave.protocol.digests import equal, to_text
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError, MalformedMessage
from fedenclave.protocol.log_file import read_log
from fedenclave.protocol.merkle import Frontier
from fedenclave.protocol.signed_note import NoteKey
from fedenclave.protocol.signing import PublicKey, statement_digest
from fedenclave.protocol.statements import Checkpoint


class CheckpointRefused(FedEnclaveError):
    """The note proves nothing to this reader, or not what was asked of it."""


class LogTooShort(CheckpointRefused):
    """The log at hand ends before the checkpoint: it cannot be compared yet."""


def log_key(federation: str, enclave: PublicKey) -> NoteKey:
    """Return the enclave's key as a note knows it."""
    return NoteKey(name=log_origin(federation, enclave), key=enclave)


def witness_keys(texts: Sequence[str]) -> list[NoteKey]:
    """Return the witnesses' keys in verifier keys.

    Raises:
        ConfigurationError: one is none, or two are of one name or have one key.
    """
    try:
        keys = [witness_key(text) for text in texts]
    except MalformedMessage as error:
        raise ConfigurationError(
            error.message, hint=error.hint or "a witness publishes its key as name+id+base64"
        ) from error
    for what in ({key.name for key in keys}, {key.key for key in keys}):
        if len(what) != len(keys):
            raise ConfigurationError(
                "two of the witnesses have one name or one key",
                hint="one witness counts once: name each once",
            )
    return keys


def verify_note(
    note: bytes, federation: str, enclave: PublicKey, witnesses: Sequence[NoteKey] = ()
) -> NotedCheckpoint:
    """Return what a note says after its signatures have been checked.

    Args:
        note: the note.
        federation: the name of the federation whose log it should be of.
        enclave: the key that is known for an enclave's.
        witnesses: from `witness_keys`.

    Raises:
        CheckpointRefused: the enclave has not signed it, or a known witness's line does not hold.
    """
    try:
        return verify_checkpoint(note, log_key(federation, enclave), witnesses)
    except MalformedMessage as error:
        raise CheckpointRefused(
            error.message,
            hint=error.hint or "the file was changed, or is no checkpoint; ask for it again",
        ) from error


def check_in_log(stream: BinaryIO, checkpoint: Checkpoint, *, entries: int | None = None) -> None:
    """Check that a checkpoint is of a log, as that was at the checkpoint's size.

    Args:
        stream: the log file, from its beginning.
        checkpoint: a signed one.
        entries: how many of the file's entries count; None for all.

    Raises:
        LogTooShort: the file ends before.
        CheckpointRefused: the log had another root at that size.
        LogDamaged: the file is no log up to there.
    """
    tree = Frontier()
    wanted = checkpoint.size if entries is None else min(checkpoint.size, entries)
    # Not one entry more: the next one may be cut, and is none of this checkpoint's business.
    log = read_log(stream)
    while tree.size < wanted and (entry := next(log, None)) is not None:
        tree.append(statement_digest(entry.unverified))
    if tree.size < checkpoint.size:
        raise LogTooShort(
            f"the checkpoint is of {checkpoint.size} entries, and the log at hand has {tree.size}",
            hint="compare a newer copy of the log, or an older checkpoint",
        )
    if not equal(tree.root(), checkpoint.root):
        raise CheckpointRefused(
            f"the checkpoint's root is {to_text(checkpoint.root)}, and the log at hand has "
            f"{to_text(tree.root())} at {checkpoint.size} entries",
            hint="if `fedenclave log verify` finds this log valid, the enclave has signed two: "
            "keep both files, which prove it, and tell the other members",
        )
