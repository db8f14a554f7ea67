"""A whole round with `tee = "tpm:..."`: the main job, on a (software) TPM."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.attack_suite.world import FIRST, now, payload_of
from fedenclave.audit.receipt import ReceiptInvalid, Verdict, verify_receipt
from fedenclave.enclave.tpm import pcrs
from fedenclave.enclave.tpm.connection import connected
from fedenclave.host.enclave_process import collect_evidence
from fedenclave.protocol import merkle
from fedenclave.protocol.errors import (
    ConfigurationError,
    EnclaveRefused,
    Refusal,
    RequestRefused,
)
from fedenclave.protocol.evidence import Evidence, report_data
from fedenclave.protocol.exchange import LogPart, Receipt, RoundOffer
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.signing import public_key
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.attacks.test_t02_changed_code import copied_package
from tests.tpm.conftest import NewTpm
from tests.tpm.probe import loaded
from tests.tpm.swtpm import SoftwareTpm
from tests.tpm.world import TpmWorld, reference_values


@pytest.fixture
def world(tmp_path: Path, tpm: SoftwareTpm) -> Iterator[TpmWorld]:
    """A federation that trusts the machine of `tpm`, and the enclave on it."""
    (tmp_path / "host").mkdir()
    world = TpmWorld(tmp_path / "host", tpm)
    yield world
    world.close()


def changed_code(folder: Path) -> Path:
    """Copy the enclave with one line changed."""
    code = copied_package(folder)
    admission = code / "fedenclave" / "enclave" / "admission.py"
    source = admission.read_text()
    line = "    if num_examples < 1:\n"
    assert source.count(line) == 1
    admission.write_text(source.replace(line, "    if num_examples < 0:\n"))
    return code


def test_a_round_is_appraised_aggregated_and_proved_offline(world: TpmWorld) -> None:
    world.open()
    for name in "abc":
        result = world.accept(name).attestation
        assert result.format == "tpm"
        # A software TPM is no proof of what the machine started, and the client says so.
        assert result.status == "warning"
        assert [check.name for check in result.checks if check.excepted] == ["measured boot"]
        assert not result.insecure
    world.contribute({"a": 1, "b": 2, "c": 3})
    release, receipts = world.release("abc")
    assert release.clients == 3
    assert bytes(world.model().payload) == payload_of(2.5)
    assert {receipt.verdict for receipt in receipts.values()} == {Verdict.INCLUDED}
    assert loaded(world.tpm) == []
    # An auditor has the manifest and the file, and neither a TPM nor the machine.
    world.tpm.switch_off()
    trusted = Manifest.from_bytes(world.manifest.source)
    for name, verified in receipts.items():
        (kept,) = world.stores[name].receipts.values()
        found = verify_receipt(kept, trusted)
        assert (found.verdict, found.round) == (Verdict.INCLUDED, verified.round)
        assert found.attestation.format == "tpm"


def test_a_second_round_is_quoted_anew(world: TpmWorld) -> None:
    first = world.open()["a"].evidence
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    second = world.open()["a"].evidence
    assert Evidence.from_bytes(first).signing_key == Evidence.from_bytes(second).signing_key
    assert first != second
    world.contribute({"a": 1, "b": 1, "c": 1})
    assert world.release("abc")[0].round == 2


def test_one_changed_line_is_refused_by_every_client(tmp_path: Path, tpm: SoftwareTpm) -> None:
    (tmp_path / "host").mkdir()
    world = TpmWorld(tmp_path / "host", tpm, code=changed_code(tmp_path / "copy"))
    try:
        world.open()
        for name, session in world.sessions.items():
            before = session.state
            with pytest.raises(EnclaveRefused, match=r"measurement is pcr 11 "):
                world.accept(name)
            assert session.state == before
    finally:
        world.close()


def test_changed_code_does_not_even_start_in_the_boot_of_the_approved(
    world: TpmWorld, tmp_path: Path
) -> None:
    world.close()
    code = changed_code(tmp_path / "copy")
    with pytest.raises(ConfigurationError, match="pcr 11 holds") as refused:
        world.start(code)
    assert "start it again" in refused.value.hint
    # The approved code starts again without a reboot.
    world.start()


def test_evidence_of_an_earlier_round_is_refused(world: TpmWorld) -> None:
    old = world.open()["a"].evidence
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    world.open()
    offer = world.offers["a"]
    object.__setattr__(offer, "evidence", old)
    with pytest.raises(EnclaveRefused, match="report data"):
        world.accept("a")


def test_evidence_of_another_machine_is_refused(
    tmp_path: Path, tpm: SoftwareTpm, other_tpm: SoftwareTpm
) -> None:
    (tmp_path / "host").mkdir()
    world = TpmWorld(tmp_path / "host", tpm)
    world.close()
    world.tpm = other_tpm
    reference_values(other_tpm)  # which establishes its counter, as on the first machine
    shutil.rmtree(world.folder / "state")
    world.start()
    try:
        world.open()
        with pytest.raises(EnclaveRefused, match="ak is"):
            world.accept("a")
    finally:
        world.close()


def test_the_approved_code_on_another_kernel_is_refused(tmp_path: Path, new_tpm: NewTpm) -> None:
    (tmp_path / "host").mkdir()
    tpm = new_tpm()
    world = TpmWorld(tmp_path / "host", tpm)
    world.close()
    tpm.reboot()
    with connected(tpm.path) as connection:
        pcrs.extend(connection, 9, bytes([1] * 32))
    shutil.rmtree(world.folder / "state")
    world.start()
    try:
        world.open()
        with pytest.raises(EnclaveRefused, match="pcr 9 is"):
            world.accept("a")
    finally:
        world.close()


def test_a_tpm_that_goes_away_ends_no_round(world: TpmWorld) -> None:
    world.open()
    sealed = {name: world.sealed(name, 1) for name in "abc"}
    world.tpm.switch_off()
    for name, update in sealed.items():
        assert world.submit(name, update).admitted
    # No model leaves that the counter does not count; once the TPM is back, all is as before.
    before = world.status()
    with pytest.raises(RequestRefused) as refused:
        world.coordinator.close()
    assert refused.value.refusal is Refusal.STATE
    assert world.status() == before
    world.tpm.switch_on()
    assert world.release("abc")[0].clients == 3


def test_a_receipt_with_a_changed_quote_proves_nothing(world: TpmWorld) -> None:
    world.open()
    world.contribute({"a": 1, "b": 1, "c": 1})
    world.release("abc")
    (kept,) = world.stores["a"].receipts.values()
    evidence = Receipt.from_bytes(kept).participation.evidence
    start = kept.index(evidence)
    for at in range(start, start + len(evidence), 7):
        changed = bytearray(kept)
        changed[at] ^= 1
        with pytest.raises(ReceiptInvalid):
            verify_receipt(bytes(changed), world.manifest)


def test_a_machine_without_a_tpm_does_not_start_an_enclave(world: TpmWorld) -> None:
    world.close()
    world.tpm.switch_off()
    with pytest.raises(ConfigurationError, match="cannot open the tpm"):
        world.start()
    world.tpm.switch_on()
    world.start()
    assert world.sessions["a"].hello(now())


def test_operator_having_the_approved_code_attest_a_key_of_the_operators_own_is_refused(
    world: TpmWorld,
) -> None:
    # `--collect` is in the measured code, and whoever starts it chooses the challenge.
    session = world.sessions["a"]
    liar = LyingEnclave(world.manifest)
    hello = session.hello(now())
    own = public_key(liar.key)
    wanted = report_data(merkle.root([hello.nonce]), own, world.manifest.digest)
    world.close()
    collected = Evidence.from_bytes(collect_evidence(f"tpm:{world.tpm.path}", wanted))
    evidence = replace(collected, signing_key=own).to_bytes()
    offer = RoundOffer(
        evidence=evidence,
        nonce=hello.nonce,
        nonce_index=0,
        nonce_count=1,
        nonce_path=(),
        announcement=liar.announcement(),
        releases=(),
        log=LogPart(first=0, entries=b""),
        manifest=b"",
        approvals=(),
    )
    before = session.state
    with pytest.raises(EnclaveRefused, match="report data"):
        session.accept(offer, FIRST.to_bytes(), now(), training_config=NO_TRAINING_CONFIG)
    assert session.state == before
