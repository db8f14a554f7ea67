"""An enclave that attests as it should and then lies: every check of the client's must see it.

Development evidence is self-signed, so anybody can make it. On a TEE this is the code that passed
review and has a hole; a client must not depend on there being none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedenclave.protocol import merkle
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.evidence import (
    INSECURE,
    INSECURE_WARNING,
    Evidence,
    InsecureDocument,
    report_data,
)
from fedenclave.protocol.exchange import LogPart, RoundOffer
from fedenclave.protocol.log_file import frame
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import public_key, sign, statement_digest
from fedenclave.protocol.statements import VERSION, Announcement, Checkpoint, Release, Start
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG


class LyingEnclave:
    """Signs whatever it is told to."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.key = Ed25519PrivateKey.generate()
        self.log = [self._start()]

    def _start(self) -> bytes:
        return sign(
            Start(
                version=VERSION,
                federation=self.manifest.name,
                manifest=self.manifest.digest,
                model=self.manifest.initial_model,
                schema=self.manifest.schema,
                measurement=(*self.manifest.attestation.insecure, Digest(bytes(32)))[0],
                approved_by=tuple(sorted(member.name for member in self.manifest.members)),
                time=0,
            ),
            self.key,
        )

    def head(self) -> Checkpoint:
        """Return size and root of its log."""
        leaves = [statement_digest(signed) for signed in self.log]
        return Checkpoint(size=len(leaves), root=merkle.root(leaves))

    def log_part(self) -> LogPart:
        """Return all of its log."""
        return LogPart(first=0, entries=b"".join(map(frame, self.log)))

    def evidence(
        self, nonce: bytes, *, bound: bytes | None = None, format: str = INSECURE, **changes: Any
    ) -> bytes:
        """Return evidence over `nonce`; `changes` are fields of the document."""
        key = public_key(self.key)
        document = InsecureDocument(
            warning=INSECURE_WARNING,
            report_data=bound or report_data(nonce, key, self.manifest.digest),
            measurement=self.manifest.attestation.insecure[0],
            protections=(),
        )
        signed = sign(replace(document, **changes), self.key)
        return Evidence(format=format, document=signed, signing_key=key).to_bytes()

    def announcement(self, **changes: Any) -> bytes:
        """Return a signed announcement, true but for `changes`."""
        return sign(
            replace(
                Announcement(
                    version=VERSION,
                    federation=self.manifest.name,
                    manifest=self.manifest.digest,
                    round=1,
                    base_model=self.manifest.initial_model,
                    schema=self.manifest.schema,
                    training_config=NO_TRAINING_CONFIG,
                    suite=self.manifest.suite,
                    public_key=X25519PrivateKey.generate().public_key().public_bytes_raw(),
                    cohort=tuple(sorted(self.manifest.roster)),
                    available=(),
                    checkpoint=self.head(),
                    time=0,
                ),
                **changes,
            ),
            self.key,
        )

    def release(self, **changes: Any) -> bytes:
        """Return a signed release, of round 1 on the first model but for `changes`."""
        return sign(
            replace(
                Release(
                    metrics=(),
                    version=VERSION,
                    federation=self.manifest.name,
                    manifest=self.manifest.digest,
                    round=1,
                    announcement=Digest(bytes(32)),
                    base_model=self.manifest.initial_model,
                    model=self.manifest.initial_model,
                    schema=self.manifest.schema,
                    cohort=Digest(bytes(32)),
                    clients=2,
                    organisations=2,
                    checkpoint=Checkpoint(size=1, root=Digest(bytes(32))),
                    time=0,
                ),
                **changes,
            ),
            self.key,
        )

    def offer(self, nonce: bytes, *, announcement: bytes, **changes: Any) -> RoundOffer:
        """Return an offer to one client, with evidence for its nonce alone."""
        return replace(
            RoundOffer(
                evidence=self.evidence(merkle.root([nonce])),
                nonce=nonce,
                nonce_index=0,
                nonce_count=1,
                nonce_path=(),
                announcement=announcement,
                releases=(),
                log=self.log_part(),
                manifest=b"",
                approvals=(),
            ),
            **changes,
        )
