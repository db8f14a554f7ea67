"""Every attack of the suite, row by row: the order of tables and reports."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from fedenclave.attack_suite import (
    distfl,
    t01_reading,
    t02_changed_code,
    t03_relayed_evidence,
    t04_small_cohort,
    t05_differencing,
    t06_replay,
    t07_rollback,
    t08_crafted_models,
    t09_poison,
    t10_malformed,
    t11_unreliable_host,
    t12_another_app,
    t13_talking_errors,
    t14_leaking_aggregate,
    t15_one_bad_member,
    t16_swap,
)
from fedenclave.attack_suite.attack import Attack, Open
from fedenclave.protocol.errors import ConfigurationError

_ROWS: tuple[ModuleType, ...] = (
    t01_reading,
    t02_changed_code,
    t03_relayed_evidence,
    t04_small_cohort,
    t05_differencing,
    t06_replay,
    t07_rollback,
    t08_crafted_models,
    t09_poison,
    t10_malformed,
    t11_unreliable_host,
    t12_another_app,
    t13_talking_errors,
    t14_leaking_aggregate,
    t15_one_bad_member,
    t16_swap,
    distfl,
)

ATTACKS: tuple[Attack, ...] = tuple(each for row in _ROWS for each in row.ATTACKS)
"""Those that must be stopped."""

OPEN: tuple[Open, ...] = tuple(each for row in _ROWS for each in getattr(row, "OPEN", ()))
"""Those that this version does not stop."""


def everything() -> list[Attack | Open]:
    """Return all of them, those of a row together: what is stopped, then what is open."""
    return [each for row in _ROWS for each in (*row.ATTACKS, *getattr(row, "OPEN", ()))]


def chosen(names: Sequence[str]) -> list[Attack | Open]:
    """Return the attacks that `names` mean: an id, or all of a row (`T06`, `T6`, `DISTFL`).

    Raises:
        ConfigurationError: a name means none.
    """
    known = everything()
    meant = {each.id: {each.id, each.row, each.id.partition("-")[0]} for each in known}
    for name in names:
        if not any(name in ways for ways in meant.values()):
            raise ConfigurationError(
                f"no attack is called {name!a}", hint="`fedenclave attack list` shows all of them"
            )
    return [each for each in known if meant[each.id] & set(names)]
