"""What evidence says after an amendment, and what a reader takes for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedenclave.audit.log_rounds import LogInvalid
from fedenclave.enclave import agreed, amendment
from fedenclave.protocol.evidence import Evidence
from fedenclave.protocol.frames import EvidenceRequest
from fedenclave.protocol.statements import Amendment
from tests.amendment.test_settled import amend, following
from tests.audit.log_builder import APPROVING, LogBuilder
from tests.audit.lying_receipt import BASICS, MANIFEST
from tests.enclave.test_settled_release import Machine


def test_evidence_claims_secret_memory_that_the_new_rule_no_longer_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`start` and `resume` take the protection back where the rule asked for too much of it."""
    everybody = frozenset(range(9))
    monkeypatch.setattr(agreed, "approving_members", lambda *_: everybody)
    monkeypatch.setattr(amendment, "changing_members", lambda *_: everybody)
    machine = Machine(tmp_path)
    service = machine.peer.service
    service._memory.held = True
    if "secret-memory" not in service._hardening.protections:
        service._hardening.protections.append("secret-memory")

    def refused(size: int) -> np.ndarray:  # type: ignore[type-arg]
        service._memory.held = False
        return np.zeros(size, np.uint8)

    monkeypatch.setattr(service._memory, "allocate", refused)
    amend(machine, following(b"").replace(b'rule = "mean"', b'rule = "median"'))
    assert not service._memory.held
    body = machine.ask("evidence", EvidenceRequest(nonce=bytes(32)))
    assert b"secret-memory" not in Evidence.from_bytes(body).to_bytes()


def test_an_amendment_to_the_same_manifest_is_taken_for_one() -> None:
    """7.2, check 11: its own manifest is the one that continues `before`."""
    log = LogBuilder()
    log.start()
    log.add(
        Amendment(
            **BASICS,
            before=MANIFEST.digest,
            approved_by=APPROVING,
            let_by=APPROVING,
            round=0,
            base_model=MANIFEST.initial_model,
            checkpoint=log.checkpoint(),
            time=5,
        )
    )
    with pytest.raises(LogInvalid):
        log.verified()
