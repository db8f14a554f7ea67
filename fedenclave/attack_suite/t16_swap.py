"""T16: a sender in league with the host swaps its ciphertext after it has been judged.

Admission judges one update, the mean would take another. The sender knows its content key, and so
can make a second ciphertext with the same tag: only the enclave's own fingerprints tell.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fedenclave.attack_suite.attack import NotStopped, Witness, attack
from fedenclave.attack_suite.gcm_forgery import same_tag
from fedenclave.attack_suite.world import SCHEMA, World, payload_of, value_of
from fedenclave.protocol.errors import Reason, Refusal, RequestRefused
from fedenclave.protocol.sealed_update import TAG_SIZE, chunk_nonce, chunk_offsets, sealed_size
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Rejection, Release

_KEY = bytes(range(32))
_SECOND = 2


def _place(sealed: bytes, number: int) -> slice:
    """Return where sealed chunk `number` lies (1: the first of the payload)."""
    start = len(sealed) - sealed_size(SCHEMA) + chunk_offsets(SCHEMA)[number]
    return slice(start, start + SCHEMA.chunks[number - 1].size + TAG_SIZE)


def _with_the_same_tag(sealed: bytes) -> bytes:
    """Change the second chunk so that it opens, under its old tag, to other numbers.

    Raises:
        ValueError: no change was found after which all of them are finite.
    """
    place, nonce = _place(sealed, _SECOND), chunk_nonce(_SECOND, last=False)
    for grain in range(256):
        change = b"\0\0\0\x80" + bytes(11) + bytes([grain])
        after = same_tag(_KEY, sealed[place], block=0, change=change)
        plain = AESGCM(_KEY).decrypt(nonce, after, None)
        if np.isfinite(np.frombuffer(plain, np.float32)).all():
            return sealed[: place.start] + after + sealed[place.stop :]
    raise ValueError("no forgery of finite numbers was found")


def _one_bit(sealed: bytes, at: int) -> bytes:
    return sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]


def _random_chunks(sealed: bytes) -> bytes:
    start = _place(sealed, 1).start
    return sealed[:start] + os.urandom(len(sealed) - start)


def _swap(file: Path, new: bytes) -> None:
    """Write into the file that the enclave holds open."""
    with file.open("r+b") as opened:
        opened.truncate(0)
        opened.write(new)


def _admitted(world: World, honest: str) -> bytes:
    """Open a round with c's update, whose content key it keeps, and those of `honest`."""
    world.open()
    sealed = world.forge("c", payload_of(7), content_key=_KEY)
    world.admit("c", sealed)
    world.contribute(honest)
    return sealed


def _set_aside(
    world: World, witness: Witness, tried: str, change: Callable[[bytes], bytes]
) -> None:
    base = value_of(world.model())
    sealed = _admitted(world, "ab")
    _swap(world.stored(sealed), change(sealed))
    result, deliveries = world.coordinator.close()
    release = Release.from_bytes(Signed.from_bytes(result.closed.release).payload)
    world.take("ab", deliveries)
    aside = [Rejection.from_bytes(Signed.from_bytes(s).payload) for s in result.closed.set_aside]
    said = ", ".join(f"{each.client}: {each.reason.value}" for each in aside)
    witness.found(
        f"swap {tried}",
        f"set aside: {said or 'nobody'}; {release.clients} clients are counted",
        stopped=[(r.client, r.reason) for r in aside] == [("c", Reason.CHANGED_AFTER_ADMISSION)]
        and release.clients == 2
        and value_of(world.model()) == base + 1,
    )


@attack("T16-same-tag", "swap a chunk for another one that has the same authentication tag")
def same_authentication_tag(world: World, witness: Witness) -> None:
    """The forged chunk decrypts without an error: AES-GCM does not bind who knows the key."""
    _set_aside(world, witness, "a chunk, keeping its tag", _with_the_same_tag)
    witness.goes_on(world)


@attack("T16-other-bytes", "swap a bit of a chunk, a bit of a tag, and the whole update")
def other_bytes(world: World, witness: Witness) -> None:
    """Each in a round of its own; the others' mean is released without it."""
    for tried, change in (
        ("a bit of the first chunk", lambda s: _one_bit(s, _place(s, 1).start)),
        ("a bit of the last tag", lambda s: _one_bit(s, len(s) - 1)),
        ("all chunks", _random_chunks),
    ):
        _set_aside(world, witness, tried, change)
    witness.goes_on(world)


@attack("T16-too-few-left", "swap so many updates that one honest one is left")
def too_few_left(world: World, witness: Witness) -> None:
    """The pass starts again without them, and must not end with a cohort of one."""
    sealed = _admitted(world, "a")
    _swap(world.stored(sealed), _with_the_same_tag(sealed))
    try:
        world.coordinator.close()
    except RequestRefused as error:
        untouched = value_of(world.model()) == 0.5
        witness.found(
            "close with one honest update and a swapped one",
            f"the enclave refuses: {error.refusal.value}; a model was released: {not untouched}",
            stopped=error.refusal is Refusal.COHORT_TOO_SMALL and untouched,
        )
    else:
        raise NotStopped("a mean of one update was released")
    witness.rejected(
        "submit the update again as it was", partial(world.pass_on, sealed), Reason.REPLAYED
    )
    witness.goes_on(world)


ATTACKS = (same_authentication_tag, other_bytes, too_few_left)
