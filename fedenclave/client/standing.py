"""Where a client stands, read from its folder: its state, its rules, its copy of the log.

Unlike a session this changes nothing, also where the next manifest waits to take its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedenclave.attestation.endorsements import read_endorsements
from fedenclave.audit.noted import verify_note
from fedenclave.client.files import read_file
from fedenclave.client.folder import CHECKPOINT_FILE, LOG_FILE, ClientFolder
from fedenclave.client.state import ClientState, read_state
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.log_file import MAGIC
from fedenclave.protocol.manifest import approving_members
from fedenclave.protocol.signed_note import SignedNote
from fedenclave.protocol.signing import PublicKey


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a client remembers of its rounds: the newest sealed for, and those with none ended."""

    sealed_round: int
    released_round: int
    awaited: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The manifest in force and its approvals, and those approved to come; digests as text.

    `own` is whether the client's owner is among those who approve.
    """

    name: str
    digest: str
    approvals: int
    threshold: int
    own: bool
    next: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCopy:
    """The copy of the log, and its newest note: size, root, cosignatures, which nobody has checked.

    `noted_size` is 0 where no note is kept. The copy's bytes are not gone through: they were
    compared with the enclave's root when they came, and `fedenclave log verify` does so again.
    """

    entries: int
    size_bytes: int
    noted_size: int
    noted_root: str
    unverified_cosignatures: int


def stored(folder: ClientFolder) -> ClientState | None:
    """Return the client's state; None before its first round.

    Raises:
        ConfigurationError: it is damaged, or cannot be read.
    """
    data = folder.load_state()
    return None if data is None else read_state(data)


def state_of(folder: ClientFolder) -> State:
    """Return what the client remembers of its rounds.

    Raises:
        ConfigurationError: the state is damaged, or cannot be read.
    """
    state = stored(folder)
    if state is None:
        return State(sealed_round=0, released_round=0, awaited=())
    awaited = tuple(part.round for part in state.pending)
    return State(sealed_round=state.sealed_round, released_round=state.head_round, awaited=awaited)


def rules_in_force(folder: ClientFolder) -> Rules:
    """Return by which rules the client goes.

    Raises:
        ConfigurationError: there are none, or they cannot be read.
    """
    manifest = folder.manifest()
    approving = approving_members(manifest, folder.approvals(manifest))
    return Rules(
        name=manifest.name,
        digest=to_text(manifest.digest),
        approvals=len(approving),
        threshold=manifest.threshold,
        own=folder.identity().member in approving,
        next=tuple(to_text(digest) for digest in folder.next()),
    )


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC))
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {path}: {error.strerror}", hint="may this user read it?"
        ) from error


def log_copy(folder: ClientFolder) -> LogCopy:
    """Return how far the copy of the log reaches.

    Raises:
        ConfigurationError: the file is shorter than the client remembers, is no log at all, or
            the state is damaged.
        CheckpointRefused: the note that is kept is not of the enclave that the client follows.
    """
    state = stored(folder)
    path, note_path = folder.path / LOG_FILE, folder.path / CHECKPOINT_FILE
    size = path.stat().st_size if path.exists() else 0
    if path.exists() and _beginning(path) != MAGIC:
        raise ConfigurationError(
            f"{path} does not begin as a log does",
            hint="put it back from a backup, or from another member's folder",
        )
    entries = state.log_size if state is not None else 0
    if state is not None and entries and size < state.log_bytes:
        raise ConfigurationError(
            f"{LOG_FILE} has {size} bytes, want {state.log_bytes}: its end is missing",
            hint="put it back from a backup, or from another member's folder: the bytes are the "
            "same",
        )
    noted_size, root, cosignatures = 0, "", 0
    if state is not None and state.enclave_key and note_path.exists():
        note = read_file(note_path, "checkpoint")
        noted = verify_note(note, folder.manifest().name, PublicKey(state.enclave_key))
        noted_size, root = noted.checkpoint.size, to_text(noted.checkpoint.root)
        cosignatures = len(SignedNote.from_bytes(note).signatures) - 1
    return LogCopy(
        entries=entries,
        size_bytes=size,
        noted_size=noted_size,
        noted_root=root,
        unverified_cosignatures=cosignatures,
    )


def last_own_time(folder: ClientFolder) -> int:
    """Return the latest time (Unix seconds) that this client has written down; 0 for none.

    Raises:
        ConfigurationError: the state is damaged, or cannot be read.
    """
    state = stored(folder)
    if state is None:
        return 0
    asked = (issued.time for issued in state.nonces)
    return max((*asked, *(part.time for part in state.pending)), default=0)


def check_endorsements(folder: ClientFolder) -> str:
    """Read collateral and revocations as a session does, and say what is there.

    Raises:
        ConfigurationError: what is there cannot be read, or too few members signed the list.
    """
    others = [*folder.former(), *folder.next().values()]
    held = read_endorsements(folder.path, folder.manifest(), others)
    revoked = "no list of revocations"
    if held.revocations is not None:
        revoked = f"list of revocations {held.revocations.serial}"
    return f"{len(held.collateral.names)} files of vendors, {revoked}"
