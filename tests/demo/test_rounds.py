"""Rounds, as Flower's log tells of them."""

from __future__ import annotations

from fedenclave.demo.rounds import follow


def test_a_round_that_begins_is_told_and_other_lines_are_not() -> None:
    told: list[tuple[int, int]] = []
    for line in ("INFO :      [ROUND 1/12]", "INFO : [INIT]", "round 3", "INFO :  [ROUND 12/12]"):
        follow(line, lambda done, total: told.append((done, total)))
    assert told == [(0, 12), (11, 12)]
