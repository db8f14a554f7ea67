"""T11: evaluations are logged for whoever reaches the gateway, as many as it likes.

Each adds a checkpoint to the enclave's snapshot, which can be read up to 64 MiB: 1.6 million of
them, at a millisecond or two each, and the next segment is one that no restart can read. Here the
limit is smaller, and so is their number.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fedenclave.enclave.transitions import Snapshot
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.frames import AbortRequest, EvaluatedRequest
from tests.enclave.test_settled_release import Machine

LIMIT = 8 << 10


def test_the_state_behind_many_evaluations_can_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused in time, or remembered otherwise: what is sealed must open."""
    monkeypatch.setattr(Snapshot, "MAX_SIZE", LIMIT)
    machine = Machine(tmp_path)
    machine.open()
    machine.ask("abort", AbortRequest(time=2))
    assert machine.resume().size
    for number in range(LIMIT // 40):
        try:
            machine.ask("evaluated", EvaluatedRequest(digest=Digest(bytes(32)), time=number))
        except AssertionError:
            break
    assert machine.resume().size  # each of them was settled, and is there
    machine.open()
    machine.ask("abort", AbortRequest(time=2))
    assert machine.resume().size
