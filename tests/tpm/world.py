"""A federation whose manifest pins one machine's TPM, and an enclave that runs on that machine."""

import time
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.attack_suite.world import FIRST, SCHEMA
from fedenclave.attestation.tpm.key import parse_public
from fedenclave.client.state import MemoryStore
from fedenclave.enclave.tpm import attestation_key, counter, pcrs
from fedenclave.enclave.tpm.connection import connected
from fedenclave.enclave.tpm.enclave_pcr import ENCLAVE_PCR, QUOTED
from fedenclave.host.aggregator import Aggregator
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.digests import from_text
from fedenclave.protocol.manifest import Client, Manifest, Member
from fedenclave.protocol.manifest_text import ManifestDraft, write_manifest
from fedenclave.protocol.signing import public_key
from fedenclave.protocol.statements import Suite
from fedenclave.simulation.federation import DEFAULT_RULES
from tests.attacks.world import THREE, World, measurement
from tests.tpm.policy import UNMEASURED_BOOT, policy
from tests.tpm.swtpm import SoftwareTpm

HEAD = """\
[attestation]
freshness_seconds = 600
collateral_max_age_seconds = 2592000
revocations = "none"
[attestation.tpm]
"""


def reference_values(tpm: SoftwareTpm) -> str:
    """Return the policy that pins this TPM's key, its registers as they are, and our enclave."""
    with connected(tpm.path) as connection:
        counter.establish(connection)
        name = parse_public(attestation_key.create(connection).public).name
        registers = [pcr for pcr in QUOTED if pcr != ENCLAVE_PCR]
        values = pcrs.read(connection, registers)
    return HEAD + policy(
        aks=[name.hex()],
        measurement=from_text(measurement()),
        pcrs={pcr: values[32 * i :][:32].hex() for i, pcr in enumerate(registers)},
        counter_name=counter.NAME.hex(),
        header="attestation.tpm.",
        exceptions=[UNMEASURED_BOOT],
    )


class TpmWorld(World):
    """Three clients of three organisations, which trust one machine by its TPM."""

    def __init__(self, folder: Path, tpm: SoftwareTpm, *, code: Path | None = None) -> None:
        self.folder, self.tpm = folder, tpm
        self.members = {name: Ed25519PrivateKey.generate() for name in sorted({*THREE.values()})}
        self.keys = {name: Ed25519PrivateKey.generate() for name in THREE}
        source = write_manifest(
            ManifestDraft(
                name="attested",
                threshold=len(self.members),
                development=False,
                members=[Member(name=n, key=public_key(k)) for n, k in self.members.items()],
                clients=[
                    Client(name=n, member=THREE[n], key=public_key(k)) for n, k in self.keys.items()
                ],
                freshness_seconds=600,
                insecure_measurements=[],
                suite=Suite.X25519,
                schema=SCHEMA.digest,
                initial_model=FIRST.digest(),
                rules=replace(DEFAULT_RULES),
                attestation=reference_values(tpm),
            )
        )
        self.manifest = Manifest.from_bytes(source)
        self.approvals = [self.approve(member) for member in self.members]
        self.stores = {name: MemoryStore() for name in THREE}
        self.sessions = {name: self.session(name) for name in THREE}
        self.start(code)

    def start(self, code: Path | None = None) -> None:
        """Start an enclave process on the machine."""
        self.aggregator = self._aggregator(code)
        self.coordinator = RoundCoordinator(self.aggregator, send_manifest=True)

    def _aggregator(self, code: Path | None = None) -> Aggregator:
        return Aggregator(
            self.folder,
            manifest=self.manifest.source,
            approvals=self.approvals,
            model=FIRST,
            tee=f"tpm:{self.tpm.path}",
            code=code,
        )


def milliseconds_of_evidence(world: TpmWorld, times: int = 20) -> float:
    """Return how long a piece of evidence takes, by the median."""
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        world.aggregator.evidence(bytes(32))
        taken.append(time.perf_counter() - begun)
    return sorted(taken)[times // 2] * 1000
