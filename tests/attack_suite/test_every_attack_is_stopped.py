"""Every attack of the suite is stopped, and every row of the threat model has one or is open.

By default the first of each row is played; `make slow` plays all of them.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from fedenclave.attack_suite import ATTACKS, OPEN, Attack, t12_another_app
from fedenclave.attack_suite.registry import chosen, everything
from fedenclave.attack_suite.runner import Ending, play
from fedenclave.attack_suite.world import Setting
from fedenclave.protocol.errors import ConfigurationError
from tests.house.test_threat_model import ROWS

SLOW = {"T12"}
"""Whole programs of Flower's: half a minute."""


def first_of_each_row_quickly() -> list[Any]:
    rows = [attack.row for attack in ATTACKS]
    return [
        pytest.param(
            attack,
            id=attack.id,
            marks=[pytest.mark.slow] if attack.row in {*rows[:place], *SLOW} else [],
        )
        for place, attack in enumerate(ATTACKS)
    ]


@pytest.mark.parametrize("attack", first_of_each_row_quickly())
def test_attack_is_stopped(attack: Attack, installed: Setting) -> None:
    played = play(attack, installed)
    assert played.ending is Ending.STOPPED, played.why
    assert played.stopped_by
    assert all(each.tried and each.stopped_by for each in played.tries)


def test_an_attack_that_needs_what_is_not_installed_is_open_and_says_so(
    installed: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(t12_another_app, "find_spec", lambda name: None)
    played = play(t12_another_app.another_app, installed)
    assert played.ending is Ending.OPEN
    assert played.why.startswith("not played: Flower is not installed here")


def test_every_row_of_the_threat_model_has_an_attack_or_is_open() -> None:
    rows = {name for name, _, _ in ROWS}
    assert rows <= {each.row for each in everything()}
    assert {each.row for each in everything()} == rows | {"DISTFL"}


def test_what_the_threat_model_calls_not_stopped_is_open_and_has_no_attack() -> None:
    unstopped = {name for name, text, _ in ROWS if "**not stopped in this version**" in text}
    assert unstopped <= {each.row for each in OPEN}
    assert not unstopped & {each.row for each in ATTACKS}


def test_an_attack_has_one_name_and_one_line() -> None:
    names = [each.id for each in everything()]
    assert len(set(names)) == len(names)
    for each in everything():
        assert re.fullmatch(r"(T\d\d|DISTFL)(-[a-z]+)+", each.id)
        assert len(each.title) < 100
        assert "\n" not in each.title
    assert all(attack.play.__doc__ for attack in ATTACKS)


def test_names_and_rows_choose_attacks() -> None:
    assert [each.id for each in chosen(["T06-second-update"])] == ["T06-second-update"]
    assert {each.row for each in chosen(["T06", "DISTFL"])} == {"T6", "DISTFL"}
    assert len(chosen(["T06"])) == sum(each.row == "T6" for each in everything())
    assert chosen(["T6"]) == chosen(["T06"])
    for name in ("T", "T06-", "T06-second", "", "nothing"):
        with pytest.raises(ConfigurationError, match="no attack is called"):
            chosen([name])
