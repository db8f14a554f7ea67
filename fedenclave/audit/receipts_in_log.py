"""Whether a log holds what receipts say: the host that shows it may have shown members another.

The log and the receipts have been verified, each alone, against one key.

SPEC.md, section 7.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import BinaryIO

from fedenclave.audit.fork import statements_of
from fedenclave.audit.log_entry import Committing, open_entry
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.log_file import read_log
from fedenclave.protocol.sealed_update import Envelope
from fedenclave.protocol.signing import statement_digest


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
        # An answer names its update: where those bytes are not, nothing needs to be decoded.
        kept_back += [
            f"{name}: entry {entry.index} of the log is the {_type(entry.unverified)} of its "
            "update, and it holds none: the host kept it back"
            for update, name in unanswered.items()
            if update in entry.unverified
        ]
    missing = [_sentence(name, signed, size) for said in wanted.values() for name, signed in said]
    return missing + kept_back


def _unanswered(receipts: Mapping[str, Receipt]) -> dict[bytes, str]:
    """Return the updates of which receipts have no answer, and the receipts' names."""
    return {
        bytes(Envelope.from_bytes(receipt.participation.envelope).digest): name
        for name, receipt in receipts.items()
        if not receipt.delivery.answer
    }


def _type(signed: bytes) -> str:
    return open_entry(signed).type


def _sentence(name: str, signed: bytes, size: int) -> str:
    opened = open_entry(signed)
    statement = opened.unverified
    # Where it has to be, only a statement with a checkpoint says itself.
    if isinstance(statement, Committing) and statement.checkpoint.size >= size:
        return f"{name}: the log ends before its {opened.type} of round {statement.round}"
    return f"{name}: its {opened.type} is not in the log"
