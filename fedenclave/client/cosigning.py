"""A member as a witness: it cosigns a checkpoint of the log that its own copy is of.

Whoever reads the cosignature takes it for: at that time the member had seen no larger log of this
enclave, and none that this one does not go on from. The copy shows the second, for it has only ever
grown. For the first, no checkpoint older than the copy is signed.

SPEC.md, section 7.3.
"""

from __future__ import annotations

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.audit.noted import (
    CheckpointRefused,
    LogTooShort,
    check_in_log,
    log_key,
    verify_note,
)
from fedenclave.client.files import read_file, write_whole
from fedenclave.client.folder import LOG_FILE, ClientFolder
from fedenclave.client.state import ClientState
from fedenclave.protocol.checkpoint_note import cosign_checkpoint
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.signed_note import NoteKey, SignatureType, SignedNote
from fedenclave.protocol.signing import PublicKey, public_key
from fedenclave.protocol.statements import Checkpoint

COSIGNED_FILE = "cosigned.json"
"""In the client's folder: what it has cosigned last."""


def verifier_key(name: str, private_key: Ed25519PrivateKey) -> str:
    """Return what others know a witness by: its verifier key, as C2SP writes it.

    Raises:
        ConfigurationError: the name is none that a signature's line can carry.
    """
    try:
        key = NoteKey(name=name, key=public_key(private_key), type=SignatureType.COSIGNATURE)
    except MalformedMessage as error:
        raise ConfigurationError(
            error.message, hint="a host's name does, or one with a path: witness.example/member"
        ) from error
    return key.to_text()


def cosigned(
    note: bytes,
    folder: ClientFolder,
    enclave: PublicKey,
    *,
    name: str,
    private_key: Ed25519PrivateKey,
    time: int,
) -> bytes:
    """Return the note with this member's cosignature added.

    Args:
        note: a checkpoint's note.
        folder: the member's client folder, whose copy of the log decides.
        enclave: the key that the folder's receipts prove.
        name: the witness's.
        private_key: the witness's.
        time: Unix seconds, now.

    Raises:
        CheckpointRefused: the enclave has not signed it, the copy is of another log, does not reach
            so far, or the member has seen more.
        ConfigurationError: the name, the folder or its copy of the log cannot be used.
    """
    verifier_key(name, private_key)  # a name that will not do is refused before all else
    session = folder.session()
    federation = session.manifest.name
    checkpoint = verify_note(note, federation, enclave).checkpoint
    _check_copy(folder, session.state, checkpoint)
    key = log_key(federation, enclave)
    _check_last(folder, session.state, key.name, checkpoint)
    signed = cosign_checkpoint(note, key, name, private_key, time)
    try:
        SignedNote.from_bytes(signed)
    except MalformedMessage as error:
        raise CheckpointRefused(
            f"with one more cosignature nobody could read it: {error.message}",
            hint="ask the operator for the note without those of others",
        ) from error
    last = {**_last(folder), key.name: [checkpoint.size, checkpoint.root.hex()]}
    write_whole(folder.path / COSIGNED_FILE, json.dumps(last).encode())
    return signed


def _last(folder: ClientFolder) -> dict[str, list[Any]]:
    """Return size and root of what was cosigned last, by origin, also of a forgotten chain."""
    path = folder.path / COSIGNED_FILE
    if not path.exists():
        return {}
    try:
        return dict(json.loads(read_file(path, "list of what was cosigned")))
    except ValueError as error:
        raise ConfigurationError(
            f"{path} is damaged", hint="put it back from a backup: it keeps you from signing forks"
        ) from error


def _check_last(
    folder: ClientFolder, state: ClientState, origin: str, checkpoint: Checkpoint
) -> None:
    """Refuse what does not go on from the last checkpoint of that log that was cosigned here."""
    size, root = _last(folder).get(origin, (0, ""))
    if not size:
        return
    before = Checkpoint(size=size, root=Digest(bytes.fromhex(root)))
    if checkpoint.size < size:
        raise CheckpointRefused(
            f"the checkpoint is of {checkpoint.size} entries, and one of {size} was cosigned here",
            hint="it is an older one, or another log under the same name: keep both",
        )
    with (folder.path / LOG_FILE).open("rb") as stream:
        check_in_log(stream, before, entries=state.log_size)


def _check_copy(folder: ClientFolder, state: ClientState, checkpoint: Checkpoint) -> None:
    try:
        with (folder.path / LOG_FILE).open("rb") as stream:
            check_in_log(stream, checkpoint, entries=state.log_size)
    except LogTooShort as error:
        raise LogTooShort(
            f"the checkpoint is of {checkpoint.size} entries, and this client's copy of the log "
            f"has {state.log_size}",
            hint="the copy grows with the next round's offer, and with the last delivery",
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"cannot read this client's copy of the log: {error.strerror}",
            hint="it comes with the first round's offer; a lost one is put back from a backup",
        ) from error
    seen = max((state.log_size, *(held.size for held in state.checkpoint)))
    if checkpoint.size < seen:
        raise CheckpointRefused(
            f"the checkpoint is of {checkpoint.size} entries, and this client has seen {seen}",
            hint="a cosignature says that nothing newer was seen: ask the operator for the newest",
        )
