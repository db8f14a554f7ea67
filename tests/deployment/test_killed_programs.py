"""SIGKILL to Flower's programs in a real deployment: what was admitted is in one end, and told.

What Flower itself loses, as of 1.41:

  * ServerApp: its run. The SuperLink calls it failed after a minute, and nobody starts it again.
  * SuperLink: the ServerApp and every ClientApp end with it. Without `--database` it forgets runs,
    and the nodes' keys: these must be registered again, and the SuperNodes be started again.
  * SuperNode: its ClientApp's update. Its key is let in again after two heartbeats, a minute.
  * ClientApp: the update. The ServerApp is told after a minute that it stopped responding.

What has no end in Flower has one here: the next ServerApp aborts the round, signed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

from fedenclave.audit.receipt import Verdict
from fedenclave.audit.round_history import End
from fedenclave.demo import family
from tests.deployment.federation import (
    CLIENT_APP,
    SERVER_APP,
    STEPS,
    Deployment,
    Programs,
    wait_until,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not family.is_supported(), reason="needs /proc"),
]

COMPLETED, FAILED = "finished:completed", "finished:failed"
RELEASED, ABORTED = End.RELEASED, End.ABORTED


@contextlib.contextmanager
def deployed(folder: Path, *, database: bool = True) -> Iterator[Deployment]:
    with Programs(folder / "flower", folder / "superlink.db" if database else None) as programs:
        yield Deployment(folder, programs)


def ends(deployment: Deployment) -> list[End]:
    return [each.end for each in deployment.log().rounds]


def judge(deployment: Deployment) -> None:
    """Every update that was admitted is in one end, whose receipt its node holds and can prove.

    And the model is what the released rounds make of it. The steps are chosen so that every mean is
    exact: there is one right value.
    """
    receipts = {name: deployment.receipts(name) for name in STEPS}
    value, log = 0.0, deployment.log()
    assert [each.round for each in log.rounds] == list(range(1, len(log.rounds) + 1))
    for each in log.rounds:
        assert each.end in (RELEASED, ABORTED)
        names = [client.removesuffix("-1") for client in each.included]
        for name in names:
            receipt = receipts[name][each.round]
            assert receipt.model == each.model
            verdict = Verdict.INCLUDED if each.end is RELEASED else Verdict.ABORTED
            assert receipt.verdict is verdict
        if each.end is RELEASED:
            value += sum(STEPS[name] for name in names) / len(names)
    assert deployment.model() == value


def test_a_serverapp_killed_in_a_round_or_before_it_hands_out_receipts_owes_nobody_anything(
    tmp_path: Path,
) -> None:
    with deployed(tmp_path) as deployment:
        programs = deployment.programs
        first = deployment.start_run(1)
        wait_until(lambda: deployment.state() == ("idle", 1), "the round is released")
        programs.kill_started(SERVER_APP)
        deployment.finish(first)
        assert not any(deployment.receipts(name) for name in STEPS), "struck too late"
        assert deployment.status() == FAILED
        deployment.hold.touch()
        second = deployment.start_run(1)
        wait_until(lambda: deployment.training() == 2 * len(STEPS), "every node trains")
        # With the offer came what the first one owed.
        assert {name: list(deployment.receipts(name)) for name in STEPS} == {n: [1] for n in STEPS}
        programs.kill_started(SERVER_APP)
        deployment.hold.unlink()
        deployment.finish(second)
        assert deployment.state() == ("collecting", 2)
        deployment.finish(deployment.start_run(1))
        assert deployment.status() == COMPLETED
        assert ends(deployment) == [RELEASED, ABORTED, RELEASED]
        assert deployment.model() == 6.0
        judge(deployment)


@pytest.mark.parametrize("database", [True, False], ids=["with a database", "in memory"])
def test_a_superlink_killed_in_a_round_has_it_aborted_and_the_next_run_goes_on(
    tmp_path: Path, database: bool
) -> None:
    with deployed(tmp_path, database=database) as deployment:
        programs = deployment.programs
        deployment.finish(deployment.start_run(1))
        deployment.hold.touch()
        run = deployment.start_run(1)
        wait_until(lambda: deployment.training() == 2 * len(STEPS), "every node trains")
        programs.kill("superlink")
        deployment.hold.unlink()
        wait_until(lambda: not programs.running(SERVER_APP), "the ServerApp ends with it")
        deployment.finish(run)
        deployment.restart_superlink(register=not database)
        if not database:
            for name in STEPS:
                programs.kill(f"supernode-{name}")
                deployment.restart_supernode(name)
        assert deployment.state() == ("collecting", 2)
        deployment.finish(deployment.start_run(1))
        assert deployment.status() == COMPLETED
        assert ends(deployment) == [RELEASED, ABORTED, RELEASED]
        assert deployment.model() == 6.0
        judge(deployment)


def test_a_clientapp_or_a_supernode_killed_in_a_round_is_missing_in_that_round_alone(
    tmp_path: Path,
) -> None:
    with deployed(tmp_path) as deployment:
        programs = deployment.programs
        deployment.hold.touch()
        run = deployment.start_run(3)
        wait_until(lambda: deployment.training() == len(STEPS), "every node trains")
        programs.kill("supernode-gamma")
        deployment.hold.unlink()
        deployment.restart_supernode("gamma")
        wait_until(lambda: deployment.state() == ("idle", 1), "released without gamma")
        deployment.hold.touch()
        wait_until(lambda: deployment.training() == 2 * len(STEPS), "every node trains again")
        programs.kill_started(CLIENT_APP)
        deployment.hold.unlink()
        deployment.finish(run, seconds=300)
        assert deployment.status() == COMPLETED
        assert ends(deployment) == [RELEASED] * 3
        took_part = [len(each.included) for each in deployment.log().rounds]
        assert took_part == [2, 2, 3]
        judge(deployment)


KILLS = 5
LONGEST_S = 30.0
"""Of a run's first round, within which a kill comes."""


def test_programs_killed_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    seed = int(os.environ.get("FEDENCLAVE_SEED", "1"))
    random = np.random.default_rng(seed)
    print(f"seed {seed}")
    with deployed(tmp_path) as deployment:
        programs = deployment.programs
        for _ in range(KILLS):
            run = deployment.start_run(2, timeout=70)
            moment, what = random.uniform(0, LONGEST_S), str(random.choice(["app", "node", "link"]))
            wait_until(lambda r=run: "[ROUND 1/" in programs.text(r), "its first round begins")
            time.sleep(moment)
            node = str(random.choice(list(STEPS)))
            started = programs.running(SERVER_APP) + programs.running(CLIENT_APP)
            print(f"after {moment:.0f} s: {what}")
            if what == "link":
                programs.kill("superlink")
                deployment.finish(run)
                deployment.restart_superlink(register=False)
            elif what == "node":
                programs.kill(f"supernode-{node}")
                deployment.restart_supernode(node)
            elif started:
                os.kill(started[int(random.integers(len(started)))], signal.SIGKILL)
            deployment.finish(run, seconds=400)
        deployment.finish(deployment.start_run(1), seconds=300)
        assert deployment.status() == COMPLETED
        print([f"{each.round} {each.end} {len(each.included)}" for each in deployment.log().rounds])
        judge(deployment)
