"""T7: the operator restarts, rolls back or forks the enclave, to run a round a second time.

In development mode no hardware keeps which state is the newest, so that one can be wound back here:
what is played is that clients see it. That a TPM refuses it is in tests/tpm.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial

from fedenclave.attack_suite.attack import Witness, attack
from fedenclave.attack_suite.world import World, now, payload_of
from fedenclave.audit.folder import contradictions
from fedenclave.protocol import segment
from fedenclave.protocol.aggregation import Adam
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import Reason, Refusal
from fedenclave.protocol.log_file import read_log
from fedenclave.protocol.statements import Suite
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG


@attack("T07-restart", "run a round again with an enclave that has forgotten it")
def restart(world: World, witness: Witness) -> None:
    """The same code on the same manifest, attested as well as the first: it begins at round 1."""
    world.round_of("abc")
    honest, coordinator = world.aggregator, world.coordinator
    world.restart()
    world.open()
    for name in world.sessions:
        witness.client_refuses(
            f"offer {name} round 1 of a restarted enclave",
            partial(world.accept, name),
            saying="another enclave",
        )
    world.sessions["a"] = world.session_again("a")
    witness.client_refuses(
        "offer it to a after a restart of it", partial(world.accept, "a"), saying="another enclave"
    )
    world.aggregator, world.coordinator = honest, coordinator
    witness.goes_on(world)


@attack("T07-old-updates", "hand a round's updates to an enclave that has forgotten the round")
def old_updates(world: World, witness: Witness) -> None:
    """Nobody has to be asked again: the ciphertext is still on the host's disk."""
    world.open()
    sealed = {name: world.sealed(name) for name in world.sessions}
    world.restart()
    world.aggregator.open_round(sorted(sealed), NO_TRAINING_CONFIG)
    for name, update in sealed.items():
        witness.rejected(
            f"submit {name}'s update to a restarted enclave",
            partial(world.pass_on, update),
            Reason.WRONG_ROUND,
        )


@attack("T07-older-checkpoint", "have an enclave that is behind take a client's update")
def older_checkpoint(world: World, witness: Witness) -> None:
    """A client presents the newest checkpoint that it holds; this enclave never gave these out."""
    world.round_of("abc")
    world.open()
    held = world.sessions["a"].state.checkpoint[0]
    for tried, checkpoint in (
        ("of a later time", replace(held, size=held.size + 100)),
        ("of another log", replace(held, root=Digest(bytes(32)))),
        ("that nobody gave out", replace(held, size=held.size - 1)),
    ):
        forged = world.forge("c", payload_of(1), checkpoint=checkpoint)
        witness.rejected(
            f"submit an update with a checkpoint {tried}",
            partial(world.pass_on, forged),
            Reason.ENCLAVE_OLDER_THAN_CLIENT,
        )
    witness.goes_on(world)


@attack(
    "T07-shorter-log", "come back with the enclave's key, but with an older log", suite=Suite.X25519
)
def shorter_log(world: World, witness: Witness) -> None:
    """What a rolled back state looks like to a client: same key, shorter log, earlier round."""
    session, liar = world.sessions["a"], world.liar()
    liar.log += [liar.release(round=number) for number in range(1, 7)]
    first = liar.offer(session.hello(now()).nonce, announcement=liar.announcement(round=5))
    session.seal(world.accept("a", first), payload_of(1), 1)
    true, other = liar.log, [*liar.log[:-1], liar.release(round=9)]
    not_shown = "not shown to go on from the 7"
    for tried, number, log, says in (
        ("a shorter log", 6, true[:-1], not_shown),
        ("another log", 6, other, not_shown),
        ("a longer one of another history", 6, [*other, *true], not_shown),
        ("the same round", 5, true, "sealed for round 5 already"),
        ("an earlier round", 4, true, "sealed for round 5 already"),
    ):
        liar.log = log
        nonce = session.hello(now()).nonce
        offer = liar.offer(nonce, announcement=liar.announcement(round=number))
        witness.client_refuses(f"announce {tried}", partial(world.accept, "a", offer), saying=says)


@attack("T07-state-wound-back", "give the enclave its sealed state of before the release back")
def state_wound_back(world: World, witness: Witness) -> None:
    """A round that was released is open again: leave one client out this time, and subtract."""
    world.open()
    world.contribute("abc")
    before = world.folder_for("copy")
    shutil.copytree(world.folder, before, dirs_exist_ok=True)
    _, deliveries = world.close_round()
    world.take("abc", deliveries)
    world.use(world.aggregator_on(before))
    world.open(["a", "b"])
    for name in "ab":
        witness.client_refuses(
            f"offer {name} a round on the model before, by the enclave wound back",
            partial(world.accept, name),
            saying="not shown to go on",
        )


@attack("T07-state-changed", "change the sealed state, or give one enclave another's")
def state_changed(world: World, witness: Witness) -> None:
    """By a bit, by a client left out, by another federation's: then it does not even start."""
    world.round_of("abc")
    world.open()
    world.contribute("ab")
    other = world.another_world()
    other.open()
    theirs = max((other.folder / "state").iterdir()).read_bytes()
    copy = world.folder_for("copy")
    shutil.copytree(world.folder, copy, dirs_exist_ok=True)
    # The host's own log ends before the updates: the enclave says what it has signed since.
    log = copy / "statements.fel"
    with log.open("rb") as stream:
        entries = list(read_log(stream))
    path = max((copy / "state").iterdir())
    right = path.read_bytes()
    head, snapshot, opened, _, *rest = (entry.data for entry in segment.entries(right))
    without = segment.MAGIC + b"".join(map(segment.frame, (head, snapshot, opened, *rest)))
    for tried, data in (
        ("with one bit changed", right[:-9] + bytes([right[-9] ^ 1]) + right[-8:]),
        ("with the entry of a's admission left out", without),
        ("of another federation", theirs),
        ("emptied", b""),
    ):
        path.write_bytes(data)
        os.truncate(log, entries[-2].offset)
        witness.refused(
            f"start the enclave on a state {tried}",
            partial(world.aggregator_on, copy),
            Refusal.STATE,
        )
    path.write_bytes(right)
    again = world.aggregator_on(copy).status()
    witness.control(
        "put it back",
        f"the enclave goes on in round {again.round} with {again.admitted} updates",
        well=(again.state, again.round, again.admitted) == ("collecting", 2, 2),
    )


@attack(
    "T07-fork",
    "show two halves of the members two enclaves, from the first round on",
    clients=("a", "b", "c", "d"),
)
def fork(world: World, witness: Witness) -> None:
    """Each half sees one consistent history, so nobody can refuse: their receipts tell."""
    _, ours = world.round_of("ab")
    world.restart()
    _, theirs = world.round_of("cd")
    alone = contradictions(list(ours.values()), now=now())
    together = contradictions([*ours.values(), *theirs.values()], now=now())
    witness.found(
        "compare the receipts of both halves",
        f"the audit says: {'; '.join(together) or 'nothing'}",
        stopped=bool(together) and not alone,
    )
    # Once they have followed one, they cannot be moved over to the other.
    world.open(["a", "c"])
    witness.client_refuses(
        "offer a round of the other half's enclave to a",
        partial(world.accept, "a"),
        saying="another enclave",
    )


_ADAM = Adam(eta=0.1, beta_1=0.9, beta_2=0.99, tau=1e-3)


@attack(
    "T07-optimiser-rolled-back",
    "give the server optimiser its memory of an earlier round back",
    rules={"server": _ADAM},
)
def optimiser_rolled_back(world: World, witness: Witness) -> None:
    """It lies with the host as a file, sealed: an older one, a changed one, a shorter one."""
    folder = world.folder / "optimiser"
    world.round_of("abc")
    old = (folder / "round-1.sealed").read_bytes()
    world.round_of("abc")
    file = folder / "round-2.sealed"
    new = file.read_bytes()
    world.open()
    world.contribute("abc")
    middle = len(new) // 2
    for tried, data in (
        ("wound back by a round", old),
        ("with one bit changed", new[:middle] + bytes([new[middle] ^ 1]) + new[middle + 1 :]),
        ("cut short", new[:-1]),
        ("emptied", b""),
    ):
        file.write_bytes(data)
        witness.refused(f"close with the file {tried}", world.coordinator.close, Refusal.STORAGE)
    file.write_bytes(new)
    release, deliveries = world.close_round()
    world.take("abc", deliveries)
    witness.control(
        "put the file back",
        f"the round is released with {release.clients} clients",
        well=release.clients == len(world.sessions),
    )
    witness.goes_on(world)


ATTACKS = (
    restart,
    old_updates,
    older_checkpoint,
    shorter_log,
    state_wound_back,
    state_changed,
    fork,
    optimiser_rolled_back,
)
