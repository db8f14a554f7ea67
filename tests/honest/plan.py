"""Federations of many shapes: who owns whom, how few suffice, what the machine can seal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.enclave.measured import read_measured_code
from fedenclave.enclave.sealing.hardware_key import HardwareKeySealer
from fedenclave.enclave.sealing.insecure import InsecureSealer
from fedenclave.enclave.sealing.sealer import Sealer
from fedenclave.protocol.aggregation import NO_OPTIMISER, Momentum
from fedenclave.protocol.digests import to_text
from fedenclave.protocol.manifest import Manifest, Rules
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import public_key
from fedenclave.protocol.statements import Suite
from fedenclave.protocol.tensors import pack, schema_of
from fedenclave.simulation.federation import DEFAULT_RULES, development_manifest
from tests.enclave.test_journal import AnchoredSealer
from tests.honest.oracle import Arithmetic, Guard

NUMBERS = 8
FIRST_NUMBERS = np.linspace(-1, 1, NUMBERS, dtype=np.float32)
SCHEMA = schema_of({"w": FIRST_NUMBERS})
FIRST = Model(schema=SCHEMA, payload=bytes(pack(SCHEMA, {"w": FIRST_NUMBERS})))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One federation.

    Attributes:
        owners: the organisation of each client.
        rules: mean, with or without server momentum.
        suite: for the sealing of updates.
        sealer: what keeps the enclave's state: `insecure`, `anchored` as a TPM, or `chip` as SGX
            and SEV-SNP, where a restart aborts the open round.
    """

    owners: Mapping[str, str]
    rules: Rules
    suite: Suite
    sealer: str

    @classmethod
    def draw(cls, random: np.random.Generator) -> Plan:
        """Draw one: three to five organisations, of which one or two have two clients."""
        organisations = int(random.integers(3, 6))
        names = [f"org-{n}" for n in range(organisations)]
        names += names[: int(random.integers(0, 3))]
        momentum = random.random() < 0.3
        return cls(
            owners={f"client-{n}": owner for n, owner in enumerate(names)},
            rules=replace(
                DEFAULT_RULES,
                min_cohort=int(random.integers(2, organisations)),
                weighting=str(random.choice(["examples", "uniform"])),
                server=Momentum(learning_rate=1.0, momentum=0.5) if momentum else NO_OPTIMISER,
            ),
            suite=Suite.HYBRID if random.random() < 0.3 else Suite.X25519,
            sealer=str(random.choice(["insecure", "anchored", "chip"])),
        )

    @property
    def keeps_open_rounds(self) -> bool:
        """Whether an open round goes on after a restart."""
        return self.sealer != "chip"

    def make_sealer(self) -> Sealer:
        """Return the machine's sealer; one for all runs on it."""
        match self.sealer:
            case "anchored":
                return AnchoredSealer()
            case "chip":
                return HardwareKeySealer("sev-snp", lambda: b"k" * 32)
        return InsecureSealer()

    def manifest(self, keys: Mapping[str, Ed25519PrivateKey]) -> tuple[Manifest, list[bytes]]:
        """Return the approved rules."""
        return development_manifest(
            FIRST,
            {name: public_key(key) for name, key in keys.items()},
            rules=self.rules,
            suite=self.suite,
            measurement=to_text(read_measured_code().measurement),
            owners=self.owners,
        )

    def arithmetic(self) -> Arithmetic:
        """Return the model as plain numpy has it."""
        server = self.rules.server
        return Arithmetic(
            FIRST_NUMBERS,
            max_abs=self.rules.max_abs,
            cap=self.rules.weight_cap,
            uniform=self.rules.weighting == "uniform",
            momentum=server.momentum if isinstance(server, Momentum) else 0.0,
        )

    def guard(self) -> Guard:
        """Return the differencing guard."""
        return Guard(self.owners, self.rules.min_cohort)
