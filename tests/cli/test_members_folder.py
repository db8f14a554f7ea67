"""What a member's own folder lets the operator gain, or what it costs the member."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.client.folder import ClientFolder
from fedenclave.client.state import ClientState
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import key_to_text, public_key, sign
from fedenclave.protocol.statements import VERSION, Approval
from tests.cli.bank_rounds import aggregator_of
from tests.cli.conftest import BANKS, MANIFEST, Command
from tests.cli.test_amendment_commands import drafted
from tests.cli.test_log_notes import banks as banks
from tests.cli.test_log_notes import cosign, new_key, play


def test_a_member_cosigns_two_logs_of_one_enclave(banks: Path, fedenclave: Command) -> None:
    """A restart is agreed on, and the operator starts the old enclave, wound back.

    A witness signs only what continues what it has signed last for that origin (SPEC.md, 7.3).
    """
    new_key(banks, fedenclave)
    assert cosign(banks, fedenclave, banks / "aggregator" / "checkpoint").status == 0
    with aggregator_of(banks) as aggregator:
        play(banks, aggregator)
    assert cosign(banks, fedenclave, banks / "aggregator" / "checkpoint").status == 0
    first = (banks / "cosigned").read_bytes()
    (banks / "cosigned").unlink()
    for bank in ("alpha", "beta"):
        ClientFolder(banks / bank).forget_chain()
    with aggregator_of(banks, "fork") as aggregator:
        play(banks, aggregator)
    done = cosign(banks, fedenclave, banks / "fork" / "checkpoint")
    assert first.splitlines()[0] == (banks / "fork" / "checkpoint").read_bytes().splitlines()[0]
    assert done.status == 1, "one origin, and the smaller log is no beginning of the larger"


def test_a_member_that_changes_its_key_locks_out_every_client_with_a_revocation_list(
    federation: Path, fedenclave: Command
) -> None:
    """The list is signed by beta's old key; the folder cannot take a newer one, either."""
    text = (
        'version = 1\nfederation = "banks"\nserial = {}\n'
        'issued = "2026-11-25T00:00:00Z"\nexpires = "2027-11-25T00:00:00Z"\n'
    )
    signed = federation / "list.toml"
    signed.write_text(text.format(1))
    for bank in BANKS:
        out = federation / "list.signed"
        words = ("federation", "revocations", signed, "--dir", federation / bank)
        assert fedenclave(*words, "--out", out).status == 0
        signed = out
    kept = fedenclave("client", "revocations", "--dir", federation / "alpha", signed)
    assert kept.status == 0
    before = Manifest.from_bytes((federation / MANIFEST).read_bytes())
    beta = Ed25519PrivateKey.generate()
    (old,) = [member.key for member in before.members if member.name == "beta"]
    path = drafted(federation, fedenclave, key_to_text(old), key_to_text(public_key(beta)))
    after = Manifest.from_bytes(path.read_bytes())
    done = fedenclave("federation", "approve", path, "--dir", federation / "gamma")
    assert done.status == 0, done.err
    folder = ClientFolder(federation / "alpha")
    folder.approve(path)
    approvals = [
        *ClientFolder(federation / "gamma").approvals(after),
        sign(
            Approval(version=VERSION, federation="banks", manifest=after.digest, member="beta"),
            beta,
        ),
    ]
    for each in approvals:
        assert folder.add_approval(each)
    # The enclave has gone on, and this client is offered a round under the manifest that its
    # owner, and everybody else, has approved.
    assert folder.session(after).manifest.digest == after.digest


def test_what_the_owner_has_put_in_its_place_is_overwritten_by_what_was_set_aside(
    federation: Path, fedenclave: Command
) -> None:
    """The client went by the next manifest; then its owner gave that federation up."""
    path = drafted(federation, fedenclave, "weight_cap = 100000", "weight_cap = 5")
    folder = ClientFolder(federation / "alpha")
    folder.approve(path)
    after = Manifest.from_bytes(path.read_bytes())
    state = folder.session().state
    fields = {name: getattr(state, name) for name in ClientState.__slots__}
    folder.save_state(ClientState(**{**fields, "manifest": after.digest}).to_bytes())
    other = federation / "other.toml"
    text = (federation / MANIFEST).read_text()
    other.write_text(text.replace("weight_cap = 100000", "weight_cap = 7"))
    folder.approve(other, replace=True)
    with pytest.raises(Exception):  # noqa: B017, PT011 - its state is of another federation
        folder.session()
    wanted = Manifest.from_bytes(other.read_bytes()).digest
    assert to_text(folder.manifest().digest) == to_text(wanted)


def test_an_approval_that_is_brought_again_takes_away_that_of_the_manifest_before(
    federation: Path, fedenclave: Command
) -> None:
    """Then no receipt of a round before the change can be completed any more."""
    before = Manifest.from_bytes((federation / MANIFEST).read_bytes())
    path = drafted(federation, fedenclave, "weight_cap = 100000", "weight_cap = 5")
    after = Manifest.from_bytes(path.read_bytes())
    for bank in BANKS:
        ClientFolder(federation / bank).approve(path)
    folder = ClientFolder(federation / "alpha")
    brought = [ClientFolder(federation / bank).approvals(after)[0] for bank in ("beta", "gamma")]
    for each in brought:
        assert folder.add_approval(each)
    state = folder.session().state
    fields = {name: getattr(state, name) for name in ClientState.__slots__}
    folder.save_state(ClientState(**{**fields, "manifest": after.digest}).to_bytes())
    folder.session()
    assert folder.manifest().digest == after.digest
    assert len(folder.approvals(before)) == 3
    for each in brought:
        assert folder.add_approval(each)
    assert len(folder.approvals(before)) == 3
