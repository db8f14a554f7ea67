"""T12: the SuperLink ships an app without the sealing mod, or one that shadows this package."""

from __future__ import annotations

from fedenclave.attack_suite.attack import Attack, Open

ATTACKS: tuple[Attack, ...] = ()

OPEN = (
    Open(
        id="T12-another-app",
        title="ship the nodes an app without the mod, or one that shadows fedenclave",
        reason="a SuperNode runs the app that it is sent; use Flower's --trusted-entities, and run "
        "only apps that the data owner has read",
    ),
)
