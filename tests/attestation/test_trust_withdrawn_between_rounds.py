"""The drill: members withdraw trust between two rounds, and clients stop sending and say why.

The whole client's path runs, on evidence of a SEV-SNP machine by a vendor that the test made.
"""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attack_suite.lying_enclave import LyingEnclave
from fedenclave.attack_suite.world import FIRST, payload_of
from fedenclave.attestation import formats
from fedenclave.attestation.appraise import appraise
from fedenclave.attestation.collateral import from_mapping
from fedenclave.attestation.endorsements import NO_ENDORSEMENTS, Endorsements
from fedenclave.attestation.policy import HEAD
from fedenclave.attestation.result import Check, EvidenceRefused, Status, Trust
from fedenclave.attestation.revocations import (
    Revocations,
    SignedRevocations,
    approve_revocations,
    verify_revocations,
)
from fedenclave.client.session import ClientSession
from fedenclave.client.state import MemoryStore
from fedenclave.protocol import merkle
from fedenclave.protocol.errors import EnclaveRefused
from fedenclave.protocol.evidence import Evidence, EvidenceParts, report_data
from fedenclave.protocol.exchange import RoundOffer
from fedenclave.protocol.manifest import Client, Manifest, Member
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.signing import public_key, sign
from fedenclave.protocol.statements import VERSION, Approval, Suite
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.attestation.fake_amd import CHIP, DAY, NOW, Machine
from tests.attestation.snp_federation import EVERY_CRL, FORMAT, POLICY

MEMBERS = {name: Ed25519PrivateKey.generate() for name in ("alpha", "beta")}
KEYS = {name: Ed25519PrivateKey.generate() for name in ("a", "b")}
TABLES = HEAD.replace('"none"', '"required"') + "\n[attestation.sev-snp]\n" + POLICY
SOURCE = write_manifest(
    ManifestDraft(
        name="clinics",
        threshold=2,
        development=False,
        members=[Member(name=n, key=public_key(k)) for n, k in MEMBERS.items()],
        clients=[
            Client(name="a", member="alpha", key=public_key(KEYS["a"])),
            Client(name="b", member="beta", key=public_key(KEYS["b"])),
        ],
        freshness_seconds=600,
        insecure_measurements=[],
        suite=Suite.X25519,
        schema=FIRST.schema.digest,
        initial_model=FIRST.digest(),
        rules=DEFAULT_RULES,
        attestation=TABLES,
    )
)
MANIFEST = Manifest.from_bytes(SOURCE)
APPROVALS = [
    sign(Approval(version=VERSION, federation="clinics", manifest=MANIFEST.digest, member=n), key)
    for n, key in MEMBERS.items()
]
LIST = """\
version = 1
federation = "clinics"
serial = {serial}
issued = "2026-11-01T00:00:00Z"
expires = "2026-12-01T00:00:00Z"
{entries}"""
FLOOR = """
[[floors]]
format = "sev-snp"
level = "milan.microcode"
at_least = {at_least}
reason = "a bulletin of November"
"""
REVOKED = f"""
[[revoked]]
format = "sev-snp"
what = "chip-id"
value = "{CHIP.hex()}"
reason = "found open in its rack"
"""


class SnpEnclave(LyingEnclave):
    """An enclave on a SEV-SNP machine that the test's own vendor certified."""

    machine = Machine()

    def evidence(self, nonce: bytes, **changes: Any) -> bytes:
        key = public_key(self.key)
        bound = report_data(nonce, key, self.manifest.digest)
        parts = {
            "report": self.machine.report(report_data=bound, **changes),
            "certificates": self.machine.der,
        }
        return Evidence(
            format="sev-snp", document=EvidenceParts.of(parts).to_bytes(), signing_key=key
        ).to_bytes()


@pytest.fixture(autouse=True)
def _a_vendor_of_the_tests_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for listed in (formats.FORMATS, formats.ALL_FORMATS):
        monkeypatch.setitem(listed, "sev-snp", FORMAT)  # type: ignore[arg-type]


def listed(serial: int, entries: str) -> Revocations:
    source = LIST.format(serial=serial, entries=entries).encode()
    approvals = tuple(approve_revocations(source, name, key) for name, key in MEMBERS.items())
    signed = SignedRevocations(revocations=source, approvals=approvals)
    return verify_revocations(signed.to_bytes(), MANIFEST)


def endorsements(revocations: Revocations | None) -> Endorsements:
    return Endorsements(collateral=from_mapping(EVERY_CRL, NOW - DAY), revocations=revocations)


def session(store: MemoryStore, held: Endorsements) -> ClientSession:
    return ClientSession(
        manifest=MANIFEST,
        approvals=APPROVALS,
        name="a",
        key=KEYS["a"],
        store=store,
        endorsements=held,
    )


def offer_of(enclave: SnpEnclave, client: ClientSession, number: int) -> RoundOffer:
    nonce = client.hello(now=NOW).nonce
    announced = enclave.announcement(round=number)
    return enclave.offer(
        nonce, announcement=announced, evidence=enclave.evidence(merkle.root([nonce]))
    )


def take_part(enclave: SnpEnclave, client: ClientSession, number: int) -> bytes:
    accepted = client.accept(
        offer_of(enclave, client, number),
        FIRST.to_bytes(),
        NOW,
        training_config=NO_TRAINING_CONFIG,
    )
    assert not accepted.attestation.insecure
    assert accepted.attestation.measurement == "aa" * 48
    return client.seal(accepted, payload_of(1), 5)


def refused(enclave: SnpEnclave, store: MemoryStore, held: Endorsements, match: str) -> None:
    """Assert that a round is refused, that the reason says so, and that nothing is remembered."""
    client = session(store, held)
    offer = offer_of(enclave, client, 2)
    before = store.state
    with pytest.raises(EnclaveRefused, match=match):
        client.accept(offer, FIRST.to_bytes(), NOW, training_config=NO_TRAINING_CONFIG)
    assert store.state == before


def test_clients_stop_sending_when_the_members_raise_the_tcb_floor() -> None:
    enclave, store = SnpEnclave(MANIFEST), MemoryStore()
    met = endorsements(listed(1, FLOOR.format(at_least=219)))
    assert take_part(enclave, session(store, met), 1)
    raised = endorsements(listed(2, FLOOR.format(at_least=220)))
    refused(
        enclave,
        store,
        raised,
        r"floor of milan.microcode is 219, want at least 220: a bulletin of November",
    )
    # The operator updates the machine, and the same members take part again.
    assert take_part(enclave, session(store, met), 2)


def test_clients_stop_sending_to_a_chip_that_the_members_revoked() -> None:
    enclave, store = SnpEnclave(MANIFEST), MemoryStore()
    assert take_part(enclave, session(store, endorsements(listed(1, ""))), 1)
    refused(enclave, store, endorsements(listed(2, REVOKED)), "found open in its rack")


def test_clients_stop_sending_when_their_list_or_their_collateral_is_missing_or_old() -> None:
    enclave, store = SnpEnclave(MANIFEST), MemoryStore()
    assert take_part(enclave, session(store, endorsements(listed(1, ""))), 1)
    refused(enclave, store, endorsements(None), "revocation list is none")
    refused(enclave, store, NO_ENDORSEMENTS, "collateral is missing, want amd/milan/vcek.crl")
    old = Endorsements(
        collateral=from_mapping(EVERY_CRL, NOW - 31 * DAY), revocations=listed(1, "")
    )
    refused(enclave, store, old, "amd/milan/vcek.crl")


def test_evidence_of_a_machine_the_policy_does_not_name_is_refused_in_a_round() -> None:
    held = endorsements(listed(1, ""))
    for changes, match in (
        ({"measurement": b"\xab" * 48}, "measurement is"),
        ({"vmpl": 1}, "vmpl is 1"),
        ({"report_data": bytes(64)}, "report data"),
    ):
        enclave, store = SnpEnclave(MANIFEST), MemoryStore()
        client = session(store, held)
        nonce = client.hello(now=NOW).nonce
        key = public_key(enclave.key)
        bound = report_data(merkle.root([nonce]), key, MANIFEST.digest)
        report = enclave.machine.report(**{"report_data": bound, **changes})
        parts = {"report": report, "certificates": enclave.machine.der}
        evidence = Evidence(
            format="sev-snp", document=EvidenceParts.of(parts).to_bytes(), signing_key=key
        )
        offer = enclave.offer(
            nonce, announcement=enclave.announcement(), evidence=evidence.to_bytes()
        )
        with pytest.raises(EnclaveRefused, match=match):
            client.accept(offer, FIRST.to_bytes(), NOW, training_config=NO_TRAINING_CONFIG)


def test_host_is_told_no_reason_of_the_members_and_nothing_of_what_a_client_lacks() -> None:
    enclave = SnpEnclave(MANIFEST)
    met = listed(1, "")
    private = REVOKED.replace("found open in its rack", "police case 4711")
    for held, told in (
        (endorsements(listed(2, private)), "the client's own log says why"),
        (endorsements(listed(2, FLOOR.format(at_least=220))), "the client's own log says why"),
        (endorsements(None), "the client's own log says why"),
        (NO_ENDORSEMENTS, "the client's own log says why"),
    ):
        client = session(MemoryStore(), held)
        with pytest.raises(EvidenceRefused) as refusal:
            client.accept(
                offer_of(enclave, client, 1),
                FIRST.to_bytes(),
                NOW,
                training_config=NO_TRAINING_CONFIG,
            )
        assert refusal.value.for_host.endswith(told)
    debug = SnpEnclave(MANIFEST)
    client = session(MemoryStore(), endorsements(met))
    nonce = client.hello(now=NOW).nonce
    evidence = debug.evidence(merkle.root([nonce]), vmpl=1)
    with pytest.raises(EvidenceRefused) as refusal:
        client.accept(
            debug.offer(nonce, announcement=debug.announcement(), evidence=evidence),
            FIRST.to_bytes(),
            NOW,
            training_config=NO_TRAINING_CONFIG,
        )
    # What is wrong with its own evidence, the host may know; not what would be right.
    assert refusal.value.for_host == "evidence is refused: vmpl"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("measurement", True),
        ("report data", True),
        ("reported tcb", True),
        ("quote signature", True),
        ("pcr 4", True),
        ("collateral", False),
        ("signature of google/confidential-space/root-crl.der", False),
        ("extensions of amd/milan/vcek.crl", False),
        ("age of intel/tdx/qe-identity.json", False),
        ("revocation of SEV-Milan", False),
        ("revocation list", False),
        ("revoked chip-id", False),
        ("floor of milan.microcode", False),
        ("vcek chain validity", False),
        ("token validity", False),
        ("token age", False),
        ("age", False),
        ("structure", False),
    ],
)
def test_host_is_told_of_its_own_evidence_only(name: str, told: bool) -> None:
    check = Check(name=name, found="x", wanted="y", holds=False, trust=Trust.HARDWARE)
    said = EvidenceRefused("refused", checks=[check]).for_host
    assert said == (
        f"evidence is refused: {name}"
        if told
        else "evidence is refused; the client's own log says why"
    )


def test_a_result_that_rests_on_an_exception_says_so() -> None:
    source = SOURCE.replace(b"exceptions = []", b'exceptions = ["debug"]')
    manifest = Manifest.from_bytes(source)
    enclave = SnpEnclave(manifest)
    root = bytes(32)
    evidence = enclave.evidence(root, policy=0x30000 | 1 << 19)
    found = appraise(evidence, manifest, root, NOW, endorsements(listed(1, "")))
    assert found.status is Status.WARNING
    (excepted,) = found.excepted
    assert excepted.startswith("debug is ")
    assert "exception 'debug'" in excepted


def test_a_receipt_awaited_when_its_chip_is_revoked_is_not_lost() -> None:
    enclave, root = SnpEnclave(MANIFEST), bytes(32)
    evidence = enclave.evidence(root)
    held = endorsements(listed(2, REVOKED))
    with pytest.raises(EvidenceRefused, match="revoked chip-id"):
        appraise(evidence, MANIFEST, root, NOW, held)
    # What was sealed before needs its receipt; pins and chains count as ever.
    assert appraise(evidence, MANIFEST, root, NOW, held.as_accepted()).format == "sev-snp"
    with pytest.raises(EvidenceRefused, match="report data"):
        appraise(evidence, MANIFEST, b"\x01" * 32, NOW, held.as_accepted())
