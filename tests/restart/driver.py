"""A ServerApp and three clients that never give up: they ask again until the round is released.

They outlive the host and its enclave, and hold it to its word: whatever it has answered must be
true afterwards.
"""

from __future__ import annotations

from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.frames import AdmissionResult
from fedenclave.protocol.log_file import read_log
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import PublicKey, Signed, verify
from fedenclave.protocol.statements import (
    Abort,
    Admission,
    Announcement,
    CohortReport,
    Outcome,
    Release,
)
from tests.attacks.world import World

STEPS = {"a": 1.0, "b": 2.0, "c": 6.0}


class Driver:
    """Plays rounds; `play` goes on where it was interrupted."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sealed: dict[str, bytes] = {}
        self.admissions: list[bytes] = []
        self.reports: dict[int, CohortReport] = {}
        self.round = 0

    def play(self) -> None:
        """Bring one round to its release."""
        world, aggregator = self.world, self.world.aggregator
        if not self.sealed:
            if aggregator.status().state == "collecting":
                aggregator.abort_round()  # its announcement has reached nobody
            world.coordinator = RoundCoordinator(aggregator, send_manifest=True)
            world.open()
            self.round = world.announcement.round
            self.sealed = {name: world.sealed(name, step) for name, step in STEPS.items()}
        if aggregator.status().state == "collecting":
            for sealed in self.sealed.values():
                answer = aggregator.submit([sealed])
                assert answer.admitted, answer.reason
                self._hold(answer)
        result = aggregator.close_round() if self._released() is None else None
        if result is not None:
            report = CohortReport.from_bytes(result.closed.cohort)
            self.reports[report.round] = report
        self.sealed = {}

    def _hold(self, answer: AdmissionResult) -> None:
        if answer.statement not in self.admissions:
            self.admissions.append(answer.statement)

    def _released(self) -> Release | None:
        """Return the release of this round, where its result was handed over already."""
        releases = [
            Release.from_bytes(Signed.from_bytes(signed).payload)
            for signed in self.world.aggregator.releases()
        ]
        return next(
            (r for r in releases if r.round == self.round and r.round in self.reports), None
        )

    def check(self) -> None:
        """Hold the host to everything that it and its enclave have said."""
        aggregator = self.world.aggregator
        key = PublicKey(aggregator.info()[2].signing_key)
        with (self.world.folder / "statements.fel").open("rb") as log:
            signed = [entry.unverified for entry in read_log(log)]
        kinds = [Signed.from_bytes(each).type for each in signed]
        ends = [
            verify(cls, each, key).round
            for each in signed
            for cls in (Release, Abort)
            if Signed.from_bytes(each).type == cls.TYPE
        ]
        assert len(ends) == len(set(ends)), "a round ended twice"
        assert kinds.count(Announcement.TYPE) == aggregator.status().round
        assert aggregator.status().log_size == len(signed) == len(aggregator.leaves(0))
        for each in self.admissions:
            assert each in signed, "an admission was forgotten"
            admission = verify(Admission, each, key)
            (of,) = (
                c
                for c in self.reports[admission.round].contributions
                if c.client == admission.client
            )
            assert of.update == admission.update, "another update was counted"
            assert of.outcome is Outcome.INCLUDED, "an admitted update was lost"

    def model(self) -> bytes:
        """Return the newest model's payload."""
        return bytes(Model.from_bytes(self.world.aggregator.model()).payload)
