"""What is signed: by the enclave about a round, by a client about its update, by a member.

Every statement names the federation and the manifest's digest. The enclave's statements are also
the leaves of its log.

SPEC.md, sections 6 and 7.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Self

from fedenclave.protocol.digests import DIGEST_SIZE, Digest
from fedenclave.protocol.errors import MalformedMessage, Reason
from fedenclave.protocol.records import Record
from fedenclave.protocol.signing import PUBLIC_KEY_SIZE, Statement

VERSION = 1
MAX_PEERS = 16
"""Enclaves that share one cohort: their partial sums travel as descriptors of one request."""

NO_DATA = Digest(bytes(DIGEST_SIZE))
"""What stands for the data of a client that says nothing about them."""

_NUMBER = struct.Struct(">d")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def checked_name(name: str, what: str) -> str:
    """Return `name` where it may name a federation, organisation or client.

    Raises:
        MalformedMessage: it is not 1-63 of a-z 0-9 . _ - beginning with a letter or digit.
    """
    if _NAME.fullmatch(name) is None:
        raise MalformedMessage(
            f"{what} is {name[:80]!r}, want 1-63 of a-z 0-9 . _ - beginning with a letter or digit"
        )
    return name


class Suite(StrEnum):
    """HPKE suites (RFC 9180): the KEM differs, HKDF-SHA256 and AES-256-GCM are common."""

    HYBRID = "MLKEM768-X25519"
    X25519 = "X25519"


class Outcome(StrEnum):
    """What became of an admitted update."""

    INCLUDED = "included"
    SET_ASIDE = "set-aside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint(Record):
    """Size and root of the enclave's log."""

    size: int
    root: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationStatement(Statement):
    """What every statement says first."""

    version: int
    federation: str
    manifest: Digest

    def __post_init__(self) -> None:
        """Refuse versions and names that are not ours."""
        if self.version != VERSION:
            raise MalformedMessage(f"protocol version is {self.version}, want {VERSION}")
        checked_name(self.federation, "federation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(FederationStatement):
    """A member approves exactly these bytes of a manifest. Signed by the member's key."""

    TYPE: ClassVar[str] = "approval"

    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers(FederationStatement):
    """A member has appraised these enclaves, and lets them share a cohort. Signed by its key.

    `enclaves` are the signing keys, sorted. A key is made when an enclave starts, so the word is
    about one run of each.
    """

    TYPE: ClassVar[str] = "peers"

    member: str
    enclaves: tuple[bytes, ...]

    def __post_init__(self) -> None:
        """Refuse what is not a sorted list of different keys."""
        FederationStatement.__post_init__(self)
        if list(self.enclaves) != sorted(set(self.enclaves)):
            raise MalformedMessage("peers are not sorted, or one is named twice")
        if any(len(key) != PUBLIC_KEY_SIZE for key in self.enclaves):
            raise MalformedMessage(f"peers name a key that has not {PUBLIC_KEY_SIZE} bytes")
        if not 2 <= len(self.enclaves) <= MAX_PEERS:
            raise MalformedMessage(
                f"peers name {len(self.enclaves)} enclaves, want 2 to {MAX_PEERS}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(FederationStatement):
    """The first leaf of the log: an enclave took up a manifest and its agreed first model.

    `approved_by` are the members whose approvals of the manifest it has verified.
    """

    TYPE: ClassVar[str] = "start"

    model: Digest
    schema: Digest
    measurement: Digest
    approved_by: tuple[str, ...]
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement(FederationStatement):
    """A round is open: for whom, on which model, under which key.

    `public_key` is the round's HPKE key. `time` is the host's clock in Unix seconds: a note for
    people, proof of nothing. `checkpoint` is the log before this statement. `training_config` is
    the host's word too, but one word for all: every client compares it with what it is told.
    `available` are those that the cohort was drawn of, where the enclave draws it.
    """

    TYPE: ClassVar[str] = "announcement"
    MAX_SIZE: ClassVar[int] = 2 << 20

    round: int
    base_model: Digest
    schema: Digest
    training_config: Digest
    suite: Suite
    public_key: bytes
    cohort: tuple[str, ...]
    available: tuple[str, ...]
    checkpoint: Checkpoint
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment(FederationStatement):
    """The federation goes on under another manifest: the one that this statement is under.

    `before` is the one that it takes the place of, `round` the newest round, which has ended.
    `approved_by` are the members of the new one whose approvals of it the enclave has verified,
    `let_by` those of the one before.
    """

    TYPE: ClassVar[str] = "amendment"

    before: Digest
    approved_by: tuple[str, ...]
    let_by: tuple[str, ...]
    round: int
    base_model: Digest
    checkpoint: Checkpoint
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateHeader(FederationStatement):
    """What a sealed update is for. Signed by the client together with the wrapped content key.

    `checkpoint` is the newest one the client holds: an enclave that does not know it was rolled
    back. `num_examples` is not here but inside the ciphertext. `data` is what the client says of
    the data that it trained on: a digest of its own making, or `NO_DATA`.
    """

    TYPE: ClassVar[str] = "update"

    round: int
    announcement: Digest
    base_model: Digest
    client: str
    data: Digest
    schema: Digest
    sealed_size: int
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission(FederationStatement):
    """One client's update was opened, checked and admitted to the round; `data` is its header's."""

    TYPE: ClassVar[str] = "admission"

    round: int
    client: str
    update: Digest
    data: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection(FederationStatement):
    """An update was refused. `client` is as the unverified header says, empty where none does."""

    TYPE: ClassVar[str] = "rejection"

    round: int
    client: str
    update: Digest
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution(Record):
    """One admitted update and what became of it."""

    client: str
    organisation: str
    update: Digest
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortReport(Record):
    """Who is in a release. Its digest is in the signed release; sorted by client."""

    MAX_SIZE: ClassVar[int] = 16 << 20

    round: int
    contributions: tuple[Contribution, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasedMetric(Record):
    """The mean of one of the clients' metrics: its name and 8 bytes, a big-endian float64."""

    name: str
    data: bytes

    def __post_init__(self) -> None:
        """Refuse what is not one number."""
        if len(self.data) != _NUMBER.size:
            raise MalformedMessage(f"metric has {len(self.data)} bytes, want {_NUMBER.size}")

    @classmethod
    def of(cls, name: str, value: float) -> Self:
        """Return the record of a value."""
        return cls(name=name, data=_NUMBER.pack(value))

    @property
    def value(self) -> float:
        """The number."""
        return float(_NUMBER.unpack(self.data)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(FederationStatement):
    """A round's one result. `checkpoint` commits to every statement made before this one.

    `clients` and `organisations` count what is included in the model. `cohort` is the digest of
    the `CohortReport`. `metrics` are those that the manifest has released, in its order.
    """

    TYPE: ClassVar[str] = "release"

    round: int
    announcement: Digest
    base_model: Digest
    model: Digest
    schema: Digest
    cohort: Digest
    clients: int
    organisations: int
    metrics: tuple[ReleasedMetric, ...]
    checkpoint: Checkpoint
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort(FederationStatement):
    """A round ended without a release; its key is gone and its updates can never be opened."""

    TYPE: ClassVar[str] = "abort"

    round: int
    checkpoint: Checkpoint
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation(FederationStatement):
    """The host says that it has evaluated the newest model; `digest` is of what it found.

    It is the host's word, and not the enclave's: what is signed is that the host has said it now.
    `round` is the newest, however it ended, and `model` the newest model then.
    """

    TYPE: ClassVar[str] = "evaluation"

    round: int
    model: Digest
    digest: Digest
    checkpoint: Checkpoint
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown(FederationStatement):
    """The enclave was ended on purpose, with no round open; the log may go on after a restart.

    `round` is the newest, 0 before the first.
    """

    TYPE: ClassVar[str] = "shutdown"

    round: int
    checkpoint: Checkpoint
    time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption(FederationStatement):
    """A round ended with the release of another enclave, the root, as this one's new base model.

    Its updates are in that release where its cohort report says so. The round's key is gone.
    """

    TYPE: ClassVar[str] = "adoption"

    round: int
    root: bytes
    release: Digest
    model: Digest
    checkpoint: Checkpoint
    time: int
