"""T1: the operator reads updates: on disk, in messages, in logs, in core files.

The victim's update is a canary: an update whose every four bytes are the same pattern. An honest
client trains it, so what is searched for is exactly what was sealed.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attack_suite.attack import Open, Witness, attack
from fedenclave.attack_suite.enclave_socket import enclave_of, tap
from fedenclave.attack_suite.world import FIRST, WIDE, World
from fedenclave.protocol.signing import sign

# As float32 about 11.456, as float16 about 25 and 2.6: values that the rules admit, and to which
# the first model's 0.5 can be added and taken away again without a bit changing.
_PATTERN = b"CN7A"
MARK = 2 * _PATTERN


def sealed_canary(world: World) -> bytes:
    """Have the honest client `a` train and seal the canary.

    Raises:
        ValueError: the base model is not one from which the canary comes out exactly.
    """
    accepted, size = world.accept("a"), len(FIRST.payload)
    canary = (_PATTERN * (size // len(_PATTERN) + 1))[:size]
    base = bytes(accepted.base.payload)
    wide, half = (
        np.frombuffer(base[part], kind) + np.frombuffer(canary[part], kind)
        for part, kind in ((slice(4 * WIDE), np.float32), (slice(4 * WIDE, size), np.float16))
    )
    if (wide - np.frombuffer(base[: 4 * WIDE], np.float32)).tobytes() != canary[: 4 * WIDE]:
        raise ValueError("the canary does not come out of this base model exactly")
    return world.sessions["a"].seal(accepted, wide.tobytes() + half.tobytes(), 1)


def _with_the_mark(files: Iterable[Path]) -> tuple[list[Path], int]:
    """Return the files that hold the mark, and how many bytes were searched."""
    found, searched = [], 0
    for path in files:
        data = path.read_bytes()
        searched += len(data)
        if MARK in data:
            found.append(path)
    return found, searched


def _search(world: World, witness: Witness, when: str) -> None:
    files = [path for folder in world.folders for path in folder.rglob("*") if path.is_file()]
    found, searched = _with_the_mark(files)
    witness.found(
        f"search all of the host's files {when}",
        f"the canary is in {len(found)} of {len(files)} files ({searched} bytes)",
        stopped=not found and searched > len(FIRST.payload),
    )


@attack("T01-read-the-disk", "search the host's files and the enclave's log for a client's update")
def read_the_disk(world: World, witness: Witness) -> None:
    """Grep everything that the operator has on disk, while the round is open and after it."""
    world.open()
    sealed = sealed_canary(world)
    witness.found(
        "search the sealed update",
        f"the canary is {sealed.count(MARK)} times in {len(sealed)} bytes",
        stopped=MARK not in sealed,
    )
    world.admit("a", sealed)
    world.contribute("bc")
    _search(world, witness, "while the round is open")
    _, deliveries = world.close_round()
    _search(world, witness, "after the release")
    world.take("abc", deliveries)
    # A search that cannot find anything would be content with everything.
    leak = world.folder / "leak"
    leak.write_bytes(b"..." + MARK)
    if _with_the_mark([leak])[0] != [leak]:
        raise RuntimeError("the search does not find a canary that is there")
    leak.unlink()
    witness.goes_on(world)


@attack("T01-read-the-messages", "record every frame to and from the enclave, and search it")
def read_the_messages(world: World, witness: Witness) -> None:
    """Listen on the enclave's socket through a whole round, and keep what clients are sent."""
    wiretap = tap(world.aggregator)
    offers = world.open()
    sealed = sealed_canary(world)
    answer = world.submit("a", sealed)
    world.contribute("bc")
    result, deliveries = world.coordinator.close()
    messages = [sealed, answer.to_bytes(), result.model, result.closed.to_bytes()]
    messages += [offer.to_bytes() for offer in offers.values()]
    messages += [delivery.to_bytes() for delivery in deliveries.values()]
    hits = sum(MARK in message for message in messages)
    witness.found(
        "search every message between host and clients",
        f"the canary is in {hits} of {len(messages)} messages",
        stopped=hits == 0 and answer.admitted,
    )
    # The announcement passed, so the tap heard something.
    heard = bytes(wiretap.seen)
    witness.found(
        "search every frame between host and enclave",
        f"the canary is {heard.count(MARK)} times in {len(heard)} bytes of frames",
        stopped=MARK not in heard and world.announcement_signed in heard,
    )
    world.take("abc", deliveries)
    witness.goes_on(world)


@attack("T01-own-round-key", "put a key of the operator's own into the round's announcement")
def own_round_key(world: World, witness: Witness) -> None:
    """Whoever has the key to which clients seal reads everything: so offer them another one."""
    offer = world.open()["a"]
    operator = Ed25519PrivateKey.generate()
    key = operator.public_key().public_bytes_raw()
    for tried, signer in (("a key of its own", operator), ("as member c", world.keys["c"])):
        announced = sign(replace(world.announcement, public_key=key), signer)
        forged = replace(offer, announcement=announced)
        witness.client_refuses(
            f"announce the round with {tried}",
            partial(world.accept, "a", forged),
            saying="signature of the announcement does not hold",
        )
    witness.goes_on(world)


@contextmanager
def _core_files() -> Iterator[None]:
    """Let processes that are started now leave core files: most machines begin without."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


@attack("T01-core-file", "crash the enclave in an open round, to find the update in a core file")
def core_file(world: World, witness: Witness) -> None:
    """A process that is ended by SIGABRT writes its memory to a file, unless it forbids that."""
    with _core_files():
        world.restart()
    world.open()
    world.submit("a", sealed_canary(world))
    pid = enclave_of(world.aggregator).pid
    os.kill(pid, signal.SIGABRT)
    # Without reaping: the aggregator waits for its process itself.
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    code = ended.si_code if ended is not None else -1
    said = {os.CLD_KILLED: "killed, no core dumped", os.CLD_DUMPED: "killed, core dumped"}
    witness.found(
        "kill the enclave with SIGABRT",
        f"the kernel says: {said.get(code, f'code {code}')}",
        stopped=code == os.CLD_KILLED,
    )
    _search(world, witness, "after the crash")


ATTACKS = (read_the_disk, read_the_messages, own_round_key, core_file)

OPEN = (
    Open(
        id="T01-read-the-enclaves-memory",
        title="read the enclave's memory as root, with a debugger or as the kernel",
        reason="without a TEE whoever owns the machine owns the process; what runs here is "
        "development mode, and says insecure",
    ),
)
