"""Whether a log holds what receipts say: the host that shows it may have shown members another.

The log and the receipts have been verified, each alone, against one key.

SPEC.md, section 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from fedenclave.audit.fork import statements_of
from fedenclave.audit.log_entry import Committing, open_entry
from fedenclave.protocol.digests import Digest, equal
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.log_file import read_log
from fedenclave.protocol.sealed_update import Envelope
from fedenclave.protocol.signing import statement_digest
from fedenclave.protocol.statements import Admission, Rejection


def missing_from_log(stream: BinaryIO, receipts: Mapping[str, Receipt]) -> list[str]:
    """Return what receipts, by their names, hold that the log lacks, in sentences.

    And the other way round: an answer in the log of which its receipt says that there was none.

    Args:
        stream: a verified log file, from its beginning.
        receipts: verified ones of the same enclave.
    """
    wanted: dict[Digest, list[tuple[str, bytes]]] = {}
    for name, receipt in receipts.items():
        for signed in statements_of(receipt):
            wanted.setdefault(statement_digest(signed), []).append((name, signed))
    unanswered = _unanswered(receipts)
    size, kept_back = 0, []
    for entry in read_log(stream):
        wanted.pop(statement_digest(entry.unverified), None)
        size = entry.index + 1
        kept_back += [
            f"{name}: entry {entry.index} of the log is the {open_entry(entry.unverified).type} "
            "of its update, and it holds none: it was kept back by the host, or taken out"
            for (update, round_), name in unanswered.items()
            if _answers(entry.unverified, update, round_)
        ]
    missing = [_sentence(name, signed, size) for said in wanted.values() for name, signed in said]
    return missing + kept_back


def _unanswered(receipts: Mapping[str, Receipt]) -> dict[tuple[Digest, int], str]:
    """Return updates and rounds of which receipts have no answer, and the receipts' names."""
    return {
        (Envelope.from_bytes(receipt.participation.envelope).digest, receipt.delivery.round): name
        for name, receipt in receipts.items()
        if not receipt.delivery.answer
    }


def _answers(signed: bytes, update: Digest, round_: int) -> bool:
    """Return whether a statement is an answer to an update in its own round."""
    # Where the digest's bytes are not, nothing needs to be decoded. They may be there as something
    # else: a client says what it likes of its data.
    if bytes(update) not in signed:
        return False
    statement = open_entry(signed).unverified
    # One that comes late is rejected in another round, and had no answer in its own.
    return (
        isinstance(statement, Admission | Rejection)
        and equal(statement.update, update)
        and statement.round == round_
    )


def _sentence(name: str, signed: bytes, size: int) -> str:
    opened = open_entry(signed)
    statement = opened.unverified
    # Where it has to be, only a statement with a checkpoint says itself.
    if isinstance(statement, Committing) and statement.checkpoint.size >= size:
        return f"{name}: the log ends before its {opened.type} of round {statement.round}"
    return f"{name}: its {opened.type} is not in the log"
