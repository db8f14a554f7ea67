"""T4: the operator must not learn who is drawn before the anchor has settled the draw."""

from __future__ import annotations

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.agreed import Lent, agreed
from fedenclave.enclave.federation import Federation
from fedenclave.enclave.secret_memory import KeySlots, SecretMemory
from fedenclave.enclave.workers import Workers
from fedenclave.protocol.cohort import DrawnCohort
from fedenclave.protocol.digests import Digest, from_text
from fedenclave.protocol.manifest import Client, Manifest, Member
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.signing import Signed, public_key, sign
from fedenclave.protocol.statements import VERSION, Announcement, Approval, Suite
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.enclave.cohort import memory_file
from tests.enclave.test_journal import AnchoredSealer
from tests.enclave.test_service import MODEL, SCHEMA

NAMES = ["ann", "bob", "cyd", "dan", "eve", "the-hospital-of-interest"]
VICTIM = NAMES[-1]
KEYS = {name: Ed25519PrivateKey.generate() for name in NAMES}
MEMBERS = {name: Ed25519PrivateKey.generate() for name in NAMES}


def drawing() -> tuple[Manifest, list[bytes]]:
    rules = replace(DEFAULT_RULES, min_cohort=2, drawn=DrawnCohort(size=3, of_at_least=6))
    draft = ManifestDraft(
        name="drawn",
        threshold=6,
        development=True,
        members=[Member(name=n, key=public_key(k)) for n, k in MEMBERS.items()],
        clients=[Client(name=n, member=n, key=public_key(k)) for n, k in KEYS.items()],
        freshness_seconds=60,
        insecure_measurements=[from_text("sha256:" + "00" * 32)],
        suite=Suite.X25519,
        schema=SCHEMA.digest,
        initial_model=MODEL.digest(),
        rules=rules,
    )
    manifest = Manifest.from_bytes(write_manifest(draft))
    approvals = [
        sign(
            Approval(version=VERSION, federation="drawn", manifest=manifest.digest, member=member),
            key,
        )
        for member, key in MEMBERS.items()
    ]
    return manifest, approvals


def test_the_length_of_what_is_sealed_tells_the_draw_before_it_is_settled() -> None:
    """The operator then kills the enclave unsettled, and has it draw again until it likes it."""
    manifest, approvals = drawing()
    memory = SecretMemory()
    lent = Lent(
        attester=None,  # type: ignore[arg-type]  # nobody asks for evidence here
        workers=Workers(memory),
        slots=KeySlots(memory, 16),
        memory=memory,
    )
    both = agreed(manifest, approvals, SCHEMA)
    sealer = AnchoredSealer()
    first = Federation.start(
        agreed=both,
        lent=lent,
        first_model=memory_file(bytes(MODEL.payload)),
        measurement=Digest(bytes(32)),
        time=1,
        sealer=sealer,
    )
    state = first.transition()
    lengths: dict[bool, set[int]] = {True: set(), False: set()}
    for _ in range(40):
        # As after a restart: the state is the same, nothing has been settled since.
        federation, _remembered = Federation.resume(
            agreed=both,
            lent=lent,
            base_model=memory_file(bytes(MODEL.payload)),
            segment=state,
            sealer=sealer,
        )
        announcement = federation.open_round(NAMES, Digest(bytes(32)), 2)
        transition = federation.transition()
        assert federation._journal._mark, "the opening is to be settled before it is told"
        cohort = Announcement.from_bytes(Signed.from_bytes(announcement).payload).cohort
        lengths[VICTIM in cohort].add(len(transition))
    assert sealer.extended == 0, "none of these draws has been settled"
    assert len(lengths[True] | lengths[False]) == 1, (
        f"who is drawn shows in the length of the sealed transition: {lengths}"
    )
