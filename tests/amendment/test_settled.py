"""T7: of two manifests that could take one's place, hardware with an anchor lets one be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedenclave.enclave import agreed, amendment
from fedenclave.protocol.frames import AbortRequest, AmendRequest, Empty, Request, SignedStatement
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import PublicKey, verify
from fedenclave.protocol.statements import Amendment
from tests.enclave import test_settled_release
from tests.enclave.test_service import APPROVALS, MANIFEST
from tests.enclave.test_settled_release import Machine

LINE = b"development = true"


def following(comment: bytes) -> bytes:
    digest = Manifest.from_bytes(MANIFEST).digest.hex().encode()
    return MANIFEST.replace(LINE, LINE + b'\ncontinues = "sha256:' + digest + b'"  # ' + comment)


@pytest.fixture(autouse=True)
def approved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The members have approved both: that is not what is shown here."""
    everybody = frozenset("abc")
    monkeypatch.setattr(agreed, "approving_members", lambda *_: everybody)
    monkeypatch.setattr(amendment, "changing_members", lambda *_: everybody)


def amend(machine: Machine, manifest: bytes) -> bytes:
    request = AmendRequest(manifest=manifest, approvals=APPROVALS, time=2)
    frame = Request(operation="amend", body=request.to_bytes()).to_bytes()
    reply = machine.peer.ask(frame)
    assert (reply.refusal, reply.body, reply.held) == ("", b"", True)
    machine.write(reply.transition)
    return reply.transition


def test_the_other_change_is_never_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path)
    machine.admit(machine.open())
    machine.close_round()
    machine.fetch()
    before, first, second = machine.segment, following(b"first"), following(b"second")
    untold = amend(machine, first)
    # Sealed, and not told: wound back, another one is taken up, and told.
    machine.segment = before
    machine.resume()
    amend(machine, second)
    told = SignedStatement.from_bytes(machine.ask("tell", Empty())).statement
    resumed = machine.peer.service._federation
    assert resumed is not None
    amendment = verify(Amendment, told, PublicKey(resumed.signing_key))
    assert amendment.manifest == Manifest.from_bytes(second).digest
    for manifest, state in ((first, untold), (MANIFEST, before)):
        machine.segment = state
        monkeypatch.setattr(test_settled_release, "MANIFEST", manifest)
        with pytest.raises(AssertionError, match="state-rolled-back"):
            machine.resume()


def test_a_restart_goes_on_behind_the_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path)
    after = following(b"after")
    amend(machine, after)
    extended = machine.sealer.extended
    monkeypatch.setattr(test_settled_release, "MANIFEST", after)
    resumed = machine.resume()
    assert machine.sealer.extended == extended + 1  # it had not been told
    assert (resumed.first_leaf, resumed.log.size) == (1, 2)
    assert machine.open()
    assert machine.ask("abort", AbortRequest(time=3))
