"""T14: the released model says something about one member."""

from __future__ import annotations

from fedenclave.attack_suite.attack import Attack, Open

ATTACKS: tuple[Attack, ...] = ()

OPEN = (
    Open(
        id="T14-leaking-aggregate",
        title="infer from the released models what one member's data are",
        reason="differential privacy is off in this version, and every manifest says so",
    ),
)
