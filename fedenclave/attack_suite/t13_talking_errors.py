"""T13: answers, errors, logs and metrics carry data out."""

from __future__ import annotations

import numpy as np

from fedenclave.attack_suite.attack import Witness, attack
from fedenclave.attack_suite.world import World, payload_of
from fedenclave.protocol.errors import Reason
from fedenclave.protocol.frames import AdmissionResult
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Rejection

_EXAMPLES = 4711
_TALKING = (31337.0, 27182.0)
"""Values over the bound: digits that can be told from anything else in an answer or a log."""


def _spells(data: bytes, value: float) -> bool:
    """Return whether `value` is in `data`, in digits or as it lies in memory."""
    kinds: tuple[type[np.floating], ...] = (np.float32, np.float64)
    ways = [str(int(value)).encode(), *(kind(value).tobytes() for kind in kinds)]
    return any(way in data for way in ways)


def _rejection(answer: AdmissionResult) -> Rejection:
    return Rejection.from_bytes(Signed.from_bytes(answer.statement).payload)


@attack("T13-rejection-tells-a-value", "learn from a rejection or the log how large a value was")
def rejection_tells_a_value(world: World, witness: Witness) -> None:
    """Two clients, two values over the bound: but for names, the answers must be the same."""
    world.open()
    answers = []
    for name, value in zip("ac", _TALKING, strict=True):
        payload = np.float32(value).tobytes() + payload_of(0)[4:]
        answers.append(world.pass_on(world.forge(name, payload, num_examples=_EXAMPLES)))
    said = [answer.to_bytes() for answer in answers]
    said.append((world.folder / "enclave.log").read_bytes())
    told = sum(_spells(data, value) for data in said for value in (*_TALKING, float(_EXAMPLES)))
    reasons = {_rejection(answer).reason for answer in answers}
    witness.found(
        "submit two values over the bound",
        f"both answers say {', '.join(reasons)}; values in answers and log: {told}",
        stopped=told == 0 and reasons == {Reason.OVER_MAX_ABS},
    )
    witness.goes_on(world)


@attack("T13-text-signed-back", "have the enclave sign a text of the attacker's choice")
def text_signed_back(world: World, witness: Witness) -> None:
    """A client's name goes into the signed rejection: what is no name must not."""
    world.open()
    for text in ("Buy now!", "a\nb", "x" * 64, ""):
        answer = world.pass_on(world.forge("c", payload_of(1), client=text, signer="c"))
        signed = _rejection(answer)
        witness.found(
            f"submit an update of the client {text[:10]!r}",
            f"signed is the client {signed.client!r}, and: {signed.reason.value}",
            stopped=(signed.client, signed.reason) == ("", Reason.UNKNOWN_CLIENT),
        )
    witness.goes_on(world)


@attack(
    "T13-metric-not-named",
    "have a client report a metric that the manifest does not name",
    rules={"metrics": ("accuracy",)},
)
def metric_not_named(world: World, witness: Witness) -> None:
    """An app reports all sorts of numbers; what the members did not name stays on the client."""
    world.open()
    sizes = {}
    for name, extra in (("a", {}), ("b", {"patients": _TALKING[0]}), ("c", {})):
        sealed = world.sealed(name, 1.0, 1, accuracy=0.5, **extra)
        sizes[name] = len(sealed)
        world.admit(name, sealed)
    release, _ = world.close_round()
    released = {metric.name: metric.value for metric in release.metrics}
    witness.found(
        "have b report its patients beside the accuracy",
        f"released is {released}; the sealed updates have {len(set(sizes.values()))} size",
        stopped=released == {"accuracy": 0.5} and len(set(sizes.values())) == 1,
    )


@attack("T13-examples-by-the-size", "tell a client's number of examples by its update's length")
def examples_by_the_size(world: World, witness: Witness) -> None:
    """It is sealed with the update, in a field of fixed length."""
    world.open()
    counts = zip("abc", (1, 10**6, 2**62), strict=True)
    sizes = {len(world.sealed(name, num_examples=count)) for name, count in counts}
    witness.found(
        "have clients seal 1, a million and 2^62 examples",
        f"the lengths are {sorted(sizes)}",
        stopped=len(sizes) == 1,
    )


ATTACKS = (rejection_tells_a_value, text_signed_back, metric_not_named, examples_by_the_size)
