"""T11: the host drops, reorders and repeats messages, and kills anything at any moment.

Liveness is not promised. What must hold: nobody counts twice, nobody is said to be in a release who
is not, and nothing of a pass that did not end ever leaves the enclave.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from fedenclave.attack_suite.attack import NotStopped, Witness, attack
from fedenclave.attack_suite.enclave_socket import close_on, enclave_of, fetch_into
from fedenclave.attack_suite.world import NARROW, WIDE, World, payload_of
from fedenclave.host.enclave_process import EnclaveDied
from fedenclave.protocol.errors import Refusal
from fedenclave.protocol.statements import CohortReport
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG


@attack("T11-dropped-update", "drop one client's update, and say that it took part")
def dropped_update(world: World, witness: Witness) -> None:
    """The signed report lists who is missing, and that is a receipt; another's is of no use."""
    world.open()
    world.contribute("ab")
    world.sealed("c", 5)  # and never pass it on
    result, deliveries = world.coordinator.close()
    missing = CohortReport.from_bytes(result.closed.cohort).missing
    witness.found(
        "drop c's update",
        f"the signed report lists as missing: {', '.join(missing)}",
        stopped=missing == ("c",),
    )
    witness.worthless(
        "deliver a's receipt to c", partial(world.sessions["c"].take_delivery, deliveries["a"])
    )
    world.take("ab", deliveries)
    left_out = world.sessions["c"].take_delivery(deliveries["c"])
    witness.control(
        "deliver to c what is true",
        f"the receipt says: {left_out.verdict}, {left_out.reason}",
        well=left_out.verdict == "left out",
    )
    witness.goes_on(world)


@attack("T11-hidden-admission", "tell a client whose update is in the release that it was left out")
def hidden_admission(world: World, witness: Witness) -> None:
    """With the genuine release, and the delivery of a client that really was left out."""
    world.open()
    world.contribute("ab")
    world.sealed("c", 5)
    _, deliveries = world.close_round()
    take = world.sessions["a"].take_delivery
    witness.worthless("deliver to a what c gets", partial(take, deliveries["c"]))
    unanswered = replace(deliveries["a"], answer=b"")
    witness.worthless("deliver to a all but its answer", partial(take, unanswered))
    world.take("abc", deliveries)
    witness.goes_on(world)


@attack("T11-other-order", "hand updates over in another order, to get another model")
def other_order(world: World, witness: Witness) -> None:
    """Floating point depends on the order of a sum; this sum does not."""
    rng = np.random.default_rng(7)
    payloads = {
        name: rng.standard_normal(WIDE).astype(np.float32).tobytes()
        + rng.standard_normal(NARROW).astype(np.float16).tobytes()
        for name in world.sessions
    }
    digests = [_digest_in_order(world, payloads, "abc")]
    world.restart()
    digests.append(_digest_in_order(world, payloads, "cab"))
    witness.found(
        "release the same updates in two orders, by two enclaves",
        f"the models are {' and '.join(digest.hex()[:16] for digest in digests)}",
        stopped=len(set(digests)) == 1,
    )


def _digest_in_order(world: World, payloads: dict[str, bytes], order: Sequence[str]) -> bytes:
    world.open()
    for name in order:
        world.admit(name, world.forge(name, payloads[name], num_examples=ord(name)))
    return world.close_round()[0].model


@attack("T11-failed-pass", "let a pass fail at its end, and fetch what it had computed")
def failed_pass(world: World, witness: Witness) -> None:
    """Every chunk but the last is right: the model was all but finished in the enclave."""
    world.round_of("abc")
    world.open()
    world.contribute("abc", 8)
    folder = world.folder_for("files")
    spoilt, leak = folder / "spoilt", folder / "leak"
    payload = bytes(world.model().payload)
    spoilt.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))
    fetch = partial(fetch_into, world.aggregator, leak)
    witness.refused(
        "close on a base whose last byte is another",
        partial(close_on, world.aggregator, spoilt),
        Refusal.WRONG_MODEL,
    )
    witness.refused("fetch the model of the failed pass", fetch, Refusal.WRONG_STATE)
    world.coordinator.abort()
    # Once idle, the enclave may give out the last release again, and nothing newer.
    witness.refused("fetch it after an abort", fetch, Refusal.WRONG_STATE)
    size = leak.stat().st_size
    witness.found("look into the file for the model", f"it holds {size} bytes", stopped=size == 0)
    witness.goes_on(world)


@attack("T11-killed-enclave", "kill the enclave in an open round, and go on with another")
def killed_enclave(world: World, witness: Witness) -> None:
    """The round is lost, and nothing else: nobody seals for it a second time."""
    world.open()
    world.contribute("ab")
    states = {name: world.stores[name].state for name in world.sessions}
    os.kill(enclave_of(world.aggregator).pid, signal.SIGKILL)
    try:
        world.coordinator.close()
    except EnclaveDied as died:
        witness.found("close the round", f"the host sees: {died.message}", stopped=True)
    else:
        raise NotStopped("a killed enclave released")
    kept = sum(world.stores[name].state == state for name, state in states.items())
    witness.found(
        "look at what the clients remember",
        f"{kept} of {len(states)} remember what they did before",
        stopped=kept == len(states),
    )
    world.restart()
    world.open()
    for name in "ab":
        witness.client_refuses(
            f"offer the round to {name} again",
            partial(world.accept, name),
            saying="another enclave",
        )


@attack("T11-abort-for-a-release", "tell a client of a released update that the round was aborted")
def abort_for_a_release(world: World, witness: Witness) -> None:
    """With a genuine abort of another round, and the true place in the log."""
    world.open()
    world.contribute("abc")
    lost = world.coordinator.abort()["a"]
    world.open()
    world.contribute("abc")
    _, deliveries = world.close_round()
    true = deliveries["a"]
    mixed = replace(true, release=b"", cohort=b"", abort=lost.abort)
    session = world.sessions["a"]
    witness.worthless("deliver round 1's abort for round 2", partial(session.take_delivery, mixed))
    verdicts = [session.take_delivery(delivery).verdict for delivery in (lost, true)]
    witness.control(
        "deliver what is true",
        f"the receipts say: {', '.join(verdicts)}",
        well=verdicts == ["round aborted", "included"],
    )


@attack("T11-out-of-order", "ask the enclave for everything at the wrong time")
def out_of_order(world: World, witness: Witness) -> None:
    """Close, abort and submit without a round; a second round beside an open one; late updates."""
    aggregator, wrong = world.aggregator, Refusal.WRONG_STATE
    witness.refused("close without a round", aggregator.close_round, wrong)
    witness.refused("abort without a round", aggregator.abort_round, wrong)
    witness.refused("submit without a round", lambda: aggregator.submit([b"FEU1"]), wrong)
    world.open()
    witness.refused(
        "open a second round",
        lambda: aggregator.open_round(["a", "b"], NO_TRAINING_CONFIG),
        wrong,
    )
    world.contribute("ab")
    first = min((world.folder / "models").glob("round-*.fem"))
    world.take("ab", world.close_round()[1])
    witness.refused("close a second time", partial(close_on, world.aggregator, first), wrong)
    late = world.forge("c", payload_of(1))
    witness.refused("submit an update after the release", lambda: aggregator.submit([late]), wrong)
    witness.goes_on(world)


ATTACKS = (
    dropped_update,
    hidden_admission,
    other_order,
    failed_pass,
    killed_enclave,
    abort_for_a_release,
    out_of_order,
)
