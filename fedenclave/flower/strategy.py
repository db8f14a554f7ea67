"""The strategy wrapper: Flower chooses who trains when, the enclave averages.

The wrapped strategy samples nodes and writes the train configuration as ever. Its aggregation is
not called: the ServerApp only ever holds ciphertext and released models.

Rules:
  * Nothing here is trusted. Clients check the enclave; this code only carries.
  * A refused update, a lost node, a round without enough organisations: said, and the run goes on
    on the last released model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from logging import ERROR, INFO, WARNING

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.common.logger import log
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fedenclave.flower import carrier, told
from fedenclave.flower.aggregators import Development, Remote
from fedenclave.flower.carrier import BULK, Kind
from fedenclave.flower.deliveries import Deliveries, says_of_itself
from fedenclave.flower.evaluations import logged
from fedenclave.flower.nonces import Nonces
from fedenclave.flower.outgoing import rewritten, told_to_all
from fedenclave.flower.supported import (
    check_agreed,
    computed_together,
    development_rules,
    not_called,
)
from fedenclave.host.aggregator_api import AggregatorApi
from fedenclave.host.rounds import RoundCoordinator
from fedenclave.protocol.digests import Digest
from fedenclave.protocol.errors import (
    ConfigurationError,
    FedEnclaveError,
    MalformedMessage,
    RequestRefused,
    printable,
)
from fedenclave.protocol.exchange import Hello, RoundOffer
from fedenclave.protocol.manifest import Manifest, Rules
from fedenclave.protocol.model import Model
from fedenclave.protocol.tensors import unpack
from fedenclave.protocol.training_config import training_config


class Confidential(Strategy):
    """Wrap one of Flower's strategies: same rounds, same API, sealed updates.

    Every strategy of `flwr.serverapp.strategy` whose updates are arrays; see
    `fedenclave.flower.supported`.
    """

    def __init__(
        self,
        strategy: Strategy,
        *,
        aggregator: str | None = None,
        root_certificate: str | None = None,
        insecure_plaintext: bool = False,
        rules: Rules | None = None,
    ) -> None:
        """Wrap `strategy`.

        Args:
            strategy: Flower's own, unchanged. It chooses nodes and writes their configuration; the
                rule that it stands for is computed by the enclave, as the manifest says.
            aggregator: `host:port` of a gateway; None starts a local development enclave, which is
                insecure and says so.
            root_certificate: PEM file to check the gateway's TLS certificate with.
            insecure_plaintext: talk to the gateway without TLS. Updates are sealed all the same;
                what TLS would hide is who talks when.
            rules: a development federation's bounds and weights; with a gateway the manifest has
                them. And, in both cases, a rule or an optimiser that no strategy of Flower's stands
                for: the geometric median, one of your own, Bulyan with Adam.

        Raises:
            ConfigurationError: the strategy's rule is not one that the enclave computes.
        """
        self._inner = strategy
        self._computed = computed_together(strategy, rules)
        self._connection: Development | Remote
        if aggregator is None:
            self._connection = Development(development_rules(self._computed, strategy, rules))
        else:
            self._connection = Remote(aggregator, root_certificate, insecure_plaintext)
        self._timeout = 3600.0
        self._aggregator: AggregatorApi | None = None
        self._coordinator: RoundCoordinator | None = None
        self._manifest: Manifest | None = None
        self._model: Model | None = None
        self._initial: ArrayRecord | None = None
        self._nonces = Nonces()
        self._deliveries = Deliveries()
        self._cohort: dict[int, str] = {}

    # --- Flower's interface ------------------------------------------------------------------

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run the rounds, then hand every client the receipts that it still awaits.

        Takes and returns what Flower's `Strategy.start` does.
        """
        self._timeout, self._initial = timeout, initial_arrays
        if evaluate_fn is not None:
            evaluate_fn = logged(evaluate_fn, lambda: self._aggregator)
        try:
            result = super().start(
                grid,
                initial_arrays,
                num_rounds,
                timeout,
                train_config,
                evaluate_config,
                evaluate_fn,
            )
            self._deliver_outstanding(grid)
            return result
        except FedEnclaveError as error:
            log(ERROR, "error: %s", error.message)
            if error.hint:
                log(ERROR, "hint: %s", error.hint)
            # Flower prints a traceback of whatever ends a ServerApp; ours would say nothing more.
            raise error.with_traceback(None) from None
        finally:
            if self._aggregator is not None:
                self._connection.close(self._aggregator)

    def summary(self) -> None:
        """Log what is wrapped and who aggregates."""
        log(INFO, "\t├──> Aggregated by: %s", self._connection.description)
        self._inner.summary()
        for name in not_called(self._inner):
            log(WARNING, "%s is not called: clients' metrics do not reach the server", name)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the wrapped strategy choose nodes, and offer them an attested round."""
        del arrays  # the base model is the enclave's last release, not what a caller hands in
        messages = list(self._inner.configure_train(server_round, ArrayRecord(), config, grid))
        chosen = [message.metadata.dst_node_id for message in messages]
        if not chosen:
            return []
        self._say_hello(chosen, grid)
        coordinator = self._ensure_started()
        offers = self._open_round(coordinator, chosen, told_to_all(messages, self._arrays_key()))
        if not offers:
            return []
        bulk = carrier.bulk_record(self._current_model().to_bytes())
        return [
            self._train_message(message, offers[message.metadata.dst_node_id], bulk)
            for message in messages
            if message.metadata.dst_node_id in offers
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Hand the sealed updates to the enclave, and return the model that it releases."""
        if not self._cohort or self._coordinator is None:
            return None, None
        replies = list(replies)
        sent_none = self._who_sent_none(replies)
        try:
            self._submit(_without_errors(replies))
            result, deliveries = self._coordinator.close()
        except RequestRefused as refused:
            log(WARNING, "round %s: no release: %s", server_round, refused)
            self._deliveries.add(self._coordinator.abort(), sent_none)
            return None, None
        finally:
            self._cohort = {}
        self._deliveries.add(deliveries, sent_none)
        self._model = Model.from_bytes(result.model)
        metrics = result.metrics()
        return _array_record(self._model), MetricRecord(dict(metrics)) if metrics else None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the released model to the nodes that the wrapped strategy chooses."""
        del arrays
        if self._coordinator is None:
            return []
        messages = self._inner.configure_evaluate(server_round, ArrayRecord(), config, grid)
        bulk = carrier.bulk_record(self._current_model().to_bytes())
        return [self._model_message(message, Kind.EVALUATE, bulk) for message in messages]

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """Return nothing: the metrics of an evaluation do not leave the clients."""
        answered = _without_errors(replies)
        for reply in answered:
            self._deliveries.answered(self._nonces.clients.get(reply.metadata.src_node_id, ""))
        if answered and server_round == 1:
            log(INFO, "the clients' metrics of evaluation stay with them")
        return None

    # --- hello: one fresh nonce from every client ----------------------------------------------

    def _say_hello(self, chosen: list[int], grid: Grid) -> None:
        nodes = chosen
        if self._coordinator is None and isinstance(self._connection, Development):
            # A development manifest is written once: whoever may ever take part must be in it.
            nodes = sorted(set(chosen) | set(grid.get_node_ids()))
        freshness = (
            float(self._manifest.attestation.freshness_seconds) if self._manifest else self._timeout
        )
        replies = self._nonces.ask(nodes, grid, freshness=freshness, timeout=self._timeout)
        for reply in _without_errors(replies):
            self._nonces.take(reply)

    # --- the aggregator ------------------------------------------------------------------------

    def _ensure_started(self) -> RoundCoordinator:
        if self._coordinator is None:
            if self._initial is None:
                raise ConfigurationError("start() has not been called")
            tensors = {name: array.numpy() for name, array in self._initial.items()}
            self._aggregator, self._model = self._connection.start(tensors, self._nonces.hellos())
            source, _, started = self._aggregator.info()
            self._manifest = Manifest.from_bytes(source)
            self._nonces.know(self._manifest)
            check_agreed(self._computed, self._manifest.rules, self._inner)
            for warning in started.warnings:
                log(WARNING, "enclave: %s", warning)
            self._coordinator = RoundCoordinator(
                self._aggregator, send_manifest=self._manifest.development
            )
            for deliveries in self._coordinator.deliveries_before():
                self._deliveries.add(deliveries)
        return self._coordinator

    def _current_model(self) -> Model:
        if self._model is None:
            raise ConfigurationError("no model yet")
        return self._model

    def _open_round(
        self, coordinator: RoundCoordinator, chosen: list[int], message_digest: Digest
    ) -> dict[int, RoundOffer]:
        roster = self._manifest.roster if self._manifest is not None else {}
        hellos: dict[str, Hello] = {}
        nodes: dict[int, str] = {}
        for node in chosen:
            hello = self._nonces.use(node)
            if hello is None:
                log(WARNING, "node %s gave no nonce and is left out of this round", node)
                continue
            entry = roster.get(hello.client)
            if entry is None or entry.key != hello.key or hello.client in hellos:
                log(WARNING, "node %s is not a new client of the roster; it is left out", node)
                continue
            hellos[hello.client], nodes[node] = hello, hello.client
        run = told.most_said(
            (roster[client].member, self._nonces.run_configs[node])
            for node, client in nodes.items()
        )
        how = training_config(message=message_digest, run=run)
        try:
            offers = coordinator.open(hellos, how)
        except RequestRefused as refused:
            log(WARNING, "no round is opened: %s", refused)
            return {}
        self._cohort = {node: client for node, client in nodes.items() if client in offers}
        return {node: offers[client] for node, client in self._cohort.items()}

    # --- messages ------------------------------------------------------------------------------

    def _train_message(self, message: Message, offer: RoundOffer, bulk: ArrayRecord) -> Message:
        client = self._cohort[message.metadata.dst_node_id]
        record = self._record(Kind.TRAIN, client)
        record["offer"] = offer.to_bytes()
        return rewritten(message, record, bulk)

    def _model_message(self, message: Message, kind: Kind, bulk: ArrayRecord) -> Message:
        client = self._nonces.clients.get(message.metadata.dst_node_id, "")
        record = self._record(kind, client)
        record["releases"] = list(self._coordinator.chain()) if self._coordinator else []
        if kind is Kind.DELIVER and self._coordinator is not None:
            # The note first: what it is of must be in the part.
            record["checkpoint"] = self._coordinator.checkpoint()
            record["log"] = self._coordinator.log_part_for(client).to_bytes()
        return rewritten(message, record, bulk)

    def _arrays_key(self) -> str:
        return str(getattr(self._inner, "arrayrecord_key", "arrays"))

    def _record(self, kind: Kind, client: str) -> ConfigRecord:
        return ConfigRecord(
            {
                "kind": kind.value,
                "arrays-key": self._arrays_key(),
                "deliveries": self._deliveries.send(client),
            }
        )

    def _who_sent_none(self, replies: Iterable[Message]) -> set[str]:
        """Return the clients whose mod or app has answered with an error: they sealed nothing."""
        failed = (reply.metadata.src_node_id for reply in replies if says_of_itself(reply))
        return {self._cohort[node] for node in failed if node in self._cohort}

    def _submit(self, answered: Iterable[Message]) -> None:
        """Hand the enclave what the asked nodes answered, and log what it rejects."""
        if self._coordinator is None:
            return
        found = (self._sealed_update(message) for message in answered)
        updates = [update for update in found if update is not None]
        results = self._coordinator.submit_all(updates)
        for (client, _), result in zip(updates, results, strict=True):
            if not result.admitted:
                log(WARNING, "client %s: update rejected: %s", client, result.reason)

    def _sealed_update(self, message: Message) -> tuple[str, bytes] | None:
        """Return the client and its sealed update, or None where there is none."""
        node = message.metadata.src_node_id
        client = self._cohort.get(node)
        if client is None:
            log(WARNING, "node %s answered and was not asked; ignored", node)
            return None
        self._deliveries.answered(client)
        self._nonces.take(message)
        try:
            return client, carrier.read_bulk(message.content, BULK)
        except MalformedMessage as error:
            log(WARNING, "client %s sent no sealed update: %s", client, error)
            return None

    def _deliver_outstanding(self, grid: Grid) -> None:
        """Send every client its last receipts and the final model."""
        if self._coordinator is None:
            return
        awaiting = self._deliveries.awaiting()
        nodes = [node for node, client in self._nonces.clients.items() if client in awaiting]
        alive = set(grid.get_node_ids())
        bulk = carrier.bulk_record(self._current_model().to_bytes())
        messages = [
            Message(content=RecordDict(), message_type=MessageType.TRAIN, dst_node_id=node)
            for node in nodes
            if node in alive
        ]
        if messages:
            log(INFO, "handing %s clients their receipts", len(messages))
            outgoing = [self._model_message(message, Kind.DELIVER, bulk) for message in messages]
            for reply in _without_errors(grid.send_and_receive(outgoing, timeout=self._timeout)):
                self._deliveries.answered(self._nonces.clients[reply.metadata.src_node_id])
        for client in sorted(self._deliveries.awaiting()):
            log(WARNING, "client %s could not be reached; it may still await receipts", client)


def _without_errors(replies: Iterable[Message]) -> list[Message]:
    """Return the replies that carry content, and log the others."""
    answered = []
    for message in replies:
        if message.has_error():
            log(WARNING, "no update from one node: %s", printable(str(message.error.reason)))
        else:
            answered.append(message)
    return answered


def _array_record(model: Model) -> ArrayRecord:
    tensors = unpack(model.schema, model.payload)
    return ArrayRecord({name: Array(np.array(values)) for name, values in tensors.items()})
