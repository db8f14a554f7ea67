"""Two files that may show a fork: logs, receipts, or signed statements, in any pair."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from fedenclave.audit.fork import NoFork, denounce_any, denounce_logs, statements_of
from fedenclave.cli.enclave_key import NAME_IT, named_key
from fedenclave.client.files import read_file
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage
from fedenclave.protocol.evidence import Evidence
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.fork_proof import ForkProof
from fedenclave.protocol.log_file import MAGIC, read_log
from fedenclave.protocol.signing import PublicKey


def denounce_files(first: Path, second: Path, key: str | None) -> ForkProof:
    """Return the proof that two files give.

    Where no key is named it is the one that a receipt's evidence says: a proof is about a key, and
    whether that is an enclave's, who reads the proof must know.

    Raises:
        NoFork: they give none.
        ConfigurationError: a file cannot be read, or no key is named and no file is a receipt.
        MalformedMessage: a file is neither of the three, or the key has not signed what is in it.
    """
    files = (first, second)
    with ExitStack() as stack:
        logs = [_log(file, stack) for file in files]
        receipts = [None if log else _receipt(f) for f, log in zip(files, logs, strict=True)]
        judged_by = named_key(key) if key is not None else _claimed_key(receipts)
        if logs[0] and logs[1]:
            return denounce_logs(logs[0], logs[1], judged_by)
        said = [
            _of_log(log) if log else _of_file(file, receipt)
            for file, log, receipt in zip(files, logs, receipts, strict=True)
        ]
        # A log is read entry by entry; the other file's few statements are held.
        few, many = reversed(said) if logs[0] else said
        found = denounce_any(list(few), many, judged_by)
    if found is None:
        raise NoFork(
            "all of their statements can be in one log",
            hint="compare what was said later, or elsewhere",
        )
    return found


def _log(file: Path, stack: ExitStack) -> BinaryIO | None:
    """Return an open log file; None where the file is something else."""
    try:
        stream = stack.enter_context(file.open("rb"))
        is_log = stream.read(len(MAGIC)) == MAGIC
        stream.seek(0)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {file}: {error.strerror}",
            hint="is the path right, and may this user read it?",
        ) from error
    return stream if is_log else None


def _receipt(file: Path) -> Receipt | None:
    try:
        return Receipt.from_bytes(read_file(file, "file"))
    except MalformedMessage:
        return None


def _claimed_key(receipts: list[Receipt | None]) -> PublicKey:
    for receipt in receipts:
        if receipt is not None:
            return PublicKey(Evidence.from_bytes(receipt.participation.evidence).signing_key)
    raise ConfigurationError("no key to judge by", hint=NAME_IT)


def _of_log(log: BinaryIO) -> Iterator[bytes]:
    return (entry.unverified for entry in read_log(log))


def _of_file(file: Path, receipt: Receipt | None) -> Iterator[bytes]:
    if receipt is not None:
        return iter(statements_of(receipt))
    return iter([read_file(file, "statement")])
