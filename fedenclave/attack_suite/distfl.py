"""The attacks of DisT-FL, by name: on enclaves that aggregate alone, by the server around them.

Wu et al. 2026 (arXiv 2606.04899) show that a server can still choose who takes part, have updates
aggregated again, and roll the enclave's state back: it controls what goes in and out, and restarts.
The parts are T4, T5, T6, T7 and T11 of THREAT_MODEL.md, put together as the paper does.
"""

from __future__ import annotations

from functools import partial

from fedenclave.attack_suite.attack import Open, Witness, attack
from fedenclave.attack_suite.enclave_socket import close_on
from fedenclave.attack_suite.forging import announced
from fedenclave.attack_suite.world import World, now
from fedenclave.protocol.cohort import DrawnCohort
from fedenclave.protocol.errors import Reason, Refusal
from fedenclave.protocol.statements import CohortReport
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG

_FIVE = {"a": "alpha", "b": "beta", "c": "gamma", "x1": "colluding", "x2": "colluding"}
_FOUR = {"a": "alpha", "b": "beta", "x1": "colluding", "x2": "colluding"}


@attack(
    "DISTFL-client-selection",
    "choose the clients until one honest member is alone with those that collude",
    clients=tuple(_FOUR),
    owners=_FOUR,
)
def client_selection(world: World, witness: Witness) -> None:
    """By the cohort that is opened, by rounds aborted until it suits, and by updates dropped."""
    small = Refusal.COHORT_TOO_SMALL
    for cohort in (["a"], ["x1", "x2"]):
        witness.refused(
            f"open a round for {cohort}",
            partial(world.aggregator.open_round, cohort, NO_TRAINING_CONFIG),
            small,
        )
    for _ in range(3):
        world.open()
        world.contribute("b")
        world.coordinator.abort()
    world.open()
    world.contribute("a")
    witness.refused("abort until only a has answered, and close", world.coordinator.close, small)
    world.contribute(["x1", "x2"])
    world.sealed("b")  # and drop it
    result, deliveries = world.coordinator.close()
    missing = CohortReport.from_bytes(result.closed.cohort).missing
    counted = world.take("a", deliveries)["a"].organisations
    witness.found(
        "drop b's update without a's noticing",
        f"a's receipt names {', '.join(counted)}; the signed report misses {', '.join(missing)}",
        stopped=missing == ("b",) and counted == ("alpha", "colluding"),
    )


@attack(
    "DISTFL-replay-aggregation", "have one round's updates aggregated again, without one client"
)
def replay_aggregation(world: World, witness: Witness) -> None:
    """Two means of the same updates, one of them without c, give c's update by subtraction."""
    world.open()
    sealed = world.contribute("abc", 0)
    world.close_round()
    base = min((world.folder / "models").glob("round-*.fem"))
    witness.refused(
        "close the round again", partial(close_on, world.aggregator, base), Refusal.WRONG_STATE
    )
    world.open()
    for name in "ab":
        witness.rejected(
            f"submit {name}'s update to the next round, on the same base model",
            partial(world.pass_on, sealed[name]),
            Reason.WRONG_ROUND,
        )
    world.contribute("ab", 0)
    witness.refused(
        "have a and b train again, and close without c",
        world.coordinator.close,
        Refusal.DIFFERENCING,
    )
    world.contribute("c", 0)
    witness.goes_on(world)


@attack("DISTFL-rollback", "take the enclave back to before a round, and run it with fewer clients")
def rollback(world: World, witness: Witness) -> None:
    """The old ciphertexts, then the clients themselves, for a cohort without c."""
    world.open()
    sealed = world.contribute("abc")
    world.take("abc", world.close_round()[1])
    honest, coordinator = world.aggregator, world.coordinator
    world.restart()
    world.open(["a", "b"])
    for name in "ab":
        witness.rejected(
            f"submit {name}'s update of the round to the enclave that has forgotten it",
            partial(world.pass_on, sealed[name]),
            Reason.WRONG_ROUND,
        )
        witness.client_refuses(
            f"have {name} train for it again", partial(world.accept, name), saying="another enclave"
        )
    witness.refused(
        "close the round all the same", world.coordinator.close, Refusal.COHORT_TOO_SMALL
    )
    world.aggregator, world.coordinator = honest, coordinator
    witness.goes_on(world)


@attack(
    "DISTFL-drawn-cohort",
    "choose the clients where the members have agreed that the enclave draws them",
    clients=tuple(_FIVE),
    owners=_FIVE,
    rules={"drawn": DrawnCohort(size=3, of_at_least=5)},
)
def drawn_cohort(world: World, witness: Witness) -> None:
    """By saying that only those who suit are there, and by an announcement that was not drawn."""
    few = ["a", "x1", "x2"]
    witness.refused(
        f"say that only {', '.join(few)} are available",
        partial(world.aggregator.open_round, few, NO_TRAINING_CONFIG),
        Refusal.COHORT_TOO_SMALL,
    )
    liar = world.liar()
    everybody = tuple(sorted(_FIVE))
    for tried, available in (
        ("name a cohort without a draw", ()),
        ("name a cohort as drawn of itself", tuple(few)),
    ):
        nonce = world.sessions["a"].hello(now()).nonce
        signed = liar.announcement(cohort=tuple(few), available=available)
        witness.client_refuses(
            tried,
            partial(world.accept, "a", liar.offer(nonce, announcement=signed)),
            saying="not chosen as the manifest says",
        )
    world.open()
    available = announced(next(iter(world.offers.values())).announcement).available
    witness.found(
        "draw without anybody's seeing of whom",
        f"the announcement names those that were available: {', '.join(available)}",
        stopped=available == everybody,
    )


ATTACKS = (client_selection, replay_aggregation, rollback, drawn_cohort)

OPEN = (
    Open(
        id="DISTFL-choose-among-enough",
        title="choose whichever clients of enough organisations suit the operator",
        reason="unless the manifest has the enclave draw, who is asked is the host's choice, as it "
        "is Flower's; that cohorts have enough organisations, and who was asked and is missing, is "
        "signed. fewer than min_cohort colluding members among them is the manifest's assumption",
    ),
    Open(
        id="DISTFL-draw-again",
        title="abort rounds until the enclave draws a cohort that suits the operator",
        reason="rounds must be abortable: clients fail. each try is in the log with its draw, for "
        "members to count; an enclave without an anchor can be wound back to before a draw unseen",
    ),
)
