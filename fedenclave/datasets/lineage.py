"""What was done to a dataset before it was trained on, in 32 bytes that say nothing of the data.

    stage = SHA-256("fedenclave/lineage-stage/v1" ‖ 0 ‖ CBOR of [previous, name, parameters])

The first digest is the sealed dataset's. The last one goes into the round's lineage, in the app:

    lineage = Lineage.of(dataset.digest).then("normalise", mean=0.13, std=0.31)
    reply.content["fedenclave.lineage"] = ConfigRecord({"data": lineage.digest})

Whoever is shown the dataset's digest, the names and the parameters gets the same 32 bytes. Nothing
here proves that a stage did what its name says: give it the digest of its code as a parameter.
What is to be shown later is kept as a file: lineage_file.py.

FORMAT.md, section 5; ../protocol/SPEC.md, section 15.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fedenclave.protocol.codec import encode
from fedenclave.protocol.digests import DIGEST_SIZE, Digest, domain_digest, to_text

Parameter: TypeAlias = (
    "bool | int | float | str | bytes | Sequence[Parameter] | Mapping[str, Parameter] | None"
)


def written(parameters: Mapping[str, Parameter]) -> dict[str, object]:
    """Return parameters, each with its kind, as they are digested.

    Raises:
        ValueError: one is of another kind than `Parameter`.
    """
    return {key: _written(value) for key, value in parameters.items()}


def digest_of_written(previous: Digest, name: str, parameters: Mapping[str, object]) -> Digest:
    """Return a stage's digest, from parameters that `written` has returned."""
    return domain_digest("lineage-stage", encode([previous, name, dict(parameters)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One stage: its name, its parameters as they are digested, and the digest of all up to it."""

    name: str
    digest: Digest
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Datasets and the stages after them. Made by `of`, continued by `then`.

    Attributes:
        stages: the first stands for the data.
    """

    stages: tuple[Stage, ...]

    @classmethod
    def of(cls, *datasets: Digest) -> Lineage:
        """Begin with the digest of one dataset, or with several, in their order.

        Raises:
            ValueError: there is none, or one is not a digest.
        """
        if not datasets or any(len(digest) != DIGEST_SIZE for digest in datasets):
            raise ValueError(f"a lineage begins with digests of {DIGEST_SIZE} bytes")
        if len(datasets) == 1:
            return cls(stages=(Stage(name="dataset", digest=datasets[0]),))
        together = domain_digest("lineage-datasets", encode(list(datasets)))
        return cls(stages=(Stage(name="datasets", digest=together),))

    @property
    def digest(self) -> Digest:
        """Return the digest of all of it."""
        return self.stages[-1].digest

    def then(self, name: str, /, **parameters: Parameter) -> Lineage:
        """Return the lineage with one stage more.

        Raises:
            ValueError: a parameter is of another kind than `Parameter`.
        """
        given = written(parameters)
        digest = digest_of_written(self.digest, name, given)
        return Lineage(stages=(*self.stages, Stage(name=name, digest=digest, parameters=given)))

    def to_plain(self) -> list[dict[str, str]]:
        """Return names and digests, to be kept beside what was trained."""
        return [{"stage": stage.name, "digest": to_text(stage.digest)} for stage in self.stages]


def _written(value: Parameter) -> list[object]:
    """Return a parameter with its kind, so that 1, 1.0, true and "1" are four different things."""
    if value is None:
        return ["none", ""]
    if isinstance(value, bool):
        return ["bool", value]
    if isinstance(value, int):
        return ["int", str(value)]
    if isinstance(value, float):
        return ["float", value.hex()]
    if isinstance(value, str):
        return ["text", value]
    if isinstance(value, bytes):
        return ["bytes", value]
    if isinstance(value, Mapping):
        return ["map", {key: _written(item) for key, item in value.items()}]
    if isinstance(value, Sequence):
        return ["list", [_written(item) for item in value]]
    raise ValueError(f"a parameter is {type(value).__name__}, want a plain value")
