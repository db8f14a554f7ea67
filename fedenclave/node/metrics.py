"""A node's status for Prometheus, on 127.0.0.1 alone.

Rules:
  * Every number is of the status (status.py), read anew for each scrape.
  * A label's values are a closed enum's: no name of a file, no digest, and nothing a peer wrote.
  * Off unless node.toml has `[metrics]`. No other address than this machine's own is served.

Source: Prometheus, "Metric and label naming"; prometheus_client 0.26, Collector.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fedenclave.node.configuration import HOST, NodeConfiguration
from fedenclave.node.status import NodeStatus, StatusReader
from fedenclave.protocol.errors import ConfigurationError, FedEnclaveError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_PREFIX = "fedenclave_node"
_UP = "1: the node's supervisor runs."
_ATTENTION = "What somebody should look at, as status shows it; 0: the node is well."


def families(status: NodeStatus) -> Iterator[Metric]:
    """Yield a status's metrics; those of a part that could not be read are absent."""
    yield _gauge("up", _UP, float(status.run is not None))
    yield _gauge("connected", "1: its SuperNode is connected.", float(status.connected))
    if status.run is not None:
        yield _gauge("start_timestamp_seconds", "When this run began.", float(status.run.since))
    restarts = {part.value: number for part, number in status.restarts.items()}
    yield _counter("restarts", "Parts that ended by themselves.", "part", restarts)
    if status.receipts is not None:
        outcomes = dict(status.outcomes)
        yield _counter("rounds", "Rounds by how they ended for this node.", "outcome", outcomes)
        verdicts = {verdict.value: n for verdict, n in status.receipts.verdicts.items()}
        verdicts["not verifiable"] = len(status.receipts.unverifiable)
        labelled = {verdict.replace(" ", "-"): number for verdict, number in verdicts.items()}
        yield _counter("receipts", "Receipts that are kept, by verdict.", "verdict", labelled)
        against = float(len(status.receipts.contradictions))
        yield _gauge("receipt_contradictions", "What receipts say against each other.", against)
    refusals = {cause.value: number for cause, number in status.refusals.items()}
    yield _counter("refusals", "What this node has refused, by reason.", "reason", refusals)
    number, at = status.last_round
    yield _gauge("last_round", "Number of the last round that was sealed for.", float(number))
    yield _gauge("last_round_timestamp_seconds", "When that was; 0: never.", float(at))
    if status.state is not None:
        awaited = float(len(status.state.awaited))
        yield _gauge("receipts_awaited", "Rounds whose receipt is still to come.", awaited)
    if (evidence := status.evidence) is not None:
        yield _gauge("evidence_timestamp_seconds", "Last evidence.", float(int(evidence["at"])))
        insecure = float(status.insecure)
        yield _gauge("evidence_insecure", "1: no hardware protects the updates.", insecure)
    if status.apps is not None:
        held = float(sum(app.holds for app in status.apps))
        yield _gauge("approved_apps", "Apps that may run.", held)
    if status.log is not None:
        yield _gauge("log_entries", "Entries of the copy of the log.", float(status.log.entries))
        yield _gauge("log_bytes", "Bytes of its file.", float(status.log.size_bytes))
    if status.root_certificate_until is not None:
        until = float(status.root_certificate_until)
        yield _gauge("certificate_expiry_timestamp_seconds", "The SuperLink's authority.", until)
    attention = float(len(status.attention()))
    yield _gauge("attention", _ATTENTION, attention)


def _gauge(name: str, about: str, value: float) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"{_PREFIX}_{name}", about, value=value)


def _counter(name: str, about: str, label: str, values: dict[str, int]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(f"{_PREFIX}_{name}", about, labels=[label])
    for value, number in values.items():
        family.add_metric([value], float(number))
    return family


class StatusCollector:
    """Reads the status for each scrape."""

    def __init__(self, reader: StatusReader) -> None:
        """Collect what `reader` reads."""
        self._reader = reader
        self._lock = threading.Lock()  # each scrape comes in a thread of its own

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client's `Collector`."""
        try:
            with self._lock:
                status = self._reader.read()
        except FedEnclaveError:
            # The folder is gone, or its client file. That this process runs is known still.
            yield _gauge("up", _UP, 1.0)
            yield _gauge("attention", _ATTENTION, 1.0)
        else:
            yield from families(status)

    def describe(self) -> list[Metric]:
        """Return nothing: to register a collector must not cost a scrape."""
        return []


def check_installed() -> str:
    """Return the version of the package that serves metrics.

    Raises:
        ConfigurationError: it is not installed.
    """
    from importlib import metadata

    try:
        return metadata.version("prometheus-client")
    except metadata.PackageNotFoundError as error:
        raise ConfigurationError(
            "prometheus-client is not installed, and node.toml has [metrics]",
            hint="pip install 'fedenclave[metrics]', or remove [metrics]",
        ) from error


@contextlib.contextmanager
def serving(configuration: NodeConfiguration) -> Iterator[None]:
    """Serve the metrics that node.toml asks for, if it does.

    Raises:
        ConfigurationError: the package is not installed, or the port is taken.
    """
    port = configuration.metrics_port
    if port is None:
        yield
        return
    check_installed()
    from prometheus_client import start_http_server
    from prometheus_client.registry import CollectorRegistry

    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(StatusReader(configuration.folder)))
    try:
        server, thread = start_http_server(port, addr=HOST, registry=registry)
    except OSError as error:
        raise ConfigurationError(
            f"cannot serve metrics on {HOST}:{port}: {error.strerror}",
            hint="choose another port in node.toml, [metrics]",
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
