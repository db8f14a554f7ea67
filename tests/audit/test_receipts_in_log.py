"""A log beside receipts: what they hold is in it, it ends before that, or it is another log."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from fedenclave.audit.receipts_in_log import missing_from_log
from fedenclave.protocol.exchange import Receipt
from fedenclave.protocol.log_file import MAGIC, frame
from fedenclave.protocol.sealed_update import Envelope
from tests.audit.log_builder import LogBuilder
from tests.audit.lying_receipt import Lies, make_receipt

TRUE = Receipt.from_bytes(make_receipt(Lies()))


def receipt(announcement: bytes, answer: bytes, end: bytes) -> Receipt:
    """Return a receipt with these statements in it; the rest is nobody's business here."""
    return replace(
        TRUE,
        participation=replace(TRUE.participation, announcement=announcement),
        delivery=replace(TRUE.delivery, answer=answer, release=end),
    )


@pytest.fixture
def log() -> LogBuilder:
    """Return the log of a start, an announcement, answers to a and b, and a release."""
    log = LogBuilder()
    log.start()
    log.round("a", "b")
    return log


def missing(log: LogBuilder, upto: int, **receipts: Receipt) -> list[str]:
    data = MAGIC + b"".join(map(frame, log.signed[:upto]))
    return missing_from_log(io.BytesIO(data), receipts)


def test_nothing_is_missing_from_the_log_that_the_receipts_are_of(log: LogBuilder) -> None:
    _, announcement, first, second, release = log.signed
    receipts = {
        "a": receipt(announcement, first, release),
        "b": receipt(announcement, second, release),
    }
    assert missing(log, 5, **receipts) == []
    assert missing(log, 4, **receipts) == [
        "a: the log ends before its release of round 1",
        "b: the log ends before its release of round 1",
    ]
    assert missing(log, 5) == []


def test_what_another_log_holds_is_not_in_this_one(log: LogBuilder) -> None:
    other = LogBuilder()
    other.start()
    other.announce(("a", "b"))
    other.admit("a")
    other.admit("b")
    end = other.release()
    longer = LogBuilder()
    longer.start()
    longer.round("a", "b")
    longer.round()
    shown = receipt(other.signed[1], other.signed[2], end)
    assert missing(longer, len(longer.signed), a=shown) == [
        "a: its announcement is not in the log",
        "a: its release is not in the log",
    ]
    assert missing(log, 1, a=receipt(*log.signed[1:3], log.signed[4])) == [
        "a: the log ends before its announcement of round 1",
        "a: its admission is not in the log",
        "a: the log ends before its release of round 1",
    ]


def test_an_answer_that_the_host_kept_back_is_in_the_log(log: LogBuilder) -> None:
    _, announcement, first, _, release = log.signed
    unanswered = receipt(announcement, b"", release)
    assert missing(log, 5, a=unanswered) == []
    update = Envelope.from_bytes(TRUE.participation.envelope).digest
    for add in (
        lambda log: log.admit("a", update=update),
        lambda log: log.reject("a", update=update),
    ):
        other = LogBuilder()
        other.start()
        announced = other.announce(("a", "b"))
        add(other)
        shown = receipt(announced, b"", other.abort())
        (found,) = missing(other, 4, a=shown)
        assert found.endswith("kept back by the host, or taken out")
        assert ("admission" in found) != ("rejection" in found)
    assert (
        missing(log, 5, a=replace(unanswered, delivery=replace(TRUE.delivery, answer=first))) != []
    )
