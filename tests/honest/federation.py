"""Honest parties and bad luck: rounds in which nobody cheats and anything may be lost or late.

Every refusal is foretold by what the parties themselves have seen, and any other one fails:

  * `open` and `close` refuse too few organisations: more were not drawn, or have not answered.
  * `close` refuses a cohort too close to an earlier one on the same model: nothing was learned in a
    round, so the model stayed what it was, and the next cohort differs by a few.
  * No round is open: an update comes between two rounds, or after a restart on a machine that keeps
    no open rounds.
  * An update comes in another round than it was sealed for, and is rejected (wrong-round).
  * A client refuses an offer that comes after it has sealed for, or followed, a later round; or one
    of a ServerApp that is gone, after a delivery that the next one has made.
  * It refuses one since whose hello it has sealed for an earlier round, whose own offer was late:
    with each seal a client forgets every nonce that it has said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedenclave.client.state import ClientState
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import (
    EnclaveRefused,
    FedEnclaveError,
    Reason,
    Refusal,
    RequestRefused,
)
from fedenclave.protocol.exchange import Delivery, RoundOffer
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import Announcement, CohortReport, Outcome
from fedenclave.protocol.training_config import NO_TRAINING_CONFIG
from tests.honest.client import ClientDied, HonestClient
from tests.honest.enclave_in_thread import run_enclaves_in_threads
from tests.honest.host import Host, Restarted
from tests.honest.oracle import Update
from tests.honest.plan import FIRST, NUMBERS, Plan

KILLS = 0.05
"""Of requests to the aggregator."""


class Foretold(StrEnum):
    """Refusals that honest parties can expect, as above."""

    OPEN_TOO_FEW = "open: too few organisations"
    CLOSE_TOO_FEW = "close: too few organisations"
    TOO_CLOSE = "close: differencing"
    CLOSE_TO_CUT_OFF = "cohort too close to a release that a restart may have cut off"
    NO_ROUND = "no round is open"
    ANOTHER_ROUND = "update of another round"
    LATE_OFFER = "offer of a round that the client has passed"
    NO_LONGER_OFFERED = "offer of a ServerApp that is gone"
    FORGOTTEN = "offer for a nonce that was forgotten with a late seal"


REFUSALS = {
    Foretold.OPEN_TOO_FEW: Refusal.COHORT_TOO_SMALL,
    Foretold.CLOSE_TOO_FEW: Refusal.COHORT_TOO_SMALL,
    Foretold.TOO_CLOSE: Refusal.DIFFERENCING,
    Foretold.CLOSE_TO_CUT_OFF: Refusal.DIFFERENCING,
    Foretold.NO_ROUND: Refusal.WRONG_STATE,
}


class Offered(NamedTuple):
    """An offer on its way: of which round, with which model, and when its hello was said."""

    client: HonestClient
    offer: RoundOffer
    round: int
    model: bytes
    seals: int
    by: RoundCoordinator

    def shows(self, state: ClientState) -> bool:
        """Say whether the offer has what a client's copy of the log lacks, and all it has seen."""
        announced = Announcement.from_bytes(Signed.from_bytes(self.offer.announcement).payload)
        size = announced.checkpoint.size
        seen = max((state.log_size, *(held.size for held in state.checkpoint)))
        return self.offer.log.first <= state.log_size and seen <= size


class HonestFederation:
    """Plays rounds, and holds every party to what another one says."""

    def __init__(self, folder: Path, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.random = np.random.default_rng(seed)
        self.plan = plan = Plan.draw(self.random)
        run_enclaves_in_threads(patch, plan.make_sealer())
        keys = {name: Ed25519PrivateKey.generate() for name in plan.owners}
        self.manifest, approvals = plan.manifest(keys)
        self.clients = {
            name: HonestClient(name, key, self.manifest, approvals) for name, key in keys.items()
        }
        self.host = Host(
            folder, self.manifest, approvals, FIRST, kills=KILLS, random=self.random, patch=patch
        )
        self.arithmetic, self.guard = plan.arithmetic(), plan.guard()
        self.now = 1_000_000
        self.round = 0
        self.open = False
        self.admitted: dict[str, Update] = {}
        self.included: dict[int, frozenset[str]] = {}
        self.aborted: set[int] = set()
        self.foretold: Counter[Foretold] = Counter()
        self.happened: Counter[str] = Counter()
        self._late: list[Callable[[], None]] = []

    def _take(self, refused: FedEnclaveError, foretold: Foretold | None) -> None:
        """Count a refusal that was foretold, and fail for any other."""
        assert foretold is not None, f"{refused.message}; {refused.hint}"
        if isinstance(refused, RequestRefused):
            assert refused.refusal is REFUSALS[foretold]
        self.foretold[foretold] += 1

    def _chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    # --- a round -------------------------------------------------------------------------------

    def play(self) -> None:
        """Play one round, whatever becomes of it."""
        asked = [name for name in self.clients if self._chance(0.8)]
        offers = self._offers(asked)
        still = self._chance(0.15)  # nothing is learned: the model stays what it is
        events = [partial(self._take_part, offered, still=still) for offered in offers]
        events += [self._late.pop() for _ in range(len(self._late)) if self._chance(0.3)]
        for index in self.random.permutation(len(events)):
            self._meanwhile()
            events[index]()
        self._meanwhile()
        if self.open:
            self._end()
        self._post()

    def _offers(self, asked: list[str]) -> list[Offered]:
        """Open a round; return what each client is offered."""
        said = {name: self.clients[name].take_hello(self.now) for name in asked}
        hellos = {name: hello for name, (hello, _) in said.items()}
        organisations = {self.plan.owners[name] for name in asked}
        too_few = len(organisations) < self.manifest.rules.min_cohort
        coordinator = self.host.coordinator
        try:
            offers = self.host.ask(lambda: coordinator.open(hellos, NO_TRAINING_CONFIG))
        except Restarted:
            # Was it opened? Then its announcement has reached nobody.
            status = self.host.aggregator.status()
            if status.state == "collecting":
                self.host.aggregator.abort_round()
            if status.round > self.round:
                self.aborted.add(status.round)
            self.round = status.round
            return []
        except RequestRefused as refused:
            self._take(refused, Foretold.OPEN_TOO_FEW if too_few else None)
            return []
        assert not too_few
        self.round, self.open, self.admitted = self.round + 1, True, {}
        model = self.host.aggregator.model()
        return [
            Offered(self.clients[name], offer, self.round, model, said[name][1], coordinator)
            for name, offer in offers.items()
        ]

    def _meanwhile(self) -> None:
        """Let time pass, and let some party come back from what it has stored."""
        self.now += int(self.random.integers(0, 20))
        if self._chance(0.04):
            self.host.restart()
            self._restarted()
        if self._chance(0.1):
            self.clients[str(self.random.choice(list(self.clients)))].restart()
            self.happened["client restarted"] += 1
        if self._chance(0.01):
            self._restart_server_app()
        if self._chance(0.2):
            self._post()
        if self.round and not self.open and self._chance(0.2):
            self._say_an_evaluation()

    def _say_an_evaluation(self) -> None:
        digest = Digest(self.random.bytes(32))
        try:
            self.host.ask(lambda: self.host.aggregator.evaluated(digest))
        except Restarted:
            return  # said or not
        self.happened["evaluated"] += 1

    def _restart_server_app(self) -> None:
        """Begin with a ServerApp that knows of no round and of no hello; it aborts the open round.

        Of what the one before had not delivered the next makes again what it can: of the newest
        release, and of the aborts since. The rest is on its way.
        """
        self.host.coordinator = RoundCoordinator(self.host.aggregator, send_manifest=True)
        self.happened["ServerApp restarted"] += 1
        self._lost()
        again = self.host.coordinator.deliveries_before()
        rounds = {delivery.round for each in again for delivery in each.values()}
        for client in self.clients.values():
            client.mail = [delivery for delivery in client.mail if delivery.round not in rounds]
            client.forget_hello()
        for deliveries in again:
            self._hand_out(deliveries)

    def _restarted(self) -> None:
        if not self.plan.keeps_open_rounds:
            self._lost()

    def _lost(self) -> None:
        """The open round, if there is one, has been aborted, by whoever came back."""
        if self.open:
            self.aborted.add(self.round)
            self.happened["round lost"] += 1
        self.open = False

    # --- a client's part -----------------------------------------------------------------------

    def _take_part(self, offered: Offered, *, still: bool) -> None:
        if self._chance(0.1):
            self.happened["dropped before the offer"] += 1
        elif self._chance(0.05):
            self._late.append(partial(self._answer, offered, still=still))
        else:
            self._answer(offered, still=still)

    def _answer(self, offered: Offered, *, still: bool) -> None:
        """Have a client answer an offer, in time or late."""
        client, round_ = offered.client, offered.round
        step = np.zeros(NUMBERS, np.float32)
        if not still:
            step = self.random.normal(0, 0.1, NUMBERS).astype(np.float32)
        state, examples = client.session.state, int(self.random.integers(1, 1000))
        foretold = None
        if state.sealed_round >= round_ or state.head_round >= round_:
            foretold = Foretold.LATE_OFFER
        elif offered.seals != client.seals:
            foretold = Foretold.FORGOTTEN
        elif offered.by is not self.host.coordinator and not offered.shows(state):
            foretold = Foretold.NO_LONGER_OFFERED
        if self._chance(0.05):
            client.store.dies_before = int(self.random.integers(1, 3))
        try:
            sealed, update = client.seal(offered.offer, offered.model, self.now, step, examples)
        except ClientDied:
            self.happened["client died before it had sealed"] += 1
            client.restart()
            self._answer(offered, still=still)
            return
        except EnclaveRefused as refused:
            self._take(refused, foretold)
            return
        finally:
            client.store.dies_before = 0
        assert foretold is None
        submit = partial(self._submit, client, sealed, update, round_)
        if self._chance(0.6):
            client.say_hello(self.now)
        if self._chance(0.1):
            self.happened["dropped after sealing"] += 1
        elif self._chance(0.08):
            self._late.append(submit)
        else:
            submit()
            if self._chance(0.15):
                self.happened["came twice"] += 1
                self._late.append(submit) if self._chance(0.5) else submit()

    def _submit(self, client: HonestClient, sealed: bytes, update: Update, round_: int) -> None:
        while True:
            try:
                answer = self.host.ask(lambda: self.host.coordinator.submit(client.name, sealed))
            except Restarted:
                self._restarted()
            except RequestRefused as refused:
                self._take(refused, None if self.open else Foretold.NO_ROUND)
                return
            else:
                break
        assert self.open
        if round_ == self.round:
            assert answer.admitted, answer.reason
            self.admitted[client.name] = update
        else:
            assert answer.reason == Reason.WRONG_ROUND.value
            self.foretold[Foretold.ANOTHER_ROUND] += 1

    # --- the end -------------------------------------------------------------------------------

    def _close_refusal(self) -> Foretold | None:
        clients = frozenset(self.admitted)
        organisations = {self.plan.owners[name] for name in clients}
        if len(organisations) < self.manifest.rules.min_cohort:
            return Foretold.CLOSE_TOO_FEW
        model = self.arithmetic.model.tobytes()
        if self.guard.refuses(model, clients):
            return Foretold.TOO_CLOSE
        return Foretold.CLOSE_TO_CUT_OFF if self.guard.may_refuse(model, clients) else None

    def _end(self) -> None:
        foretold = self._close_refusal()
        if self._chance(0.08) or (foretold is not None and self._chance(0.2)):
            self._abort()
        else:
            self._close(foretold)

    def _close(self, foretold: Foretold | None) -> None:
        try:
            result, deliveries = self.host.ask(self.host.coordinator.close)
        except Restarted:
            self.happened["killed at the close"] += 1
            status = self.host.aggregator.status()
            # Whether it was released before the kill, only what was sealed can tell.
            if not self.plan.keeps_open_rounds and len(self._releases()) == len(self.included):
                assert status.state == "idle"
                if foretold in (None, Foretold.CLOSE_TO_CUT_OFF):
                    model = self.arithmetic.model.tobytes()
                    self.guard.may_have_released(model, frozenset(self.admitted))
                self._lost()
                return
            self._close(foretold)
            return
        except RequestRefused as refused:
            self._take(refused, foretold)
            self._abort()
            return
        assert foretold in (None, Foretold.CLOSE_TO_CUT_OFF)
        self._check_release(CohortReport.from_bytes(result.closed.cohort), result.model)
        assert self.admitted.keys() <= deliveries.keys()
        self._hand_out(deliveries)
        self.open = False

    def _releases(self) -> tuple[bytes, ...]:
        return self.host.aggregator.releases()

    def _check_release(self, report: CohortReport, model_file: bytes) -> None:
        """The model is the mean of those that were admitted, to the last bit."""
        assert report.round == self.round
        included = {c.client for c in report.contributions if c.outcome is Outcome.INCLUDED}
        assert included == self.admitted.keys()
        self.guard.release(self.arithmetic.model.tobytes(), frozenset(included))
        expected = self.arithmetic.release(self.admitted)
        assert bytes(Model.from_bytes(model_file).payload) == expected.tobytes()
        self.included[self.round] = frozenset(included)

    def _abort(self) -> None:
        try:
            deliveries = self.host.ask(self.host.coordinator.abort)
        except Restarted:
            if self.host.aggregator.status().state == "collecting":
                self._abort()
            else:
                self._restart_server_app()  # nobody answered it, so it has ended
            return
        self.aborted.add(self.round)
        self._hand_out(deliveries)
        self.open = False

    # --- deliveries ----------------------------------------------------------------------------

    def _hand_out(self, deliveries: dict[str, Delivery]) -> None:
        for name, delivery in deliveries.items():
            self.clients[name].mail.append(delivery)

    def _post(self) -> None:
        """Let deliveries arrive: some, in any order, some of them twice."""
        for client in self.clients.values():
            # A client keeps eight rounds in mind: what is later than that finds nobody waiting.
            urgent = len(client.session.state.pending) > 5
            for delivery in [client.mail[i] for i in self.random.permutation(len(client.mail))]:
                if urgent or self._chance(0.5):
                    if not self._chance(0.1):
                        client.mail.remove(delivery)
                    client.read(delivery)

    def finish(self) -> None:
        """Let everything arrive that is on its way."""
        for client in self.clients.values():
            for delivery in client.mail:
                client.read(delivery)
