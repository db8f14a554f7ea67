"""Training and choosing: the same arguments give the same bytes, and no test loan has a say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'fedenclave[demo]'")

from bank import baselines
from bank.baselines import METHODS, models, predicted, score, wins
from bank.data import BankData, LoanDataError, prepared
from bank.federation import DEMO, Setting, federated, shuffle_seed
from bank.metrics import auc
from bank.parameters import Parameters, initial, write_parameters
from bank.run import judge_run
from bank.training import Steps, local_round, validation_loss, with_moments
from tests.bank.made_up import federation

SETTING = Setting(rounds=4, steps=Steps(updates=8, batch_size=16, learning_rate=0.05))


@pytest.fixture(scope="module")
def banks() -> list[BankData]:
    return [prepared(rows) for rows in federation()]


def bytes_of(parameters: Parameters) -> bytes:
    return b"".join(array.tobytes() for array in parameters.arrays())


def test_a_round_depends_on_its_arguments_alone(banks: Sequence[BankData]) -> None:
    base = with_moments(initial(), banks[0].train)
    seed = shuffle_seed(0, 2, banks[0].name)
    one, same = (local_round(base, banks[0], SETTING.steps, seed) for _ in range(2))
    assert bytes_of(one) == bytes_of(same)
    seeds = {shuffle_seed(0, number, bank.name) for number in (1, 2) for bank in banks}
    assert len(seeds) == 2 * len(banks)
    another = local_round(base, banks[0], SETTING.steps, shuffle_seed(0, 3, banks[0].name))
    assert bytes_of(another) != bytes_of(one)


def test_test_loans_have_no_part_in_any_model_or_choice(banks: Sequence[BankData]) -> None:
    turned = [
        dataclasses.replace(
            bank,
            test=dataclasses.replace(
                bank.test, features=bank.test.features[::-1] + 1, labels=1 - bank.test.labels
            ),
        )
        for bank in banks
    ]
    ours, theirs = models(banks, SETTING, 0), models(turned, SETTING, 0)
    assert set(ours) == set(METHODS)
    for method in METHODS:
        for bank in banks:
            assert bytes_of(ours[method][bank.name]) == bytes_of(theirs[method][bank.name])


def test_the_round_with_the_least_validation_loss_is_taken(banks: Sequence[BankData]) -> None:
    training = federated(banks, SETTING, 0)
    counts = [len(bank.train.labels) for bank in banks]
    losses = [
        np.average([validation_loss(model, bank) for bank in banks], weights=counts)
        for model in training.models
    ]
    assert len(training.models) == SETTING.rounds + 1
    # The last model is not judged: a bank tells the loss of the model that it is given to train.
    assert list(training.losses) == pytest.approx(losses[:-1])
    assert training.best is training.models[int(np.argmin(losses[:-1]))]


def test_what_can_be_learnt_is_learnt_together(banks: Sequence[BankData]) -> None:
    best = federated(banks, dataclasses.replace(SETTING, rounds=10), 0).best
    for bank in banks:
        ranked = auc(best.logits(bank.test.features), bank.test.labels)
        assert ranked is not None
        assert ranked > 0.65


def test_every_method_is_scored_on_every_bank(banks: Sequence[BankData]) -> None:
    for chosen in models(banks, SETTING, 0).values():
        scores = score(predicted(chosen, banks), banks)
        by_bank = [scores[bank.name] for bank in banks]
        assert scores["mean of banks"] == pytest.approx(np.mean(by_bank))
        assert 0 < scores["brier"] < 0.25
        assert all(0 <= scores[figure] <= 1 for figure in baselines.OVERALL)


def test_wins_and_losses_are_counted_split_by_split() -> None:
    ours, theirs = [{"a": 0.7}, {"a": 0.5}, {"a": 0.6}], [{"a": 0.6}, {"a": 0.6}, {"a": 0.6}]
    assert wins(ours, theirs, ["a"]) == {"a": {"above": 1, "below": 1, "gain": pytest.approx(0)}}


def keep(models_of: Sequence[Parameters], losses: Sequence[float | None], folder: Path) -> None:
    import json

    for number, model in enumerate(models_of):
        write_parameters(model, folder / f"round-{number:02d}.npz")
    told = {"seed": 0, "validation-losses": list(losses)}
    (folder / "run.json").write_text(json.dumps(told))


def test_a_run_is_held_against_plain_averages(banks: Sequence[BankData], tmp_path: Path) -> None:
    plain = federated(banks, dataclasses.replace(DEMO, rounds=3), 0)
    keep(plain.models, plain.losses, tmp_path)
    judged = judge_run(banks, tmp_path)
    assert judged["largest_difference"] == 0
    assert judged["moments_difference"] < 1e-12
    assert judged["best_round"] == judged["best_round_in_memory"] == plain.best_round
    changed = dataclasses.replace(plain.models[2], bias=plain.models[2].bias + 0.25)
    keep([*plain.models[:2], changed, plain.models[3]], plain.losses, tmp_path)
    assert judge_run(banks, tmp_path)["largest_difference"] == pytest.approx(0.25)


def test_a_run_that_released_nothing_is_no_run(banks: Sequence[BankData], tmp_path: Path) -> None:
    with pytest.raises(LoanDataError, match="no whole run"):
        judge_run(banks, tmp_path)
    keep([initial()] * 3, [None, None], tmp_path)
    with pytest.raises(LoanDataError, match="0 rounds with a release"):
        judge_run(banks, tmp_path)


@pytest.mark.parametrize("wrong", [{"updates": 0}, {"batch_size": 0}, {"learning_rate": 0.0}])
def test_steps_that_are_no_training_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        dataclasses.replace(SETTING.steps, **wrong)
