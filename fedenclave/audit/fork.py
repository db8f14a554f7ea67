"""Show that an enclave keeps two logs: two statements of its key that cannot both be in one.

Needs no log, no server and no trust in whoever hands the statements over: the key has signed both.

Rules:
  * A proof is handed out only after it has been checked as its reader will check it.
  * Where two statements could be in one log, nothing is said against anybody.

The reasons are SPEC.md's, section 7.4, with its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from fedenclave.audit.log_entry import Committing, KeyCheck, Opened, open_entry
from fedenclave.protocol.digests import Digest, equal, to_text
from fedenclave.protocol.errors import FedEnclaveError, MalformedMessage
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.fork_proof import ForkProof
from fedenclave.protocol.log_file import LogEntry, read_log
from fedenclave.protocol.signing import PublicKey, key_to_text, statement_digest
from fedenclave.protocol.statements import (
    VERSION,
    Admission,
    Adoption,
    Amendment,
    Announcement,
    Evaluation,
    FederationStatement,
    Release,
    Shutdown,
    Start,
)


class NoFork(FedEnclaveError):
    """Two statements, or logs, prove no fork: one log may hold both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """What has been proved: who signed what, and why one log cannot hold both."""

    key: PublicKey
    federation: str
    why: str
    first: Digest
    second: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    statement: FederationStatement
    digest: Digest


def denounce(first: bytes, second: bytes, key: PublicKey) -> ForkProof:
    """Return the proof that two signed statements of one key cannot be in one log.

    Raises:
        NoFork: they can.
        MalformedMessage: one is no statement of an enclave's, or the key has not signed it.
    """
    proof = ForkProof(version=VERSION, key=key, first=first, second=second)
    verify_fork(proof.to_bytes(), key)
    return proof


def verify_fork(proof: bytes, key: PublicKey) -> Fork:
    """Return what a proof shows to somebody who knows the enclave's key.

    Raises:
        NoFork: its statements can be in one log.
        MalformedMessage: it is no proof, is about another key, or the key has not signed both.
    """
    claim = ForkProof.from_bytes(proof)
    if claim.version != VERSION:
        raise MalformedMessage(f"fork proof has version {claim.version}, want {VERSION}")
    if not equal(claim.key, key):
        raise MalformedMessage(
            f"fork proof is about {key_to_text(claim.key)}, want {key_to_text(key)}",
            hint="it is about another enclave: name that one's key, if you know it for one",
        )
    check = KeyCheck(key)
    first, second = _opened(claim.first, check), _opened(claim.second, check)
    why = _why(first, second)
    if not why:
        raise NoFork("both statements can be in one log", hint="the proof shows nothing")
    return Fork(
        key=key,
        federation=first.statement.federation,
        why=why,
        first=first.digest,
        second=second.digest,
    )


def denounce_logs(first: BinaryIO, second: BinaryIO, key: PublicKey) -> ForkProof:
    """Return the proof that two log files are of two logs.

    It is two statements at the first place where they differ, or the next of each that says what
    the log before it was. At that place there may be a statement without a signature that holds,
    in a log whose checkpoints vouch for it; then only the next counts.

    Raises:
        NoFork: one begins with the other, or nothing in one of them stands for its difference yet.
        LogDamaged, MalformedMessage: one cannot be read so far, or the key has not signed it.
    """
    pairs = read_log(first), read_log(second)
    for a, b in zip(*pairs, strict=False):
        if a.unverified != b.unverified:
            break
    else:
        raise NoFork(
            "one log begins with the other, or they are the same",
            hint="one is at most an older copy of the other, and that is no fork",
        )
    check = KeyCheck(key)
    ways = [
        _that_count(_until_committing(entry, later), check)
        for entry, later in zip((a, b), pairs, strict=True)
    ]
    found = denounce_any(ways[0], ways[1], key)
    if found is None:
        raise NoFork(
            f"the logs differ from entry {a.index} on, and one log can hold what they say after it",
            hint="wait for the end of the round in both: it says what the log before it was",
        )
    return found


def _until_committing(entry: LogEntry, later: Iterator[LogEntry]) -> list[bytes]:
    """Return the entry, and the next that has a checkpoint of the log with this entry in it."""
    for each in later:
        if isinstance(open_entry(each.unverified).unverified, Committing):
            return [entry.unverified, each.unverified]
    return [entry.unverified]


def _that_count(way: list[bytes], check: KeyCheck) -> list[bytes]:
    """Return the entries that the key has signed; the last whatever it is, for an error to name."""
    return [signed for signed in way[:-1] if _holds(open_entry(signed), check)] + way[-1:]


def denounce_any(
    first: Sequence[bytes], second: Iterable[bytes], key: PublicKey
) -> ForkProof | None:
    """Return the first proof that a statement of `first` and one of `second` give; or None.

    Raises:
        MalformedMessage: one is no statement of an enclave's, or the key has not signed it.
    """
    check = KeyCheck(key)
    own = [_opened(signed, check) for signed in first]
    for signed in second:
        other = _opened(signed, check)
        for mine, said in zip(first, own, strict=True):
            if _why(said, other):
                return denounce(mine, signed, key)
    return None


def statements_of(receipt: Receipt) -> list[bytes]:
    """Return what the enclave has signed in a receipt, unverified."""
    delivery = receipt.delivery
    found = (receipt.participation.announcement, delivery.answer, delivery.release, delivery.abort)
    return [signed for signed in found if signed]


def _holds(opened: Opened, check: KeyCheck) -> bool:
    return check.holds(opened.type, opened.payload, opened.signature)


def _opened(signed: bytes, check: KeyCheck) -> _Said:
    opened = open_entry(signed)
    if not _holds(opened, check):
        raise MalformedMessage(
            f"signature of the {opened.type} does not hold",
            hint="it is another enclave's, or was changed: it proves nothing against this one",
        )
    return _Said(statement=opened.unverified, digest=statement_digest(signed))


def _why(first: _Said, second: _Said) -> str:
    """Return why no log can hold both; nothing where one can."""
    a, b = first.statement, second.statement
    if a == b:
        return ""
    # 1. A log is about one federation.
    if a.federation != b.federation:
        return "they are of two federations"
    # 2. It has one start.
    if isinstance(a, Start) and isinstance(b, Start):
        return "they are two starts"
    # 3. Of a client one update is admitted to a round.
    if isinstance(a, Admission) and isinstance(b, Admission):
        twice = (a.round, a.client) == (b.round, b.client)
        return f"they admit two updates of {a.client} to round {a.round}" if twice else ""
    if isinstance(a, Committing) and isinstance(b, Committing):
        return _why_committing(a, b, first.digest, second.digest)
    return ""


def _why_committing(a: Committing, b: Committing, first: Digest, second: Digest) -> str:
    """Return why no log can hold both of two statements with checkpoints."""
    # 4. A round is announced once, and ends once; a manifest is replaced once.
    if isinstance(a, Amendment) and isinstance(b, Amendment) and equal(a.before, b.before):
        return f"they replace manifest {to_text(a.before)} twice"
    if _at(a) == _at(b) != (a.round, _AFTER):
        ways = "announcements" if isinstance(a, Announcement) else "ends"
        return f"they are two {ways} of round {a.round}"
    # 5. No two statements have the same log before them.
    if a.checkpoint.size == b.checkpoint.size:
        return f"both have a log of {a.checkpoint.size} entries before them"
    (earlier, digest), (later, _) = sorted([(a, first), (b, second)], key=_place)
    # 6. What comes later has the longer log before it.
    if _at(earlier) != _at(later) and earlier.checkpoint.size > later.checkpoint.size:
        return (
            f"the later has {later.checkpoint.size} entries before it, and the earlier "
            f"{earlier.checkpoint.size}"
        )
    # 7. A release names the announcement of its round.
    if isinstance(later, Release) and earlier.round == later.round and later.announcement != digest:
        return f"the release of round {later.round} names another announcement"
    # 9. What was replaced does not come back.
    by_size = sorted([a, b], key=lambda said: said.checkpoint.size)
    if isinstance(by_size[0], Amendment) and equal(by_size[1].manifest, by_size[0].before):
        return f"manifest {to_text(by_size[0].before)} had been replaced before the later of them"
    # 8. The next round builds on what was released or adopted.
    if isinstance(earlier, Release | Adoption) and isinstance(later, Announcement):
        follows = later.round == earlier.round + 1
        if follows and later.base_model != earlier.model:
            return f"round {later.round} does not build on {to_text(earlier.model)}, the one before"
    # 10. What is evaluated after a round is the model that it released or adopted.
    if isinstance(earlier, Release | Adoption) and isinstance(later, Evaluation):
        same_round = later.round == earlier.round
        if same_round and later.model != earlier.model:
            return f"what is evaluated after round {later.round} is not {to_text(earlier.model)}"
    return ""


_BEGIN, _END, _AFTER = range(3)


def _at(statement: Committing) -> tuple[int, int]:
    """Return where in the order of rounds it is: a round's announcement comes before its end.

    What is said between two rounds comes after the end of the first, as often as one likes.
    """
    if isinstance(statement, Announcement):
        return statement.round, _BEGIN
    between = isinstance(statement, Amendment | Evaluation | Shutdown)
    return statement.round, _AFTER if between else _END


def _place(said: tuple[Committing, Digest]) -> tuple[int, int]:
    return _at(said[0])
