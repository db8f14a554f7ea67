"""What a round has collected: updates that count, those that were set aside, and who is missing.

SPEC.md, sections 11.2 and 11.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from fedenclave.enclave.fingerprints import SIZE as FINGERPRINT_SIZE
from fedenclave.enclave.fingerprints import Fingerprinter
from fedenclave.enclave.host_file import HostFile
from fedenclave.enclave.secret_memory import KeySlots
from fedenclave.enclave.transitions import (
    KeptUpdate,
    split_equal,
    split_numbers,
)
from fedenclave.enclave.updates import Admitted
from fedenclave.protocol.digests import Digest, domain_digest
from fedenclave.protocol.manifest import Manifest
from fedenclave.protocol.statements import (
    Announcement,
    CohortReport,
    Contribution,
    Outcome,
    ReleasedMetric,
)

_UNITS = 2**1074


class Collected:
    """The admitted updates of one round."""

    announcement: Announcement

    def __init__(self, manifest: Manifest, slots: KeySlots) -> None:
        """Begin with none; content keys go to `slots`."""
        self._manifest, self._slots = manifest, slots
        self._next_serial = self._next_slot = 0
        self.admitted: dict[str, Admitted] = {}
        self._set_aside: dict[str, Admitted] = {}
        self._answers: dict[Digest, bytes] = {}

    def replay(self, kept: KeptUpdate, statement: bytes) -> None:
        """Take over an update that was admitted before a restart; its file comes later.

        Raises:
            ValueError: what is remembered of it does not fit together.
        """
        self._count(kept, Fingerprinter(kept.fingerprint_key), None)
        self._answers[kept.update] = statement

    def _count(self, kept: KeptUpdate, fingerprinter: Fingerprinter, file: HostFile | None) -> None:
        slot, self._next_slot = self._next_slot, self._next_slot + 1
        self._slots.put(slot, kept.content_key)
        shrink, square_norm, *metrics = split_numbers(kept.numbers)
        self.admitted[kept.client] = Admitted(
            client=kept.client,
            organisation=self._manifest.roster[kept.client].member,
            digest=kept.update,
            file=file,
            chunks_at=kept.chunks_at,
            content_key=self._slots.get(slot),
            weight=int.from_bytes(kept.weight, "big"),
            shrink=shrink,
            square_norm=square_norm,
            metrics=tuple(metrics),
            fingerprints=split_equal(kept.fingerprints, FINGERPRINT_SIZE),
            serial=kept.serial,
            fingerprinter=fingerprinter,
        )

    def awaits(self) -> tuple[Digest, ...]:
        """Return the admitted updates that lack their files."""
        return tuple(u.digest for u in self.admitted.values() if u.file is None)

    def only(self, clients: set[str]) -> None:
        """Count none but these: those that the round's release, made before, has in it."""
        for update in [u for name, u in self.admitted.items() if name not in clients]:
            self._take_out(update)

    def _take_out(self, update: Admitted) -> None:
        self._set_aside[update.client] = self.admitted.pop(update.client)
        del self._answers[update.digest]

    def included(self) -> dict[str, str]:
        """Return the organisation of every client whose update counts."""
        return {client: update.organisation for client, update in self.admitted.items()}

    def weight(self) -> int:
        """Return what the updates that count weigh together."""
        return sum(update.weight for update in self.admitted.values())

    def metric_sums(self) -> list[int]:
        """Return the weighted sums of the metrics that the manifest releases.

        In units of 2**-1074, of which every float64 is a whole number: no order of addition, and
        no division among enclaves, changes a bit.
        """
        rules, updates = self._manifest.rules, self.admitted.values()
        places = [rules.reported.index(name) for name in rules.metrics]
        return [
            sum(_units(update.metrics[p]) * update.weight for update in updates) for p in places
        ]

    def released_metrics(self, sums: Sequence[int], weight: int) -> tuple[ReleasedMetric, ...]:
        """Return the means of metrics whose weighted sums are `sums`, each rounded once."""
        return tuple(
            ReleasedMetric.of(name, float(Fraction(total, _UNITS * weight)))
            for name, total in zip(self._manifest.rules.metrics, sums, strict=True)
        )

    def organisations(self) -> set[str]:
        """Return the organisations whose updates count."""
        return set(self.included().values())

    def cohort_report(self) -> CohortReport:
        """Return who is in the release, who was set aside, and who is missing."""
        everyone = {**self.admitted, **self._set_aside}
        contributions = tuple(
            Contribution(
                client=update.client,
                organisation=update.organisation,
                update=update.digest,
                outcome=Outcome.INCLUDED if name in self.admitted else Outcome.SET_ASIDE,
            )
            for name, update in sorted(everyone.items())
        )
        missing = tuple(name for name in self.announcement.cohort if name not in everyone)
        return CohortReport(
            round=self.announcement.round, contributions=contributions, missing=missing
        )

    @staticmethod
    def report_digest(report: CohortReport) -> Digest:
        """Return the digest that the release names."""
        return domain_digest("cohort", report.to_bytes())


def _units(metric: float) -> int:
    numerator, denominator = metric.as_integer_ratio()
    return numerator * (_UNITS // denominator)
