"""One federation of ten clients, some of which attack: the whole protocol and a real enclave.

Rules:
  * Attackers seal what they like, without a client's checks (`fedenclave.simulation.cheating`).
  * What the manifest fixes, its members could know before: `max_norm` is the median norm of the
    first honest updates, and `weight_cap` the largest honest client's number of rows.
  * Whatever did not happen is counted: updates that the enclave rejected, updates that an honest
    client held back, rounds that released nothing.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from fedenclave.host.enclave_process import measure_enclave
from fedenclave.protocol.errors import FedEnclaveError, RequestRefused
from fedenclave.protocol.manifest import Rules
from fedenclave.simulation.federation import Arrays, Outcome, SimulatedFederation
from gallery import holdings
from gallery.attacks import ATTACKS, Attack
from gallery.images import GalleryError, Images, load_images
from gallery.network import accuracy, first_model, train
from gallery.rules import rules_of
from gallery.settings import CLIENTS, Setting

NAMES = tuple(f"client-{number}" for number in range(CLIENTS))
MINORITY = NAMES[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One federation to run.

    Attributes:
        rule: from `rules.COMPARED`.
        seed: fixes rows, who holds and who attacks, the first model and every shuffle.
        attack: from `attacks.ATTACKS`; empty for none.
        attackers: how many of the ten clients.
        minority: the last client alone holds two classes.
    """

    rule: str
    seed: int
    attack: str = ""
    attackers: int = 0
    minority: bool = False


@dataclass(kw_only=True)
class Result:
    """What came of a federation.

    Attributes:
        job: which.
        accuracy: of the last released model (the first, if none was) on all test rows.
        own: after each round, on the test rows of the minority's classes.
        others: after each round, on the other test rows.
        rejected_attackers: attackers' updates that the enclave rejected, by reason.
        rejected_honest: honest clients' updates that it rejected, by reason.
        held_back: updates that honest clients did not seal, for they were not finite.
        unreleased: rounds without a release, by the enclave's reason.
        rounds: all.
    """

    job: Job
    rounds: int
    accuracy: float = 0.0
    own: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    rejected_attackers: Counter[str] = field(default_factory=Counter)
    rejected_honest: Counter[str] = field(default_factory=Counter)
    held_back: int = 0
    unreleased: Counter[str] = field(default_factory=Counter)

    def count(self, outcome: Outcome, attackers: Sequence[str]) -> None:
        """Add what the enclave rejected and clients refused in a round."""
        for name, reason in outcome.rejections.items():
            who = self.rejected_attackers if name in attackers else self.rejected_honest
            who[reason.value] += 1
        self.held_back += len(outcome.refusals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What every federation of one seed begins with. `rows` holds row numbers by client."""

    images: Images
    rows: dict[str, holdings.Rows]
    first: Arrays
    weight_cap: int
    max_norm: float


@cache
def _images(source: str, setting: Setting, seed: int) -> Images:
    return load_images(
        source, train_rows=setting.train_rows, test_rows=setting.test_rows, seed=seed
    )


@cache
def prepare(source: str, setting: Setting, seed: int, minority: bool) -> Prepared:
    """Return the data, who holds it, the first model, and the manifest's two bounds."""
    images = _images(source, setting, seed)
    deal = holdings.with_minority if minority else holdings.uneven
    rows = dict(zip(NAMES, deal(images.train_labels, CLIENTS, seed), strict=True))
    first = first_model(images.train_images.shape[1], seed)
    norms = []
    for number, held in enumerate(rows.values()):
        labels = images.train_labels[held]
        seeds = (seed, 1, number)
        trained = train(first, images.train_images[held], labels, setting.training, seeds)
        norms.append(norm(difference(trained, first)))
    return Prepared(
        images=images,
        rows=rows,
        first=first,
        weight_cap=max(len(held) for held in rows.values()),
        max_norm=float(np.median(norms)),
    )


def difference(trained: Arrays, base: Arrays) -> Arrays:
    """Return the update."""
    return {name: trained[name] - base[name] for name in base}


def norm(update: Arrays) -> float:
    """Return the Euclidean norm over all arrays."""
    return float(np.sqrt(sum(float(np.sum(np.square(array))) for array in update.values())))


class LocalWork:
    """What each client does in one round."""

    def __init__(self, ready: Prepared, setting: Setting, job: Job, number: int) -> None:
        self.ready, self.setting, self.job, self.number = ready, setting, job, number

    def train(self, name: str, base: Arrays) -> tuple[Arrays, int]:
        """Train as an honest client does."""
        return self._train(name, base, None)

    def cheat(self, name: str, base: Arrays) -> tuple[Arrays, int]:
        """Make an attacker's update, and what it claims."""
        attack = ATTACKS[self.job.attack]
        trained, examples = self._train(name, base, attack)
        draw = np.random.default_rng((self.job.seed, self.number, NAMES.index(name), 1))
        update = attack.change(difference(trained, base), draw)
        return update, examples if attack.claims is None else attack.claims

    def _train(self, name: str, base: Arrays, attack: Attack | None) -> tuple[Arrays, int]:
        rows, images = self.ready.rows[name], self.ready.images
        labels = images.train_labels[rows]
        if attack is not None:
            labels = attack.labels(labels)
        seeds = (self.job.seed, self.number, NAMES.index(name))
        trained = train(base, images.train_images[rows], labels, self.setting.training, seeds)
        return trained, len(rows)


@cache
def _measurement() -> str:
    return str(json.loads(measure_enclave())["measurement"])


def run_job(source: str, setting: Setting, job: Job) -> Result:
    """Run one federation.

    Raises:
        GalleryError: there are no images, or the enclave does not run here.
    """
    try:
        return _run(source, setting, job)
    except FedEnclaveError as error:
        raise GalleryError(error.message, error.hint) from error


def _run(source: str, setting: Setting, job: Job) -> Result:
    ready = prepare(source, setting, job.seed, job.minority)
    attackers = holdings.attackers(NAMES, job.attackers, job.seed)
    result = Result(job=job, rounds=setting.minority_rounds if job.minority else setting.rounds)
    with SimulatedFederation.create(
        ready.first, clients=NAMES, rules=manifest_rules(ready, job), measurement=_measurement()
    ) as federation:
        for number in range(1, result.rounds + 1):
            step = LocalWork(ready, setting, job, number)
            outcome = federation.collect(step.train, cheats=dict.fromkeys(attackers, step.cheat))
            try:
                federation.release(outcome)
            except RequestRefused as refused:
                result.unreleased[refused.refusal.value] += 1
                federation.abort(outcome)
            result.count(outcome, attackers)
            if job.minority or number == result.rounds:
                _judge(result, federation.arrays(), ready.images)
    return result


def manifest_rules(ready: Prepared, job: Job) -> Rules:
    """Return the rules of the federation's manifest."""
    cap = ATTACKS[job.attack].weight_cap if job.attack else None
    return rules_of(
        job.rule,
        weight_cap=ready.weight_cap if cap is None else cap,
        max_norm=ready.max_norm,
    )


def _judge(result: Result, model: Arrays, images: Images) -> None:
    tests, labels = images.test_images, images.test_labels
    result.accuracy = accuracy(model, tests, labels)
    if result.job.minority:
        own = np.isin(labels, holdings.MINORITY_CLASSES)
        result.own.append(accuracy(model, tests[own], labels[own]))
        result.others.append(accuracy(model, tests[~own], labels[~own]))


def jobs(setting: Setting, seeds: Sequence[int]) -> list[Job]:
    """Return every federation of the gallery, the long ones first.

    Without attackers all attacks are one, so that a rule is run once for all of them. No honest
    client is above `weight_cap` however it is set here, so that it makes no difference either.
    """
    every = [Job(rule=rule, seed=seed) for seed in seeds for rule in setting.rules]
    return (
        [dataclasses.replace(job, minority=True) for job in every]
        + every
        + [
            dataclasses.replace(job, attack=attack, attackers=count)
            for job in every
            for attack in ATTACKS
            for count in setting.attackers
        ]
    )
