"""A change of the manifest by its commands: drafted, compared, approved, taken up, and followed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from fedenclave.client.folder import LOG_FILE, ClientFolder
from fedenclave.flower.node import FlowerNode
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.errors import ConfigurationError, EnclaveRefused
from fedenclave.protocol.evidence import INSECURE
from fedenclave.protocol.exchange import RoundOffer
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.cli.bank_rounds import aggregator_of, folders_of, one_round
from tests.cli.conftest import BANKS, MANIFEST, Command

NEW = "next.toml"


def drafted(federation: Path, fedenclave: Command, was: str, becomes: str) -> Path:
    """Draft a manifest with one change in it."""
    path = federation / NEW
    assert fedenclave("federation", "amend", federation / MANIFEST, "--out", path).status == 0
    text = path.read_text()
    assert text.count(was) == 1
    path.write_text(text.replace(was, becomes))
    return path


def approve(federation: Path, fedenclave: Command, path: Path) -> None:
    made = []
    for bank in BANKS:
        done = fedenclave("federation", "approve", path, "--dir", federation / bank)
        assert done.status == 0, done.err
        made.append(Path(done.out.strip().split(": ")[-1].replace("\n", "")))
    made = sorted(federation.glob("*/approvals/*-*.approval"))
    assert len(made) == 3
    for bank in BANKS:
        done = fedenclave("client", "add-approvals", "--dir", federation / bank, *made)
        assert done.status == 0, done.err
        assert "the next manifest: 3 members approve" in done.out


def aggregator_under(federation: Path, path: Path) -> Aggregator:
    manifest = Manifest.from_bytes(path.read_bytes())
    return Aggregator(
        federation / "aggregator",
        manifest=manifest.source,
        approvals=ClientFolder(federation / "alpha").approvals(manifest),
        model=Model.from_bytes((federation / "first-model.fem").read_bytes()),
        tee=INSECURE,
    )


def play(aggregator: Aggregator, folders: dict[str, ClientFolder]) -> None:
    coordinator = RoundCoordinator(aggregator, send_manifest=False)
    one_round(coordinator, folders, aggregator.model())


def offers_of(aggregator: Aggregator, federation: Path) -> dict[str, RoundOffer]:
    coordinator = RoundCoordinator(aggregator, send_manifest=False)
    now = int(time.time())
    hellos = {b: folder.session().hello(now) for b, folder in folders_of(federation).items()}
    return coordinator.open(hellos, NO_TRAINING_CONFIG)


def accepted(federation: Path, bank: str, offer: RoundOffer, model: bytes) -> str:
    """Take an offer as a Flower node does; return the digest of the manifest it was judged by."""
    node = FlowerNode(ClientFolder(federation / bank))
    try:
        session = node.session_for(offer)
        now = int(time.time())
        session.accept(offer, model, now, training_config=NO_TRAINING_CONFIG)
        return session.manifest.digest.hex()
    finally:
        node.close()


def test_from_a_draft_to_receipts_of_both_manifests(federation: Path, fedenclave: Command) -> None:
    with aggregator_of(federation) as aggregator:
        play(aggregator, folders_of(federation))
    path = drafted(federation, fedenclave, "weight_cap = 100000", "weight_cap = 5")
    compared = fedenclave("federation", "compare", federation / MANIFEST, path, "--json")
    said = json.loads(compared.out)
    assert compared.status == 0
    assert said == {"problems": [], "changed": {"weight_cap": {"before": 100000, "after": 5}}}
    shown = fedenclave("federation", "compare", federation / MANIFEST, path)
    assert "+weight_cap = 5" in shown.out
    approve(federation, fedenclave, path)
    new = Manifest.from_bytes(path.read_bytes())
    # Approved, and not in force yet: rounds go on as they were.
    with aggregator_of(federation) as aggregator:
        play(aggregator, folders_of(federation))
    with aggregator_under(federation, path) as aggregator:
        offers = offers_of(aggregator, federation)
        for bank in BANKS:
            assert accepted(federation, bank, offers[bank], aggregator.model()) == new.digest.hex()
        aggregator.abort_round()
        for bank in BANKS:
            folder = ClientFolder(federation / bank)
            assert folder.session().manifest.digest == new.digest
            assert folder.manifest().digest == new.digest
            assert folder.next() == {}
            assert len(folder.former()) == 1
        play(aggregator, folders_of(federation))
    for words in (
        ("receipts", "verify", federation / "alpha", "--json"),
        (
            "log",
            "verify",
            federation / "alpha" / LOG_FILE,
            "--client",
            federation / "alpha",
            "--json",
        ),
    ):
        done = fedenclave(*words)
        assert done.status == 0, done.err
    receipts = json.loads(fedenclave("receipts", "verify", federation / "alpha", "--json").out)
    assert len({each["manifest"] for each in receipts["receipts"]}) == 2
    assert len(receipts["receipts"]) == 3
    # Somebody else's copies, with the files named.
    out = federation / "elsewhere"
    out.mkdir()
    (out / MANIFEST).write_bytes(new.source)
    words = ["receipts", "verify", federation / "beta" / "receipts", "--manifest", out / MANIFEST]
    assert fedenclave(*words).status == 1
    assert fedenclave(*words, "--former", federation / MANIFEST).status == 0
    stranger = fedenclave(*words, "--former", out / MANIFEST)
    assert stranger.status == 1
    assert "no manifest that the one you trust continues" in stranger.err


def test_an_owner_who_has_not_approved_it_is_told_and_sends_nothing(
    federation: Path, fedenclave: Command
) -> None:
    with aggregator_of(federation) as aggregator:
        play(aggregator, folders_of(federation))
    path = drafted(federation, fedenclave, "weight_cap = 100000", "weight_cap = 5")
    approve(federation, fedenclave, path)
    gamma = federation / "gamma"
    next((gamma / "next").glob("*.toml")).unlink()
    with aggregator_under(federation, path) as aggregator:
        offers = offers_of(aggregator, federation)
        assert accepted(federation, "alpha", offers["alpha"], aggregator.model())
        before = ClientFolder(gamma).load_state()
        with pytest.raises(EnclaveRefused, match="owner has not approved") as refused:
            accepted(federation, "gamma", offers["gamma"], aggregator.model())
        assert "federation compare" in refused.value.hint
        assert ClientFolder(gamma).load_state() == before


def test_too_few_approvals_keep_the_old_manifest_in_force(
    federation: Path, fedenclave: Command
) -> None:
    with aggregator_of(federation) as aggregator:
        play(aggregator, folders_of(federation))
    path = drafted(federation, fedenclave, "weight_cap = 100000", "weight_cap = 5")
    done = fedenclave("federation", "approve", path, "--dir", federation / "alpha")
    assert done.status == 0
    with pytest.raises(ConfigurationError, match="approved by 1 of the members before"):
        aggregator_under(federation, path)
    with aggregator_of(federation) as aggregator:
        play(aggregator, folders_of(federation))


@pytest.mark.parametrize(
    ("was", "becomes", "says"),
    [
        ('name = "banks"', 'name = "other"', "federation is other, want banks"),
        ("development = false", "development = true", "development is True, want False"),
        ("continues = ", "# continues = ", "the second file continues none"),
    ],
)
def test_compare_says_what_cannot_be_changed(
    federation: Path, fedenclave: Command, was: str, becomes: str, says: str
) -> None:
    path = drafted(federation, fedenclave, was, becomes)
    done = fedenclave("federation", "compare", federation / MANIFEST, path)
    assert done.status == 1
    assert says in done.err


def test_of_two_files_the_one_that_is_no_manifest_is_named(
    federation: Path, fedenclave: Command
) -> None:
    junk = federation / "junk.toml"
    junk.write_text("not toml at all")
    for pair in ((federation / MANIFEST, junk), (junk, federation / MANIFEST)):
        done = fedenclave("federation", "compare", *pair)
        assert done.status == 1
        assert done.err.startswith(f"error: {junk}: manifest is not valid toml")


def test_amend_writes_over_nothing_and_replaces_what_was_continued(
    federation: Path, fedenclave: Command
) -> None:
    path = drafted(federation, fedenclave, "weight_cap = 100000", "weight_cap = 5")
    again = fedenclave("federation", "amend", federation / MANIFEST, "--out", path)
    assert again.status == 1
    assert "exists already" in again.err
    third = federation / "third.toml"
    assert fedenclave("federation", "amend", path, "--out", third).status == 0
    first, second = (Manifest.from_bytes(each.read_bytes()) for each in (path, third))
    assert second.continues == first.digest
    assert third.read_text().count("continues = ") == 1


def test_a_member_that_was_away_follows_two_changes_at_once(
    federation: Path, fedenclave: Command
) -> None:
    with aggregator_of(federation) as aggregator:
        play(aggregator, folders_of(federation))
    second = drafted(federation, fedenclave, "weight_cap = 100000", "weight_cap = 5")
    third = federation / "third.toml"
    assert fedenclave("federation", "amend", second, "--out", third).status == 0
    third.write_text(third.read_text().replace("weight_cap = 5", "weight_cap = 6"))
    for path in (second, third):
        for bank in BANKS:
            done = fedenclave("federation", "approve", path, "--dir", federation / bank)
            assert done.status == 0, done.err
    made = sorted(federation.glob("*/approvals/*-*.approval"))
    for bank in BANKS:
        assert fedenclave("client", "add-approvals", "--dir", federation / bank, *made).status == 0
    aggregator_under(federation, second).close()
    with aggregator_under(federation, third) as aggregator:
        offers = offers_of(aggregator, federation)
        assert accepted(federation, "beta", offers["beta"], aggregator.model())
        folder = ClientFolder(federation / "beta")
        assert folder.session().manifest.rules.weight_cap == 6
        assert (folder.next(), len(folder.former())) == ({}, 2)
