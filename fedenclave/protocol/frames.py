"""What host and enclave say to each other over their one stream socket.

A frame is a 4-byte length and a record. Bulk never travels in a frame: an update or a model comes
as a file descriptor beside it, which the enclave reads into its own memory.

SPEC.md, section 12.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import MalformedMessage, Reason, Refusal
from fedenclave.protocol.key_release import KeyChallenge
from fedenclave.protocol.records import Record
from fedenclave.protocol.statements import Checkpoint

LENGTH = struct.Struct(">I")
MAX_FRAME = 64 << 20


class Operation(StrEnum):
    """What the host can ask."""

    ASK = "ask"
    UNLOCK = "unlock"
    START = "start"
    RESUME = "resume"
    EVIDENCE = "evidence"
    OPEN = "open"
    ADMIT = "admit"
    ATTACH = "attach"
    CLOSE = "close"
    FETCH = "fetch"
    REPEAT = "repeat"
    ABORT = "abort"
    REPORT = "report"
    TOTAL = "total"
    EXPORT = "export"
    MERGE = "merge"
    ADOPT = "adopt"
    EVALUATED = "evaluated"
    SHUTDOWN = "shutdown"
    TELL = "tell"
    NOTE = "note"
    AMEND = "amend"
    STATUS = "status"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request(Record):
    """A request: the operation's name and its encoded record."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    operation: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Record):
    """An answer: the operation's encoded result, or a refusal (then `body` is empty).

    `transition` is what the host must have on its disk before it passes anything of this on; see
    `segment.py`. Where the enclave has to see that first, `held` says that `tell` gives the body.
    """

    MAX_SIZE: ClassVar[int] = 2 * MAX_FRAME + (1 << 20)

    refusal: str
    body: bytes
    transition: bytes
    held: bool

    def __post_init__(self) -> None:
        """Refuse a refusal that is not in the closed list."""
        if self.refusal and self.refusal not in tuple(Refusal):
            raise MalformedMessage("reply names an unknown refusal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Empty(Record):
    """Nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskRequest(Record):
    """Make a request to the key services. `challenges` are theirs, in the manifest's order."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    manifest: bytes
    challenges: tuple[KeyChallenge, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Record):
    """An encoded `KeyRequest`; empty where this machine seals its state by itself."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    request: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlockRequest(Record):
    """Take what the key services have answered: signed `KeyRelease`s, in the manifest's order."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    answers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest(Record):
    """Take up a federation. Beside it: the first model's file."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    manifest: bytes
    approvals: tuple[bytes, ...]
    schema: bytes
    payload_offset: int
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Record):
    """What the enclave is: its key, the signed start, the protections it could switch on."""

    signing_key: bytes
    start: bytes
    measurement: Digest
    protections: tuple[str, ...]
    warnings: tuple[str, ...]
    sealing: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeRequest(Record):
    """Go on where an earlier run was. Beside it: the newest model's file, the newest segment's.

    `log_size` is how many of the enclave's statements the host has.
    """

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    manifest: bytes
    approvals: tuple[bytes, ...]
    schema: bytes
    payload_offset: int
    log_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Record):
    """What the enclave is, and what its segment holds.

    `size` is how much of the segment counts. `statements` are those that the host lacks, from
    number `first_leaf` on; with them its log is that of `log`. `awaits` are the updates whose files
    must be attached, `closed` is the encoded `Closed` of a release that nobody has opened a round
    after, or empty.
    """

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    started: Started
    size: int
    first_leaf: int
    statements: tuple[bytes, ...]
    log: Checkpoint
    awaits: tuple[Digest, ...]
    closed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRequest(Record):
    """Make evidence over `nonce`, the Merkle root of the clients' nonces."""

    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest(Record):
    """Open the next round for `cohort`, all of whom are told the same about how to train."""

    cohort: tuple[str, ...]
    training_config: Digest
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatement(Record):
    """An encoded signed statement."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    statement: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionResult(Record):
    """A signed admission, or a signed rejection with its reason."""

    statement: bytes
    admitted: bool
    reason: str

    def __post_init__(self) -> None:
        """Refuse a reason that is not in the closed list."""
        if self.reason and self.reason not in tuple(Reason):
            raise MalformedMessage("admission result names an unknown reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseRequest(Record):
    """Aggregate and release. Beside it: the base model's file. The release must be fetched."""

    base_offset: int
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest(Record):
    """Hand out the newest release, and write its model. Beside it: a file for it."""

    model_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatRequest(Record):
    """Compute the newest released model again. Beside it: what comes beside a close."""

    base_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed(Record):
    """The signed release, the cohort report it names, and rejections of what was set aside."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    release: bytes
    cohort: bytes
    set_aside: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortRequest(Record):
    """End the round without a release."""

    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest(Record):
    """Become a shard of `root`: report to it who was admitted. `peers` are signed `Peers`."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    peers: tuple[bytes, ...]
    root: bytes
    announcement: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPapers(Record):
    """A shard's signed announcement and its signed report."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    announcement: bytes
    report: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalRequest(Record):
    """Become the root of these shards, or of other ones than before; none is a round alone."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    peers: tuple[bytes, ...]
    shards: tuple[ShardPapers, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatements(Record):
    """Encoded signed statements, in the order of what was asked."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    statements: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest(Record):
    """Answer a total. Beside it: the file for the partial sum."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    total: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRequest(Record):
    """Aggregate with every shard's partial sum, and release.

    Beside it: what comes beside a close, then the partial sums' files in the order of their
    messages.
    """

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    partial_sums: tuple[bytes, ...]
    base_offset: int
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptRequest(Record):
    """Take the root's release for this round's end. Beside it: the new model's file."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    release: bytes
    model_offset: int
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendRequest(Record):
    """Go on under another manifest. `approvals` are those of the members before and after."""

    MAX_SIZE: ClassVar[int] = MAX_FRAME

    manifest: bytes
    approvals: tuple[bytes, ...]
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedRequest(Record):
    """Log that the newest model was evaluated, with `digest` of what was found."""

    digest: Digest
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownRequest(Record):
    """Sign that this run ends here; nothing more is signed in it."""

    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Record):
    """The log's newest checkpoint as a signed note; see `checkpoint_note.py`."""

    note: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReply(Record):
    """Where the enclave is. Numbers that the host knows anyway."""

    state: str
    round: int
    admitted: int
    log_size: int
    resident_bytes: int
