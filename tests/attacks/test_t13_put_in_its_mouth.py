"""T13: what a client signs of its data is its app's word, and not the operator's."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg

from fedenclave.flower import Confidential, confidential
from fedenclave.host.aggregator import Aggregator
from fedenclave.protocol.signing import Signed
from fedenclave.protocol.statements import NO_DATA, Admission
from tests.flower.conftest import development_grid, initial_arrays


class SaysIt(FedAvg):
    """Sends a record of the name that an app's own would have; every client gets the same."""

    def configure_train(self, *arguments: object) -> Iterable[Message]:
        messages = list(super().configure_train(*arguments))
        for message in messages:
            message.content["fedenclave.lineage"] = ConfigRecord({"data": b"\xee" * 32})
        return messages


def app_that_answers_with_what_it_got() -> ClientApp:
    """Return an app that puts its model and metrics into the message's own content."""
    app = ClientApp(mods=[confidential()])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = message.content.array_records["arrays"]
        new = {name: Array(np.asarray(array.numpy() + 1)) for name, array in arrays.items()}
        message.content["arrays"] = ArrayRecord(new)
        message.content["metrics"] = MetricRecord({"num-examples": 1})
        return Message(message.content, reply_to=message)

    return app


def test_the_operator_has_an_app_say_of_its_data_what_it_likes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The app has never heard of that record: it returns the content that it was given."""
    logged: list[Signed] = []
    close = Aggregator.close

    def keep_log(aggregator: Aggregator) -> None:
        logged.extend(map(Signed.from_bytes, aggregator._statements.statements()))
        close(aggregator)

    monkeypatch.setattr(Aggregator, "close", keep_log)
    grid = development_grid(app_that_answers_with_what_it_got())
    strategy = Confidential(SaysIt(fraction_train=1.0, fraction_evaluate=0.0))
    strategy.start(grid=grid, initial_arrays=initial_arrays(), num_rounds=1)
    said = [Admission.from_bytes(each.payload) for each in logged if each.type == "admission"]
    assert {admission.data for admission in said} <= {NO_DATA}
