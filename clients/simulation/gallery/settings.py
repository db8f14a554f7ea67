"""How large the gallery is: the whole one, and a quick one that only shows that it works."""

from __future__ import annotations

from dataclasses import dataclass

from gallery.network import Training
from gallery.rules import COMPARED

CLIENTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The gallery's size.

    Attributes:
        train_rows: images that all clients hold together.
        test_rows: images that no client holds, on which the released model is judged.
        rounds: of a federation that is attacked.
        minority_rounds: of a federation with a minority: a minority needs many to be heard.
        attackers: how many of the ten clients attack.
        rules: names from `rules.COMPARED`.
        training: what a client does in a round.
    """

    train_rows: int
    test_rows: int
    rounds: int
    minority_rounds: int
    attackers: tuple[int, ...]
    rules: tuple[str, ...]
    training: Training


FULL = Setting(
    train_rows=5000,
    test_rows=2000,
    rounds=8,
    minority_rounds=40,
    attackers=(1, 2, 3, 4),
    rules=tuple(COMPARED),
    training=Training(epochs=2, batch_size=32, learning_rate=0.1),
)

QUICK = Setting(
    train_rows=1000,
    test_rows=500,
    rounds=3,
    minority_rounds=3,
    attackers=(3,),
    rules=("mean", "median"),
    training=Training(epochs=2, batch_size=16, learning_rate=0.1),
)
