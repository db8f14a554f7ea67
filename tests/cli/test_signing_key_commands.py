"""A client's signing key: in a token, exchanged by the members, refused from then on."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.client.files import read_key
from fedenclave.client.folder import ClientFolder
from fedenclave.client.signing_keys import AUDIT_FILE
from fedenclave.flower.node import FlowerNode
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.keys.errors import AnswerNotTrusted, KeysRefused, NoSuchKey
from fedenclave.keys.pkcs11_signing import make_signer, open_signer
from fedenclave.protocol.errors import Reason
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import public_key
from fedenclave.protocol.tensors import pack
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.cli import test_amendment_commands
from tests.cli.bank_rounds import aggregator_of, folders_of
from tests.cli.conftest import BANKS, MANIFEST, Command, agree, copied
from tests.cli.test_amendment_commands import NEW, aggregator_under, approve, play
from tests.keys.events import read_events
from tests.keys.softhsm import PIN, SoftToken, soft_token

_numbers = itertools.count()


@pytest.fixture
def token() -> SoftToken:
    return soft_token("node")


@pytest.fixture
def uri(token: SoftToken) -> str:
    return token.uri(f"client-{next(_numbers)}")


def submitted_with(aggregator: Aggregator, federation: Path, bank: str, key: object) -> object:
    """Open a round and submit one bank's update under another key; return the answer."""
    coordinator = RoundCoordinator(aggregator, send_manifest=False)
    now, model_file = int(time.time()), aggregator.model()
    hellos = {b: folder.session().hello(now) for b, folder in folders_of(federation).items()}
    offers = coordinator.open(hellos, NO_TRAINING_CONFIG)
    for other in BANKS:  # every client follows the enclave to its manifest
        test_amendment_commands.accepted(federation, other, offers[other], model_file)
    offer = offers[bank]
    node = FlowerNode(ClientFolder(federation / bank))
    try:
        session = node.session_for(offer)
        accepted = session.accept(offer, model_file, now, training_config=NO_TRAINING_CONFIG)
        session._key = key  # type: ignore[assignment]  # what a thief of the key has
        model = Model.from_bytes(model_file)
        arrays = {spec.name: np.zeros(spec.shape, np.float32) for spec in model.schema.tensors}
        arrays["bias"] = arrays["bias"].astype(np.float16)
        sealed = session.seal(accepted, pack(model.schema, arrays), 7)
        return coordinator.submit(bank, sealed)
    finally:
        node.close()


def test_a_client_whose_key_is_in_a_token_takes_part_like_any_other(
    enrolled: Path, fedenclave: Command, uri: str
) -> None:
    shutil.rmtree(enrolled / "alpha")
    made = fedenclave(
        *("client", "enroll", "--dir", enrolled / "alpha", "--organisation", "alpha"),
        *("--signing-key", uri),
    )
    assert (made.status, made.err) == (0, "")
    assert "the signing key is in pkcs11:token=node;object=client-" in made.out
    assert "pin-source" not in made.out
    assert not (enrolled / "alpha" / "client.key").exists()
    agree(enrolled)
    with aggregator_of(enrolled) as aggregator:
        play(aggregator, folders_of(enrolled))
        play(aggregator, folders_of(enrolled))
    for bank in BANKS:
        verified = fedenclave("receipts", "verify", enrolled / bank, "--json")
        assert verified.status == 0, verified.err
        assert len(json.loads(verified.out)["receipts"]) == 2
    events = read_events(enrolled / "alpha" / AUDIT_FILE)
    assert [event["event"] for event in events] == ["change-begun", "signing-key-created"]
    assert str(events[0]["where"]).startswith("pkcs11:token=node;object=client-")
    assert PIN not in (enrolled / "alpha" / AUDIT_FILE).read_text()
    # What would leave the machine is shown with the token's signature, too.
    shown = fedenclave(
        *("client", "dry-run", "--dir", enrolled / "alpha"),
        *("--model", enrolled / "first-model.fem"),
    )
    assert shown.status == 0, shown.err


def test_an_exchanged_key_is_refused_and_older_receipts_still_verify(
    federation: Path, fedenclave: Command, uri: str
) -> None:
    alpha = federation / "alpha"
    with aggregator_of(federation) as aggregator:
        play(aggregator, folders_of(federation))
    stolen = read_key(alpha / "client.key")
    # 1. The client makes its next key, here in a token.
    made = fedenclave("client", "new-key", "--dir", alpha, "--signing-key", uri)
    assert (made.status, made.err) == (0, "")
    again = fedenclave("client", "new-key", "--dir", alpha)
    assert again.status == 1
    assert "has a next signing key already" in again.err
    # 2. The members put it into the manifest that follows, see it, and approve.
    words = ("federation", "amend", federation / MANIFEST, "--out", federation / NEW)
    drafted = fedenclave(*words, "--new-key", alpha / "next-enrolment.json")
    assert (drafted.status, drafted.err) == (0, "")
    assert "client alpha: ed25519:" in drafted.out
    compared = fedenclave(
        "federation", "compare", federation / MANIFEST, federation / NEW, "--json"
    )
    assert json.loads(compared.out)["problems"] == []
    approve(federation, fedenclave, federation / NEW)
    # Until the enclave goes by it, rounds go on with the key in use.
    with aggregator_of(federation) as aggregator:
        play(aggregator, folders_of(federation))
    assert (alpha / "client.key").exists()
    # 3. From then on the former key counts no more, and the client has given it up.
    with aggregator_under(federation, federation / NEW) as aggregator:
        answer = submitted_with(aggregator, federation, "alpha", stolen)
        assert answer.reason == Reason.BAD_SIGNATURE  # type: ignore[attr-defined]
        aggregator.abort_round()
        play(aggregator, folders_of(federation))
    assert not (alpha / "client.key").exists()
    identity = ClientFolder(alpha).identity()
    assert identity.signing_keys == [uri]
    assert [event["event"] for event in read_events(alpha / AUDIT_FILE)] == [
        *("change-begun", "signing-key-created"),
        *("change-begun", "signing-key-created"),
        *("change-begun", "signing-key-replaced"),
    ]
    for bank in BANKS:
        verified = fedenclave("receipts", "verify", federation / bank, "--json")
        assert verified.status == 0, verified.err
        receipts = json.loads(verified.out)["receipts"]
        assert len({each["manifest"] for each in receipts}) == 2
    pem = stolen.private_bytes_raw()
    for path in federation.rglob("*"):
        if path.is_file():
            assert pem not in path.read_bytes(), path


def test_a_next_key_whose_token_is_away_stops_no_round_before_its_time(
    federation: Path, fedenclave: Command, uri: str
) -> None:
    alpha = federation / "alpha"
    assert fedenclave("client", "new-key", "--dir", alpha, "--signing-key", uri).status == 0
    toml = (alpha / "client.toml").read_text()
    (alpha / "client.toml").write_text(toml.replace("token=node", "token=away"))
    with aggregator_of(federation) as aggregator:
        play(aggregator, folders_of(federation))
    assert (alpha / "client.key").exists()


def test_no_signing_key_is_made_without_a_record(federation: Path, fedenclave: Command) -> None:
    alpha = federation / "alpha"
    (alpha / AUDIT_FILE).unlink()
    (alpha / AUDIT_FILE).mkdir()
    before = (alpha / "client.toml").read_bytes()
    done = fedenclave("client", "new-key", "--dir", alpha)
    assert done.status == 1
    assert "cannot write the audit event change-begun" in done.err
    assert not (alpha / "client-2.key").exists()
    assert (alpha / "client.toml").read_bytes() == before


def test_a_key_in_a_file_follows_another_in_a_file(federation: Path, fedenclave: Command) -> None:
    beta = federation / "beta"
    with aggregator_of(federation) as aggregator:
        play(aggregator, folders_of(federation))
    assert fedenclave("client", "new-key", "--dir", beta).status == 0
    assert (beta / "client-2.key").stat().st_mode & 0o777 == 0o600
    # Broken off before the enrolment was written: the same key's is, by the next call.
    enrolment = (beta / "next-enrolment.json").read_bytes()
    (beta / "next-enrolment.json").unlink()
    assert fedenclave("client", "new-key", "--dir", beta).status == 0
    assert (beta / "next-enrolment.json").read_bytes() == enrolment
    assert not (beta / "client-3.key").exists()
    words = ("federation", "amend", federation / MANIFEST, "--out", federation / NEW)
    assert fedenclave(*words, "--new-key", beta / "next-enrolment.json").status == 0
    approve(federation, fedenclave, federation / NEW)
    with aggregator_under(federation, federation / NEW) as aggregator:
        key = ClientFolder(beta).client_key(Manifest.from_bytes((federation / NEW).read_bytes()))
        answer = submitted_with(aggregator, federation, "beta", key)
        assert answer.admitted  # type: ignore[attr-defined]
        aggregator.abort_round()
        play(aggregator, folders_of(federation))
    assert not (beta / "client.key").exists()
    assert ClientFolder(beta).identity().signing_keys == ["client-2.key"]


def test_a_stolen_key_can_be_taken_off_the_roster_where_enough_are_left(
    federation: Path, fedenclave: Command
) -> None:
    words = ("federation", "amend", federation / MANIFEST, "--out", federation / NEW)
    refused = fedenclave(*words, "--without", "gamma")
    assert refused.status == 1
    assert "min_cohort is 3, want at most 2" in refused.err
    assert not (federation / NEW).exists()
    other = copied(federation, federation.with_name("smaller"))
    text = (other / MANIFEST).read_text().replace("min_cohort = 3", "min_cohort = 2")
    (other / MANIFEST).write_text(text)
    words = ("federation", "amend", other / MANIFEST, "--out", other / NEW)
    done = fedenclave(*words, "--without", "gamma")
    assert (done.status, done.err) == (0, "")
    assert "client gamma: on the roster no more" in done.out
    after = Manifest.from_bytes((other / NEW).read_bytes())
    assert sorted(after.roster) == ["alpha", "beta"]
    assert sorted(member.name for member in after.members) == list(BANKS)
    unknown = fedenclave(*words[:-1], other / "x.toml", "--without", "delta")
    assert "has no client delta" in unknown.err


def test_an_enrolment_that_does_not_fit_changes_nothing(
    federation: Path, fedenclave: Command
) -> None:
    words = ("federation", "amend", federation / MANIFEST, "--out", federation / NEW)
    enrolment = json.loads((federation / "alpha" / "enrolment.json").read_text())
    file = federation / "e.json"
    key = json.loads((federation / "beta" / "enrolment.json").read_text())["member_key"]
    for change, says in (
        ({}, "names the key that it has already"),
        ({"client": "delta"}, "has no client delta of alpha"),
        ({"member": "beta"}, "has no client alpha of beta"),
        ({"member_key": key}, "names another key of alpha than the manifest"),
    ):
        file.write_text(json.dumps(enrolment | change))
        done = fedenclave(*words, "--new-key", file)
        assert done.status == 1
        assert says in done.err
        assert not (federation / NEW).exists()


def test_a_signing_key_is_a_token_or_nothing_is_made(
    tmp_path: Path, fedenclave: Command, token: SoftToken, uri: str
) -> None:
    words = ("client", "enroll", "--dir", tmp_path / "a", "--organisation", "alpha")
    for where, says in (
        ("key.pem", "want a token's key"),
        (token.uri(), "names no key, want object=LABEL"),
        (uri.replace("token=node", "token=none"), "has 0 tokens"),
        (uri.replace(".pin", ".nopin"), "cannot read the PIN file"),
    ):
        done = fedenclave(*words, "--signing-key", where)
        assert done.status == 1
        assert says in done.err
        assert "Traceback" not in done.err
        assert not (tmp_path / "a" / "client.toml").exists()
    assert fedenclave(*words, "--signing-key", uri).status == 0
    other = ("client", "enroll", "--dir", tmp_path / "b", "--organisation", "beta")
    taken = fedenclave(*other, "--signing-key", uri)
    assert taken.status == 1
    assert "has a signing key client-" in taken.err


def test_a_token_without_the_key_or_with_another_pair_is_told(token: SoftToken, uri: str) -> None:
    import pkcs11

    with pytest.raises(NoSuchKey, match="has 0 signing keys"):
        open_signer(uri)
    signer = make_signer(uri)
    assert public_key(open_signer(uri)) == public_key(signer)
    signer.public_key().verify(signer.sign(b"data"), b"data")
    with pytest.raises(KeysRefused, match=r"has a signing key .* already"):
        make_signer(uri)
    # The public half of another pair under this one's id: the signature is found to be another's.
    signer._public = Ed25519PrivateKey.generate().public_key()
    with pytest.raises(AnswerNotTrusted, match="signs with another key"):
        signer.sign(b"data")
    label = uri.partition("object=")[2].partition("?")[0]
    opened = pkcs11.lib(token.module).get_token(token_label=token.label).open()
    (private,) = opened.get_objects(
        {pkcs11.Attribute.LABEL: label, pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY}
    )
    assert private[pkcs11.Attribute.SENSITIVE]
    assert not private[pkcs11.Attribute.EXTRACTABLE]
