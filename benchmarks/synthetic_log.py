"""A long log that an honest enclave could have signed, made by the protocol's own functions.

A start; then rounds of cohorts of several sizes, in turn. Every statement is signed, every
checkpoint is of the tree before it. Of a cohort every fiftieth client's first update is refused,
and its second admitted; every tenth round is aborted.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.protocol.digests import Digest, sha256
from fedenclave.protocol.errors import Reason
from fedenclave.protocol.log_file import MAGIC, frame
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.merkle import Frontier
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import PublicKey, public_key, sign, statement_digest
from fedenclave.protocol.statements import (
    NO_DATA,
    VERSION,
    Abort,
    Admission,
    Announcement,
    Checkpoint,
    FederationStatement,
    Rejection,
    Release,
    Start,
)
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import Arrays, development_manifest

ARRAYS: Arrays = {"w": np.zeros(8, np.float32)}
REFUSED_EVERY, ABORTED_EVERY = 50, 10


class HonestEnclave:
    """Signs what an honest enclave would, and keeps the tree."""

    def __init__(self, manifest: Manifest) -> None:
        """Make a key."""
        self.key = Ed25519PrivateKey.generate()
        self._manifest = manifest
        self._tree = Frontier()
        self._model = manifest.initial_model
        self._basics: dict[str, Any] = {
            "version": VERSION,
            "federation": manifest.name,
            "manifest": manifest.digest,
        }

    def _append(self, statement: FederationStatement) -> bytes:
        signed = sign(statement, self.key)
        self._tree.append(statement_digest(signed))
        return signed

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(size=self._tree.size, root=self._tree.root())

    def start(self) -> bytes:
        """Return the first entry."""
        manifest = self._manifest
        return self._append(
            Start(
                **self._basics,
                model=manifest.initial_model,
                schema=manifest.schema,
                measurement=sha256(b"benchmark"),
                approved_by=tuple(sorted(member.name for member in manifest.members)),
                time=0,
            )
        )

    def round(self, number: int, cohort: Sequence[str]) -> Iterator[bytes]:
        """Yield a round's entries; `cohort` is sorted."""
        manifest = self._manifest
        announcement = self._append(
            Announcement(
                **self._basics,
                round=number,
                base_model=self._model,
                schema=manifest.schema,
                training_config=NO_TRAINING_CONFIG,
                suite=manifest.suite,
                public_key=secrets.token_bytes(32),
                cohort=tuple(cohort),
                available=(),
                checkpoint=self._checkpoint(),
                time=number,
            )
        )
        yield announcement
        for place, client in enumerate(cohort):
            if place % REFUSED_EVERY == 0:
                yield self._append(self._rejection(number, client))
            yield self._append(
                Admission(
                    **self._basics,
                    round=number,
                    client=client,
                    update=_update(),
                    data=NO_DATA,
                )
            )
        yield self._append(
            Abort(**self._basics, round=number, checkpoint=self._checkpoint(), time=number)
            if number % ABORTED_EVERY == 0
            else self._release(number, cohort, announcement)
        )

    def _rejection(self, number: int, client: str) -> Rejection:
        return Rejection(
            **self._basics,
            round=number,
            client=client,
            update=_update(),
            reason=Reason.NOT_FINITE,
        )

    def _release(self, number: int, cohort: Sequence[str], announcement: bytes) -> Release:
        base, self._model = self._model, sha256(f"model {number}".encode())
        return Release(
            **self._basics,
            round=number,
            announcement=statement_digest(announcement),
            base_model=base,
            model=self._model,
            schema=self._manifest.schema,
            cohort=sha256(b"report"),
            clients=len(cohort),
            organisations=len(self._manifest.organisations(cohort)),
            metrics=(),
            checkpoint=self._checkpoint(),
            time=number,
        )


def _update() -> Digest:
    return Digest(secrets.token_bytes(32))


def manifest_of(clients: int) -> Manifest:
    """Return a manifest with that many clients."""
    schema = schema_of(ARRAYS)
    model = Model(schema=schema, payload=bytes(pack(schema, ARRAYS)))
    keys = {f"client-{i}": PublicKey(secrets.token_bytes(32)) for i in range(clients)}
    manifest, _ = development_manifest(model, keys, measurement="sha256:" + "00" * 32)
    return manifest


def write_log(
    file: Path, manifest: Manifest, events: int, cohorts: Sequence[int]
) -> tuple[PublicKey, int]:
    """Write a log of about as many entries; return the enclave's key, and how many it has.

    Args:
        file: where.
        manifest: whose clients there are at least as many of as the largest cohort has.
        events: entries.
        cohorts: how many clients rounds have, in turn.
    """
    enclave, entries, roster = HonestEnclave(manifest), 1, sorted(manifest.roster)
    with file.open("wb") as stream:
        stream.write(MAGIC + frame(enclave.start()))
        for number, size in enumerate(cycle(cohorts), 1):
            if entries >= events:
                break
            for signed in enclave.round(number, roster[:size]):
                stream.write(frame(signed))
                entries += 1
    return public_key(enclave.key), entries
