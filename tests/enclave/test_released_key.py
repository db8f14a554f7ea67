"""A TDX guest, its restart, its key services: who is given the key to the state, and who not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from fedenclave.attestation.appraise import appraise
from fedenclave.attestation.result import EvidenceRefused
from fedenclave.enclave.sealing.hardware_key import HardwareKeySealer
from fedenclave.enclave.sealing.released_key import ReleasedKeys
from fedenclave.enclave.sealing.tpm import TpmSealer
from fedenclave.enclave.states import State
from fedenclave.membership.key_service import ShareKeeper
from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.errors import ConfigurationError, EnclaveRefused, Refusal
from fedenclave.protocol.evidence import Evidence, report_data
from fedenclave.protocol.frames import AskRequest, Operation, Request
from fedenclave.protocol.hpke import cipher_suite, load_public_key
from fedenclave.protocol.key_release import (
    SHARE_SIZE,
    SUITE,
    KeyChallenge,
    KeyQuestion,
    KeyRelease,
    KeyRequest,
    key_report_data,
    share_info,
)
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.opening import RoundKey
from fedenclave.protocol.segment import SegmentHead, entries
from fedenclave.protocol.signing import Signed, sign, verify
from tests.enclave.key_services import NAMES, NOW, Guest, World, know


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    with pytest.MonkeyPatch.context() as patched:
        know(world, patched)
        yield world
    world.close()


@pytest.fixture(scope="module")
def request_(world: World) -> tuple[Guest, bytes]:
    """A guest that has asked, and what it asked."""
    guest = world.guest()
    return guest, guest.asked(world.manifest, world.challenges())


def refused(world: World, request: bytes, *, now: int = NOW, name: str = "notary") -> str:
    with pytest.raises(EnclaveRefused) as refusal:
        world.released(name, request, now)
    return refusal.value.message


def with_question(request: bytes, **changes: object) -> bytes:
    asked = KeyRequest.from_bytes(request)
    question = replace(KeyQuestion.from_bytes(asked.question), **changes)
    return replace(asked, question=question.to_bytes()).to_bytes()


# -- restarts


def test_a_restarted_guest_goes_on_with_its_key_and_its_log(world: World, tmp_path: Path) -> None:
    first = world.unlocked()
    started = first.start(world, tmp_path)
    assert started.sealing == "key-service"
    assert [warning[:30] for warning in started.warnings[-1:]] == ["nothing on this machine knows "]
    again = world.unlocked()
    resumed = again.resumed(world, first.segment, tmp_path)
    assert resumed.started.signing_key == started.signing_key
    assert resumed.started.start == started.start
    assert resumed.started.sealing == "key-service"
    assert again.status()[0] == State.IDLE


def test_an_open_round_is_lost_by_a_restart_since_nobody_keeps_which_state_is_the_newest(
    world: World, tmp_path: Path
) -> None:
    first = world.unlocked()
    first.start(world, tmp_path)
    first.open_round()
    again = world.unlocked()
    again.resumed(world, first.segment, tmp_path)
    assert again.status()[0] == State.LOST


def test_without_its_services_a_guest_begins_anew_and_opens_no_earlier_state(
    world: World, tmp_path: Path
) -> None:
    first = world.unlocked()
    first.start(world, tmp_path)
    alone = world.guest()
    assert alone.resume(world, first.segment, tmp_path).refusal == Refusal.STATE
    assert alone.start(world, tmp_path).sealing == ""
    assert alone.segment == b""


def test_nothing_of_key_or_shares_lies_with_the_host(world: World, tmp_path: Path) -> None:
    guest = world.guest()
    request = guest.asked(world.manifest, world.challenges())
    answers = world.answers(request)
    assert guest.unlocked(*answers) == ""
    guest.start(world, tmp_path)
    head = SegmentHead.from_bytes(next(entries(guest.segment)).data)
    assert head.sealer == "key-service"
    shares = [world.service(name)._share("tdx", "44" * 48) for name in NAMES]
    seen = b"".join([request, *answers, guest.segment])
    assert not any(share in seen for share in shares)
    assert len(set(shares)) == len(shares)


def test_one_changed_secret_and_the_state_stays_closed(world: World, tmp_path: Path) -> None:
    first = world.unlocked()
    first.start(world, tmp_path)
    again = world.guest()
    request = again.asked(world.manifest, world.challenges())
    key, _ = world.keys["regulator"]
    changed = ShareKeeper(world.manifest, key, b"c" * 32)
    # The challenge is known by the secret, too.
    challenges = [world.challenges()[0], changed.challenge(NOW)]
    request = again.asked(world.manifest, challenges)
    answer = changed.release(request, NOW, world.endorsements).answer
    assert again.unlocked(world.released("notary", request), answer) == ""
    assert again.resume(world, first.segment, tmp_path).refusal == Refusal.STATE


# -- what a service refuses


def test_a_guest_that_runs_other_code_is_given_nothing(world: World) -> None:
    for register in ("mrtd", "rtmr2"):
        guest = world.guest(**{register: b"\x66" * 48})
        request = guest.asked(world.manifest, world.challenges())
        for name in NAMES:
            assert f"{register} is 6666" in refused(world, request, name=name)


def test_two_codes_that_one_policy_accepts_have_two_keys(world: World) -> None:
    service = world.service("notary")
    shares = {service._share(*code) for code in (("tdx", "a"), ("tdx", "b"), ("cca", "a"))}
    other = ShareKeeper(world.make_manifest("another"), *world.keys["notary"])
    shares.add(other._share("tdx", "a"))
    assert len(shares) == 4
    assert {len(share) for share in shares} == {SHARE_SIZE}
    assert service._share("tdx", "a") in shares


def test_a_request_under_another_manifest_is_refused(world: World) -> None:
    other = world.make_manifest("another")
    services = [ShareKeeper(other, *world.keys[name]) for name in NAMES]
    guest = world.guest()
    request = guest.asked(other, [service.challenge(NOW) for service in services])
    assert "is for the manifest" in refused(world, request)
    # Nor does it help to say another one than the evidence binds.
    challenges = tuple(map(KeyChallenge.from_bytes, world.challenges()))
    renamed = with_question(request, manifest=world.manifest.digest, challenges=challenges)
    assert "report data" in refused(world, renamed)


def test_a_request_to_an_old_another_services_or_no_challenge_is_refused(world: World) -> None:
    guest = world.guest()
    request = guest.asked(world.manifest, world.challenges())
    assert world.released("notary", request, NOW + 600)
    assert "601 seconds old, want 0 to 600" in refused(world, request, now=NOW + 601)
    assert "-1 seconds old" in refused(world, request, now=NOW - 1)
    mine, theirs = map(KeyChallenge.from_bytes, world.challenges())
    forged = replace(mine, nonce=mine.nonce[:-1] + bytes([mine.nonce[-1] ^ 1]))
    younger = replace(mine, nonce=(NOW + 9).to_bytes(8, "big") + mine.nonce[8:])
    for challenges in ((theirs,), (mine, mine), (replace(theirs, service="notary"),)):
        assert "challenges of notary, want one" in refused(
            world, with_question(request, challenges=challenges)
        )
    for wrong in (forged, younger):
        assert "that this service has made" in refused(
            world, with_question(request, challenges=(wrong, theirs))
        )


def test_a_key_of_the_hosts_put_into_a_request_is_not_what_the_evidence_binds(
    world: World, request_: tuple[Guest, bytes]
) -> None:
    swapped = with_question(request_[1], public_key=RoundKey(SUITE).public_bytes)
    assert "report data" in refused(world, swapped)
    evidence = Evidence.from_bytes(KeyRequest.from_bytes(request_[1]).evidence)
    renamed = replace(evidence, signing_key=b"k" * 32).to_bytes()
    swapped = replace(KeyRequest.from_bytes(request_[1]), evidence=renamed).to_bytes()
    assert "report data" in refused(world, swapped)


def test_any_damage_to_a_request_releases_nothing(
    world: World, request_: tuple[Guest, bytes]
) -> None:
    request = request_[1]
    refused(world, b"")
    for at in range(0, len(request), 97):
        refused(world, request[:at])
        refused(world, request[:at] + bytes([request[at] ^ 1]) + request[at + 1 :])
    refused(world, request + b"\x00")
    odd = with_question(request, public_key=b"short")
    assert "report data" in refused(world, odd)


def test_a_service_serves_only_the_manifest_that_names_it(world: World) -> None:
    key, secret = world.keys["notary"]
    with pytest.raises(ConfigurationError, match="has 31 bytes, want 32"):
        ShareKeeper(world.manifest, key, secret[:-1])
    stranger = World(("stranger",))
    with pytest.raises(ConfigurationError, match="names no key service with the key"):
        ShareKeeper(stranger.manifest, key, secret)


# -- what is evidence of a round, and what of a request


def test_evidence_of_a_request_is_no_evidence_of_a_round(
    world: World, request_: tuple[Guest, bytes]
) -> None:
    evidence = KeyRequest.from_bytes(request_[1]).evidence
    for nonce in (bytes(32), domain_digest("key-question", request_[1])):
        with pytest.raises(EvidenceRefused, match="report data"):
            appraise(evidence, world.manifest, nonce, NOW, world.endorsements)


def test_evidence_of_a_round_releases_no_key_whatever_its_nonce(
    world: World, tmp_path: Path
) -> None:
    guest = world.guest()
    asked = KeyRequest.from_bytes(guest.asked(world.manifest, world.challenges()))
    guest.start(world, tmp_path)
    for nonce in (bytes(32), domain_digest("key-question", asked.question)):
        evidence = guest.evidence(nonce)
        assert appraise(evidence, world.manifest, nonce, NOW, world.endorsements)
        taken = replace(asked, evidence=evidence).to_bytes()
        assert "report data" in refused(world, taken)


def test_the_two_bindings_never_meet() -> None:
    parts = (bytes(32), b"k" * 32, Digest(b"m" * 32))
    assert report_data(*parts) != key_report_data(parts[0], parts[1])


# -- what an enclave refuses


def test_a_replayed_answer_is_refused_by_another_run_and_by_the_same_one(world: World) -> None:
    guest = world.guest()
    request = guest.asked(world.manifest, world.challenges())
    answers = world.answers(request)
    other = world.guest()
    other.asked(world.manifest, world.challenges())
    assert other.unlocked(*answers) == Refusal.KEYS
    newer = guest.asked(world.manifest, world.challenges())
    assert guest.unlocked(*answers) == Refusal.KEYS, "an earlier question's"
    assert guest.unlocked(*world.answers(newer)) == ""
    assert guest.unlocked(*world.answers(newer)) == Refusal.KEYS, "answered already"


def test_answers_before_any_question_are_refused(world: World) -> None:
    assert world.guest().unlocked(b"", b"") == Refusal.KEYS


def test_every_service_must_answer_for_itself_and_as_it_was_asked(world: World) -> None:
    guest = world.guest()
    request = guest.asked(world.manifest, world.challenges())
    notary, regulator = world.answers(request)
    key, _ = world.keys["regulator"]
    stolen = verify(KeyRelease, notary, world.manifest.key_services[0].key)
    others = [
        sign(stolen, key),
        sign(replace(stolen, service="regulator"), key),  # the notary's share in its own name
        Signed(type=KeyRelease.TYPE, payload=stolen.to_bytes(), signature=bytes(64)).to_bytes(),
        b"",
        notary,
    ]
    for other in others:
        assert guest.unlocked(notary, other) == Refusal.KEYS
    for answers in ((), (notary,), (regulator, notary), (notary, regulator, regulator)):
        assert guest.unlocked(*answers) == Refusal.KEYS
    # None of it has used up the question.
    assert guest.unlocked(notary, regulator) == ""


def test_a_tampered_answer_is_refused(world: World) -> None:
    guest = world.guest()
    request = guest.asked(world.manifest, world.challenges())
    notary, regulator = world.answers(request)
    for at in range(0, len(regulator), 41):
        changed = regulator[:at] + bytes([regulator[at] ^ 1]) + regulator[at + 1 :]
        assert guest.unlocked(notary, changed) == Refusal.KEYS
    assert guest.unlocked(notary, regulator) == ""


def test_a_service_that_signs_another_answer_than_it_was_asked_for_is_refused(
    world: World,
) -> None:
    guest = world.guest()
    request = guest.asked(world.manifest, world.challenges())
    notary, regulator = world.answers(request)
    key, _ = world.keys["regulator"]
    honest = verify(KeyRelease, regulator, world.manifest.key_services[1].key)
    for changes in (
        {"federation": "another"},
        {"manifest": Digest(bytes(32))},
        {"question": Digest(bytes(32))},
        {"sealed_share": b""},
        {"sealed_share": honest.sealed_share + b"\x00"},
    ):
        assert guest.unlocked(notary, sign(replace(honest, **changes), key)) == Refusal.KEYS


def test_a_share_of_another_size_or_for_another_question_is_refused(world: World) -> None:
    guest = world.guest()
    request = guest.asked(world.manifest, world.challenges())
    question = KeyRequest.from_bytes(request).question
    to = load_public_key(SUITE, KeyQuestion.from_bytes(question).public_key)
    notary, regulator = world.answers(request)
    key, _ = world.keys["regulator"]
    honest = verify(KeyRelease, regulator, world.manifest.key_services[1].key)

    def unlocked(share: bytes, info: bytes) -> str:
        sealed = cipher_suite(SUITE).encrypt(share, to, info=info)
        return guest.unlocked(notary, sign(replace(honest, sealed_share=sealed), key))

    own = share_info(question, "regulator")
    for share, info in (
        (bytes(31), own),
        (bytes(33), own),
        (bytes(32), share_info(b"another", "regulator")),
        (bytes(32), share_info(question, "notary")),
        (bytes(32), b""),
    ):
        assert unlocked(share, info) == Refusal.KEYS
    assert unlocked(bytes(32), own) == ""


def test_the_key_is_what_the_specification_makes_of_all_shares(world: World) -> None:
    guest = world.unlocked()
    sealer = guest.service._sealer
    assert sealer is not None
    shares = b"".join(world.service(name)._share("tdx", "44" * 48) for name in NAMES)

    def derived(key: bytes, info: bytes) -> bytes:
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)

    key = derived(shares, b"fedenclave/released-key/v1\x00" + world.manifest.digest)
    wrapping = AESGCM(derived(key, b"fedenclave/sealing/v1\x00key-service"))
    wrapped = sealer.wrap(b"s" * 32)
    assert wrapping.decrypt(wrapped[:12], wrapped[12:], None) == b"s" * 32


def test_an_enclave_asks_only_the_services_of_its_manifest(world: World) -> None:
    guest = world.guest()
    read = tuple(map(KeyChallenge.from_bytes, world.challenges()))
    for challenges in (
        (),
        read[:1],
        read[::-1],
        (*read, read[0]),
        (read[0], replace(read[1], service="stranger")),
        (read[0], replace(read[1], manifest=Digest(bytes(32)))),
    ):
        ask = AskRequest(manifest=world.manifest.source, challenges=challenges)
        assert guest.do(Operation.ASK, ask).refusal == Refusal.KEYS
    ask = AskRequest(manifest=b"", challenges=read)
    assert guest.do(Operation.ASK, ask).refusal == Refusal.MANIFEST


@given(st.sampled_from([Operation.ASK, Operation.UNLOCK]), st.binary(max_size=200))
def test_any_bytes_in_place_of_challenges_or_answers_are_refused(
    request_: tuple[Guest, bytes], operation: Operation, body: bytes
) -> None:
    reply = request_[0].ask(Request(operation=operation, body=body).to_bytes())
    assert (reply.refusal, reply.body) == (Refusal.MALFORMED, b"")


def test_a_key_that_was_released_for_one_manifest_seals_no_other_federation(
    world: World, tmp_path: Path
) -> None:
    guest = world.unlocked()
    ours = world.manifest
    world.manifest = world.make_manifest("another")
    try:
        assert guest.begin(world, tmp_path).refusal == Refusal.KEYS
    finally:
        world.manifest = ours
    assert guest.start(world, tmp_path).sealing == "key-service"


def test_hardware_that_seals_by_itself_asks_nobody(world: World) -> None:
    challenges = tuple(map(KeyChallenge.from_bytes, world.challenges()))
    for own in (
        HardwareKeySealer("sgx", lambda: b"k" * 16),
        TpmSealer("/dev/x", Digest(bytes(32))),
    ):
        keys = ReleasedKeys(None, own)  # type: ignore[arg-type]  # nobody is asked for evidence
        assert keys.ask(world.manifest, challenges) == b""


def test_the_manifest_says_who_the_services_are(world: World) -> None:
    source = world.manifest.source.decode()
    assert [service.name for service in world.manifest.key_services] == list(NAMES)
    for old, new, message in (
        ('name = "regulator"', 'name = "notary"', "names a key service twice"),
        ('name = "regulator"', 'name = "Regulator"', "key service is 'Regulator'"),
        ('name = "regulator"', 'name = "regulator"\nurl = ""', "unknown keys: url"),
        ('name = "regulator"\n', "", "has no name"),
    ):
        assert source.count(old) == 1
        with pytest.raises(ConfigurationError, match=message):
            Manifest.from_bytes(source.replace(old, new).encode())
    keys = [line for line in source.splitlines() if line.startswith("key = ")]
    with pytest.raises(ConfigurationError, match="one key to two"):
        Manifest.from_bytes(source.replace(keys[-1], keys[0]).encode())
