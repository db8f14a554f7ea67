"""What vouches for an enclave process: the host names it, and gets that or an error that says why.

The TEE here is a Confidential Space whose launcher is the test's. Everything else is as it is in
one: the enclave process, its hardening, the socket, and a client's appraisal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.host.aggregator import Aggregator
from fedenclave.host.enclave_process import collect_evidence, enrol_tpm
from fedenclave.host.evidence_parts import with_parts
from fedenclave.protocol.errors import ConfigurationError, Refusal, RequestRefused
from fedenclave.protocol.evidence import (
    Evidence,
    EvidenceParts,
    InsecureDocument,
    collected_report_data,
    report_data,
)
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import PublicKey, public_key, verify
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.simulation.federation import development_manifest
from tests.enclave.fake_launcher import FakeLauncher, launcher

DATA = bytes(range(64))
ARRAYS = {"w": np.zeros(10, np.float32)}
MODEL = Model(schema=schema_of(ARRAYS), payload=bytes(pack(schema_of(ARRAYS), ARRAYS)))
KEYS = {name: public_key(Ed25519PrivateKey.generate()) for name in "ab"}
MANIFEST, APPROVALS = development_manifest(MODEL, KEYS)


def aggregator(folder: Path, tee: str) -> Aggregator:
    return Aggregator(folder, manifest=MANIFEST.source, approvals=APPROVALS, model=MODEL, tee=tee)


@pytest.fixture
def space(tmp_path: Path) -> Iterator[FakeLauncher]:
    with launcher(tmp_path / "tee.sock", lambda asked: b"h.%s.s" % asked["nonces"][0].encode()) as (
        server
    ):
        yield server


def nonce_of(evidence: Evidence) -> str:
    assert evidence.format == "confidential-space"
    token = EvidenceParts.from_bytes(evidence.document).by_name()["token"]
    return token.split(b".")[1].decode()


def test_a_hardened_enclave_reaches_its_tee_and_binds_nonce_key_and_manifest(
    space: FakeLauncher, tmp_path: Path
) -> None:
    with aggregator(tmp_path / "host", f"confidential-space:{tmp_path}/tee.sock") as running:
        started = running.info()[2]
        assert "no-core-files" in started.protections
        evidence = Evidence.from_bytes(running.evidence(b"n" * 32))
    assert evidence.signing_key == started.signing_key
    bound = report_data(b"n" * 32, started.signing_key, MANIFEST.digest)
    assert nonce_of(evidence) == hashlib.sha256(bound).hexdigest()
    # The first was asked for at the start, over zeros: a TEE that does not work is no surprise.
    assert [asked["nonces"] for asked in space.asked] == [
        [hashlib.sha256(bytes(64)).hexdigest()],
        [nonce_of(evidence)],
    ]


def test_a_tee_that_stops_working_is_a_refusal_and_the_enclave_goes_on(
    space: FakeLauncher, tmp_path: Path
) -> None:
    with aggregator(tmp_path / "host", f"confidential-space:{tmp_path}/tee.sock") as running:
        before = running.status()
        space.status = 500
        with pytest.raises(RequestRefused) as refused:
            running.evidence(bytes(32))
        assert refused.value.refusal is Refusal.ATTESTATION
        assert "log says why" in refused.value.hint
        assert running.status().log_size == before.log_size
        space.status = 200
        assert Evidence.from_bytes(running.evidence(bytes(32))).format == "confidential-space"
    log = (tmp_path / "host" / "enclave.log").read_text()
    assert log == f"enclave: no evidence: {tmp_path}/tee.sock answers with status 500\n"


@pytest.mark.parametrize(
    ("tee", "message"),
    [
        ("confidential-space:{}/none", "cannot ask {}/none: No such file or directory"),
        ("nitro:{}", "cannot ask {}: Is a directory"),
        ("sgx:{}", "cannot get a quote from {}: No such file or directory"),
        ("sev-snp:{}/none", "cannot get a report from {}/none: No such file or directory"),
        ("tdx:{}/none", "cannot get a report from {}/none: No such file or directory"),
        (
            "sev",
            "want one of: auto, insecure, azure-vm, cca, confidential-space, nitro, sev-snp",
        ),
    ],
)
def test_a_tee_that_is_not_there_is_said_at_the_start(
    tee: str, message: str, tmp_path: Path
) -> None:
    for folder in ("first", "first"):  # the second time the log has lines of the first
        with pytest.raises(ConfigurationError) as error:
            aggregator(tmp_path / folder, tee.format(tmp_path))
        assert error.value.message.startswith(f"no evidence by tee = '{tee.format(tmp_path)}': ")
        assert message.format(tmp_path) in error.value.message
        assert error.value.hint


def test_evidence_is_collected_over_a_challenge_and_without_a_federation(
    tmp_path: Path, space: FakeLauncher
) -> None:
    first, second = (Evidence.from_bytes(collect_evidence("insecure", DATA)) for _ in range(2))
    assert first.signing_key != second.signing_key
    document = verify(InsecureDocument, first.document, PublicKey(first.signing_key))
    assert document.report_data == collected_report_data(DATA)
    assert "no-core-files" in document.protections
    tee = f"confidential-space:{tmp_path}/tee.sock"
    assert nonce_of(Evidence.from_bytes(collect_evidence(tee, DATA))) == (
        hashlib.sha256(collected_report_data(DATA)).hexdigest()
    )
    assert len(space.asked) == 1


def test_evidence_that_cannot_be_collected_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no evidence by tee = 'nitro:.*Is a directory"):
        collect_evidence(f"nitro:{tmp_path}", DATA)
    with pytest.raises(ConfigurationError, match="want one of"):
        collect_evidence("", DATA)
    for wrong in (b"", bytes(65)):
        with pytest.raises(ConfigurationError, match="want 1 to 64"):
            collect_evidence("insecure", wrong)


def test_what_the_enrolment_of_a_tpm_cannot_do_is_said_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError) as error:
        enrol_tpm(str(tmp_path / "none"))
    assert error.value.message.startswith(f"the tpm at '{tmp_path}/none' cannot be used: cannot ")
    assert "/dev/tpmrm0" in error.value.hint
    # A relative path counts from the caller's folder.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=f"cannot open the tpm '{tmp_path}/none'"):
        enrol_tpm("none")
    # Where it says no `error:`, the end of what it says.
    with pytest.raises(ConfigurationError, match="cannot be used: usage: python -m"):
        enrol_tpm("none", "--strange")


def test_parts_that_make_evidence_too_long_are_refused_with_the_tables_name() -> None:
    document = EvidenceParts.of({"token": b"h.b.s"}).to_bytes()
    evidence = Evidence(format="confidential-space", document=document, signing_key=KEYS["a"])
    room = Evidence.MAX_SIZE - len(with_parts(evidence, {"chain": bytes(1 << 16)}).to_bytes())
    fitting = with_parts(evidence, {"chain": bytes((1 << 16) + room)})
    assert len(fitting.to_bytes()) == Evidence.MAX_SIZE
    with pytest.raises(
        ConfigurationError, match=r"bytes with its \[evidence_parts\], want at most"
    ):
        with_parts(evidence, {"chain": bytes((1 << 16) + room + 1)})
