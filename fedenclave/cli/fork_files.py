"""Two files that may show a fork: logs, receipts, or signed statements, in any pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fedenclave.audit.fork import NoFork, denounce_any, denounce_logs, statements_of
from fedenclave.cli.enclave_key import NAME_IT, named_key
from fedenclave.client.files import contents_of, read_file
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.evidence import Evidence
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.fork_proof import ForkProof
from fedenclave.protocol.log_file import MAGIC, read_log
from fedenclave.protocol.signing import PublicKey, Signed


def denounce_files(first: Path, second: Path, key: str | None) -> ForkProof:
    """Return the proof that two files give.

    Where no key is named it is the one that a receipt's evidence says: a proof is about a key, and
    whether that is an enclave's, who reads the proof must know.

    Raises:
        NoFork: they give none.
        ConfigurationError: a file cannot be read, or no key is named and no file is a receipt.
        MalformedMessage: a file is neither of the three, or the key has not signed what is in it.
    """
    with ExitStack() as stack:
        sides = [_side(file, stack) for file in (first, second)]
        judged_by = named_key(key) if key is not None else _claimed_key(sides)
        logs = [side.log for side in sides]
        if logs[0] and logs[1]:
            return denounce_logs(logs[0], logs[1], judged_by)
        # A log is read entry by entry; the other file's few statements are held.
        few, many = reversed(sides) if logs[0] else sides
        found = denounce_any(list(few.statements()), many.statements(), judged_by)
    if found is None:
        raise NoFork(
            "all of their statements can be in one log",
            hint="compare what was said later, or elsewhere",
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One of the two files: an open log, a receipt, or else a statement, `data`."""

    log: BinaryIO | None = None
    receipt: Receipt | None = None
    data: bytes = b""

    def statements(self) -> Iterator[bytes]:
        if self.log is not None:
            return (entry.unverified for entry in read_log(self.log))
        return iter(statements_of(self.receipt) if self.receipt is not None else [self.data])


def _side(file: Path, stack: ExitStack) -> _Side:
    """Return what is in a file; a log is open until `stack` ends."""
    try:
        stream = stack.enter_context(file.open("rb"))
        is_log = stream.read(len(MAGIC)) == MAGIC
        stream.seek(0)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {file}: {error.strerror}",
            hint="is the path right, and may this user read it?",
        ) from error
    if is_log:
        return _Side(log=stream)
    data = read_file(file, "file")
    try:
        return _Side(receipt=Receipt.from_bytes(data))
    except MalformedMessage:
        with contents_of(file):
            Signed.from_bytes(data)
        return _Side(data=data)


def _claimed_key(sides: Sequence[_Side]) -> PublicKey:
    for side in sides:
        if side.receipt is not None:
            return PublicKey(Evidence.from_bytes(side.receipt.participation.evidence).signing_key)
    raise ConfigurationError("no key to judge by", hint=NAME_IT)
