"""A lineage as a file: what its owner keeps, to show later what 32 bytes of a log stand for.

    {"format": "fedenclave-lineage-1", "dataset": "sha256:…", "digest": "sha256:…",
     "stages": [{"stage": "scale", "parameters": {"divisor": ["int", "255"]}}], "salt": "…"}

Parameters stand as they are digested, each with its kind; bytes in hexadecimal. `salt` is there
only in what was made to be shown to one auditor (`fedenclave data disclose`): with it anybody can
try guesses at the data against the digest, so it is as secret as the data.

A file proves nothing by itself: `digest_from` computes all of it again from the dataset's digest.

FORMAT.md, section 7.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedenclave.datasets.digest import SALT_SIZE
from fedenclave.datasets.lineage import Lineage, digest_of_written
from fedenclave.protocol.digests import Digest, from_text, to_text
from fedenclave.protocol.errors import ConfigurationError, MalformedMessage

FORMAT = "fedenclave-lineage-1"
MAX_FILE = 4 << 20
FOLDER = "lineage"
"""Where a client's folder keeps them, each named by its digest."""

_TEXTS = frozenset({"int", "float", "text", "none"})
_DEEPEST = 16
_NOT_ONE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLineage:
    """What a file says. Whether it is so, `digest_from` shows.

    Attributes:
        dataset: the sealed dataset's digest.
        stages: name and parameters of each stage after it, the parameters as they are digested.
        digest: of all, as it stands in the log.
        salt: the dataset's; empty but in what is disclosed.
    """

    dataset: Digest
    stages: tuple[tuple[str, Mapping[str, object]], ...]
    digest: Digest
    salt: bytes = b""

    @classmethod
    def of(cls, lineage: Lineage) -> KeptLineage:
        """Return what is to be kept of a lineage.

        Raises:
            ValueError: it begins with several datasets.
        """
        first, *rest = lineage.stages
        if first.name != "dataset":
            raise ValueError("a lineage of several datasets cannot be kept, want one dataset")
        return cls(
            dataset=first.digest,
            stages=tuple((stage.name, stage.parameters) for stage in rest),
            digest=lineage.digest,
        )

    def digest_from(self, dataset: Digest) -> Digest:
        """Return what the log has to say if these stages were given this dataset."""
        digest = dataset
        for name, parameters in self.stages:
            digest = digest_of_written(digest, name, parameters)
        return digest

    def to_json(self) -> bytes:
        """Return the file."""
        salt = {"salt": self.salt.hex()} if self.salt else {}
        value = {
            "format": FORMAT,
            "dataset": to_text(self.dataset),
            "digest": to_text(self.digest),
            "stages": [
                {"stage": name, "parameters": {key: _shown(v) for key, v in parameters.items()}}
                for name, parameters in self.stages
            ],
            **salt,
        }
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def read_lineage(path: Path) -> KeptLineage:
    """Return what a file says.

    Raises:
        ConfigurationError: it cannot be read, or is no such file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read lineage {path}: {error.strerror}",
            hint=f"a node keeps them in its folder's {FOLDER}/, named by digest",
        ) from error
    try:
        return _read(data)
    # What json says of what is no JSON, and of nesting without an end, is of these kinds, too.
    except (*_NOT_ONE, MalformedMessage) as error:
        raise ConfigurationError(
            f"{path} is no lineage file of format {FORMAT}",
            hint="was it changed, or cut off? the node's own copy is named by the log's digest",
        ) from error


def _read(data: bytes) -> KeptLineage:
    if len(data) > MAX_FILE:
        raise ValueError("too long")
    value = json.loads(data)
    if value.pop("format") != FORMAT:
        raise ValueError("another format")
    salt = bytes.fromhex(value.pop("salt", ""))
    if len(salt) not in (0, SALT_SIZE):
        raise ValueError("a salt of another size")
    read = KeptLineage(
        dataset=from_text(value.pop("dataset")),
        digest=from_text(value.pop("digest")),
        stages=tuple(_stage(each) for each in value.pop("stages")),
        salt=salt,
    )
    if value:
        raise ValueError("unknown keys")
    return read


def _stage(value: dict[str, Any]) -> tuple[str, Mapping[str, object]]:
    name, parameters = value.pop("stage"), value.pop("parameters")
    if value or not isinstance(name, str):
        raise ValueError("a stage is a name and its parameters")
    return name, {key: _taken(item, _DEEPEST) for key, item in parameters.items()}


def _shown(value: object) -> object:
    """Return a digested parameter as JSON has it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {key: _shown(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_shown(item) for item in value]
    return value


def _taken(pair: object, deep: int) -> list[object]:
    """Return a parameter as it is digested.

    Raises:
        ValueError: it is none.
    """
    if not deep or not isinstance(pair, list) or len(pair) != 2:
        raise ValueError("a parameter is its kind and its value")
    kind, value = pair
    if kind in _TEXTS and isinstance(value, str):
        return [kind, value]
    if kind == "bool" and isinstance(value, bool):
        return [kind, value]
    if kind == "bytes" and isinstance(value, str):
        return [kind, bytes.fromhex(value)]
    if kind == "list" and isinstance(value, list):
        return [kind, [_taken(item, deep - 1) for item in value]]
    if kind == "map" and isinstance(value, dict):
        return [kind, {key: _taken(item, deep - 1) for key, item in value.items()}]
    raise ValueError("a parameter of no known kind")
