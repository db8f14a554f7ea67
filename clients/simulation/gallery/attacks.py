"""What the attackers do. Each is a member's client, with its own key: nothing else is needed.

An attacker seals its update itself, without a client's checks, and may write into it what it likes.
What it cannot do is in the threat model: read others' updates, send twice, or be another client.

Sources: label flip (y becomes 9 - y), Fang et al. 2020; sign flip, Li et al. 2019 (RSA); scaling,
the boosting of Bagdasaryan et al. 2020; Gaussian noise, Blanchard et al. 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedenclave.simulation.federation import Arrays
from gallery.images import CLASSES, Labels

SCALE = 10.0
NOISE_STDDEV = 0.3
CLAIMED = 1_000_000
UNCAPPED = 1_000_000

Change = Callable[[Arrays, np.random.Generator], Arrays]


def _as_it_is(update: Arrays, draw: np.random.Generator) -> Arrays:
    return update


def _times(factor: float) -> Change:
    def change(update: Arrays, draw: np.random.Generator) -> Arrays:
        return {name: np.float32(factor) * array for name, array in update.items()}

    return change


def _noise(update: Arrays, draw: np.random.Generator) -> Arrays:
    return {
        name: draw.normal(0, NOISE_STDDEV, array.shape).astype(np.float32)
        for name, array in update.items()
    }


def _nan(update: Arrays, draw: np.random.Generator) -> Arrays:
    return {name: np.full_like(array, np.nan) for name, array in update.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack.

    Attributes:
        title: for a panel.
        does: in a sentence's rest.
        flips_labels: whether the attacker trains on labels 9 - y.
        change: makes of a trained update what is sealed.
        claims: the num_examples that is sealed; None for the true number.
        weight_cap: the manifest's, where the attack is shown against another than usual.
    """

    title: str
    does: str
    flips_labels: bool = False
    change: Change = _as_it_is
    claims: int | None = None
    weight_cap: int | None = None

    def labels(self, labels: Labels) -> Labels:
        """Return the labels that the attacker trains on."""
        return CLASSES - 1 - labels if self.flips_labels else labels


ATTACKS = {
    "label-flip": Attack(
        title="Label flip",
        does="trains on labels 9 - y, and is otherwise honest",
        flips_labels=True,
    ),
    "sign-flip": Attack(
        title="Sign flip", does="sends the opposite of its honest update", change=_times(-1.0)
    ),
    "scaling": Attack(
        title=f"Scaling ×{SCALE:g}",
        does=f"sends its label-flip update times {SCALE:g}",
        flips_labels=True,
        change=_times(SCALE),
    ),
    "noise": Attack(
        title="Gaussian noise",
        does=f"sends noise of standard deviation {NOISE_STDDEV:g} in place of its update",
        change=_noise,
    ),
    "nan": Attack(title="NaN", does="sends NaN in every element", change=_nan),
    "inflated": Attack(
        title="Inflated num_examples, no cap",
        does=f"sends its label-flip update and claims {CLAIMED:,} examples; "
        f"weight_cap is {UNCAPPED:,}",
        flips_labels=True,
        claims=CLAIMED,
        weight_cap=UNCAPPED,
    ),
    "inflated-capped": Attack(
        title="Inflated num_examples, capped",
        does=f"the same claim of {CLAIMED:,}; weight_cap is the largest honest client's number",
        flips_labels=True,
        claims=CLAIMED,
    ),
}
