"""The newest announcement is found from the log's end, however many entries lie behind it."""

from __future__ import annotations

import pytest

from fedenclave.host import log_end
from fedenclave.host.log_end import newest_announcement
from fedenclave.protocol.errors import MalformedMessage
from fedenclave.protocol.log_file import frame
from tests.audit.log_builder import LogBuilder


@pytest.mark.parametrize("answers", [0, 1, 2, 3, 7, 40])
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_the_newest_announcement_is_found(
    monkeypatch: pytest.MonkeyPatch, answers: int, rounds: int
) -> None:
    monkeypatch.setattr(log_end, "_FIRST_LOOK", 2)
    monkeypatch.setattr(log_end, "_NEXT_LOOK", 3)
    log = LogBuilder()
    log.start()
    for _ in range(rounds - 1):
        log.round()
    log.announce()
    for _ in range(answers):
        log.reject("a")
    asked = []

    def part(first: int, end: int) -> bytes:
        asked.append((first, end))
        return b"".join(map(frame, log.signed[first:end]))

    assert newest_announcement(part, len(log.signed)).round == rounds
    assert sum(end - first for first, end in asked) <= 4 * (answers + 2)


def test_a_log_without_an_announcement_is_said_to_have_none() -> None:
    log = LogBuilder()
    log.start()
    with pytest.raises(MalformedMessage, match="no announcement"):
        newest_announcement(lambda first, end: frame(log.signed[0]), 1)
    with pytest.raises(MalformedMessage, match="no announcement"):
        newest_announcement(lambda first, end: b"", 0)
