"""Where the strategy's aggregator comes from: a gateway, or a local development enclave."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from logging import WARNING
from pathlib import Path

import numpy as np
from flwr.common.logger import log
from numpy.typing import NDArray

from fedenclave.host.aggregator import Aggregator
from fedenclave.host.aggregator_api import AggregatorApi
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.evidence import INSECURE
from fedenclave.protocol.exchange import Hello
from fedenclave.protocol.manifest import Manifest, Rules
from fedenclave.protocol.model import Model
from fedenclave.protocol.signing import PublicKey
from fedenclave.protocol.tensors import Schema, pack, schema_of
from fedenclave.simulation.federation import development_manifest

Tensors = Mapping[str, NDArray[np.generic]]

_RESTART_SECONDS = 60.0
"""In which a gateway that has died is back, where something starts it again."""


def _first_model(tensors: Tensors) -> Model:
    try:
        schema = schema_of(tensors)
        return Model(schema=schema, payload=bytes(pack(schema, dict(tensors))))
    except ValueError as error:
        raise ConfigurationError(
            f"the first model cannot be averaged: {error}",
            hint="leave what is not to be averaged out of the arrays that are federated",
        ) from error


class Development:
    """Starts an enclave process beside the ServerApp. Insecure, and says so."""

    description = "a local development enclave (insecure)"

    def __init__(self, rules: Rules) -> None:
        """Use `rules`."""
        self._rules = rules
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self, tensors: Tensors, hellos: Sequence[Hello]) -> tuple[AggregatorApi, Model]:
        """Write a manifest for the clients that said hello, and start the enclave.

        Raises:
            ConfigurationError: fewer than two clients, or a model that cannot be averaged.
            RequestRefused: the enclave does not take the model (a NaN in it).
        """
        if len(hellos) < 2:
            raise ConfigurationError(
                f"{len(hellos)} clients said hello, want at least 2",
                hint="a mean of one is that one's update; start more nodes",
            )
        log(
            WARNING,
            "insecure: development mode. the operator makes the rules and could read updates in "
            "the enclave process; use no data that matters",
        )
        model = _first_model(tensors)
        manifest, approvals = development_manifest(
            model,
            {hello.client: PublicKey(hello.key) for hello in hellos},
            rules=self._rules,
        )
        self._folder = tempfile.TemporaryDirectory(prefix="fedenclave-")
        try:
            aggregator = Aggregator(
                Path(self._folder.name),
                manifest=manifest.source,
                approvals=approvals,
                model=model,
                tee=INSECURE,
                flushed=False,  # it lies in a temporary folder
            )
        except BaseException:
            self._folder.cleanup()
            raise
        return aggregator, model

    def close(self, aggregator: AggregatorApi) -> None:
        """End the enclave and delete its folder."""
        aggregator.close()
        if self._folder is not None:
            self._folder.cleanup()


class Remote:
    """Connects to a gateway that runs already."""

    def __init__(
        self, address: str, root_certificate: str | None, insecure_plaintext: bool
    ) -> None:
        """Keep how to connect; nothing is opened yet.

        Raises:
            ConfigurationError: neither a certificate is named nor plain text allowed.
        """
        if root_certificate is None and not insecure_plaintext:
            raise ConfigurationError(
                f"aggregator {address} is named without root_certificate",
                hint="name the PEM file that signs the gateway's certificate, or say "
                "insecure_plaintext=True",
            )
        self._address, self._insecure = address, insecure_plaintext
        self._certificate = root_certificate
        self.description = f"the enclave behind {address}"

    def start(self, tensors: Tensors, hellos: Sequence[Hello]) -> tuple[AggregatorApi, Model]:
        """Connect, and take the model that the enclave is at.

        Raises:
            ConfigurationError: the app's first model is not the agreed one.
            AggregatorUnreachable: nobody answers there.
        """
        del hellos
        # Imported here: a development run needs no grpc channel.
        from fedenclave.host.remote import RemoteAggregator

        certificate = None
        if self._certificate is not None:
            try:
                certificate = Path(self._certificate).read_bytes()
            except OSError as error:
                raise ConfigurationError(
                    f"cannot read root certificate {self._certificate}: {error.strerror}"
                ) from error
        aggregator = RemoteAggregator(
            self._address,
            root_certificate=certificate,
            insecure=self._insecure,
            patience_seconds=_RESTART_SECONDS,
        )
        try:
            model = Model.from_bytes(aggregator.model())
            self._check(tensors, model.schema, Manifest.from_bytes(aggregator.info()[0]))
        except BaseException:
            aggregator.close()
            raise
        return aggregator, model

    @staticmethod
    def _check(tensors: Tensors, schema: Schema, manifest: Manifest) -> None:
        first = _first_model(tensors)
        if first.schema != schema or first.digest() != manifest.initial_model:
            raise ConfigurationError(
                "the app's initial arrays are not the first model that the manifest names",
                hint="make them with the same seed as the model file that the members approved",
            )

    def close(self, aggregator: AggregatorApi) -> None:
        """Close the connection; the gateway goes on."""
        aggregator.close()
