"""T12: the SuperLink ships an app without the sealing mod, or one that shadows this package."""

from __future__ import annotations

from fedenclave.attack_suite.attack import Attack, Open

ATTACKS: tuple[Attack, ...] = ()

OPEN = (
    Open(
        id="T12-another-app",
        title="ship the nodes an app without the mod, or one that shadows fedenclave",
        reason="not played here, where there is no Flower: a node that `fedenclave node run` runs "
        "stops it, as tests with a real SuperLink show; a SuperNode started by hand runs what "
        "it is sent",
    ),
)
