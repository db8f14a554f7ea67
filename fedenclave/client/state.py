"""What a client remembers between messages, as one record that is written whole.

SPEC.md, section 13.9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from fedenclave.protocol.digests import Digest, to_text
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.exchange import MAX_OFFER, Participation
from fedenclave.protocol.log_file import MAGIC
from fedenclave.protocol.records import Record
from fedenclave.protocol.statements import Checkpoint

MAX_NONCES = 8
MAX_PENDING = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedNonce(Record):
    """A nonce that was sent out, and when (Unix seconds)."""

    nonce: bytes
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundEnd(Record):
    """How the log ends with the end of a round, by the client's copy."""

    round: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientState(Record):
    """Everything; `enclave_key` is empty and the checkpoint list too before the first round.

    `log_size`, `log_roots` and `log_bytes` are those of the client's copy of the log: statements,
    roots of the complete subtrees (joined), and bytes of the file that count. `log_round` is the
    round that was announced behind it, and `ends` are those in it of rounds in `pending`.
    `manifest` is the one that this client goes by, `log_manifest` the one that the copy ends under,
    and `former` are those that the copy was under before.
    """

    MAX_SIZE: ClassVar[int] = MAX_OFFER * MAX_PENDING

    manifest: Digest
    enclave_key: bytes
    head_round: int
    head_model: Digest
    sealed_round: int
    checkpoint: tuple[Checkpoint, ...]
    log_size: int
    log_roots: bytes
    log_bytes: int
    log_round: int
    log_manifest: bytes
    former: tuple[Digest, ...]
    ends: tuple[RoundEnd, ...]
    nonces: tuple[IssuedNonce, ...]
    pending: tuple[Participation, ...]

    def newer(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the newer of `checkpoint` and the one held."""
        return max((*self.checkpoint, checkpoint), key=lambda c: c.size)

    def newest_or(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint held, or `checkpoint` where none is."""
        return self.checkpoint[0] if self.checkpoint else checkpoint


def fresh_state(manifest: Digest, initial_model: Digest) -> ClientState:
    """Return the state of a client that has not taken part yet."""
    return ClientState(
        manifest=manifest,
        enclave_key=b"",
        head_round=0,
        head_model=initial_model,
        sealed_round=0,
        checkpoint=(),
        log_size=0,
        log_roots=b"",
        log_bytes=len(MAGIC),
        log_round=0,
        log_manifest=b"",
        former=(),
        ends=(),
        nonces=(),
        pending=(),
    )


def read_state(data: bytes) -> ClientState:
    """Return the state in a file's bytes.

    Raises:
        ConfigurationError: it is damaged.
    """
    try:
        return ClientState.from_bytes(data)
    except MalformedMessage as error:
        raise ConfigurationError(
            f"client state is damaged: {error.message}",
            hint="put back a copy of after its last round, and no older one: by that a host could "
            "have it seal twice for one round. without one: fedenclave client forget-chain, "
            "agreed with the members",
        ) from error


def stored_state(
    store: ClientStore, manifests: Sequence[Digest], initial_model: Digest
) -> ClientState:
    """Return the state in a store, or a fresh one where it holds none.

    Raises:
        ConfigurationError: it is damaged, or of none of these manifests, the newest first.
    """
    data = store.load_state()
    if data is None:
        return fresh_state(manifests[0], initial_model)
    state = read_state(data)
    if state.manifest not in manifests:
        raise ConfigurationError(
            f"client state belongs to manifest {to_text(state.manifest)}, want "
            f"{to_text(manifests[0])}, or one that this continues",
            hint="another federation needs another client folder; where several manifests followed "
            "each other, approve each of them",
        )
    return state


class ClientStore(Protocol):
    """Where a client's state and receipts go. `save_state` returns once the state is durable."""

    def load_state(self) -> bytes | None:
        """Return the encoded state, or None where there is none yet."""
        ...

    def save_state(self, data: bytes) -> None:
        """Replace the state, wholly or not at all."""
        ...

    def save_receipt(self, name: str, data: bytes) -> None:
        """Keep a receipt under a file name."""
        ...

    def save_log(self, entries: bytes, position: int) -> None:
        """Write `entries` at `position` of the copy of the log, and return once they are durable.

        What was there from `position` on counts no more.
        """
        ...

    def save_checkpoint(self, note: bytes) -> None:
        """Keep the newest note of the log, in place of an older one."""
        ...


class MemoryStore:
    """A store for simulations: lives as long as the object."""

    def __init__(self, state: bytes | None = None) -> None:
        """Begin with `state`."""
        self.state = state
        self.receipts: dict[str, bytes] = {}

    def load_state(self) -> bytes | None:
        """See `ClientStore`."""
        return self.state

    def save_state(self, data: bytes) -> None:
        """See `ClientStore`."""
        self.state = data

    def save_receipt(self, name: str, data: bytes) -> None:
        """See `ClientStore`."""
        self.receipts[name] = data

    def save_log(self, entries: bytes, position: int) -> None:
        """Keep nothing: a thousand simulated clients would keep a thousand copies."""

    def save_checkpoint(self, note: bytes) -> None:
        """Keep nothing, as of the log."""


Clock = Callable[[], float]
