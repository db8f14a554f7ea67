"""What an app puts into its answers and errors is none of the lines that FedEnclave says (T13)."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'fedenclave[flower]'")

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.supercore.task_identity import TaskIdentity

from fedenclave.flower import own_lines, plain_file
from fedenclave.flower.app_call import call_app
from fedenclave.flower.app_result import ResultRefused, num_examples, trained_payload
from fedenclave.flower.mod import confidential, mod_is_around
from fedenclave.protocol.errors import ConfigurationError
from fedenclave.protocol.model import Model
from fedenclave.protocol.tensors import pack, schema_of

PATIENT = "row 17: Jane Roe"
NUMBERS = np.zeros(2, np.float32)
SCHEMA = schema_of({"w": NUMBERS})
MODEL = Model(schema=SCHEMA, payload=bytes(pack(SCHEMA, {"w": NUMBERS})))


@pytest.fixture(autouse=True)
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    monkeypatch.setattr(own_lines, "_into", [])
    reader, writer = os.pipe()
    own_lines.take_into(writer)

    def read() -> str:
        os.close(writer)
        with os.fdopen(reader) as lines:
            return lines.read()

    return read


def message() -> Message:
    return Message(RecordDict({"c": ConfigRecord({})}), dst_node_id=1, message_type="train")


def context() -> Context:
    config = {"data-path": "rows.csv"}
    return Context(run_id=1, node_id=1, node_config=config, state=RecordDict(), run_config={})


def raises(error: Exception) -> Callable[[Message, Context], Message]:
    def app(_message: Message, _context: Context) -> Message:
        print(f"error: {PATIENT}")
        raise error

    return app


def test_an_apps_answer_with_an_error_is_said_without_its_words(said: Callable[[], str]) -> None:
    def app(asked: Message, _context: Context) -> Message:
        return Message(Error(0, PATIENT), reply_to=asked)

    assert call_app(message(), context(), app, MODEL, "a") is None
    assert said() == "error: the client app answered with an error\n"


@pytest.mark.parametrize("error", [ValueError(PATIENT), ConfigurationError(PATIENT, hint=PATIENT)])
def test_nothing_is_said_of_what_an_app_raises_itself(
    error: Exception, said: Callable[[], str]
) -> None:
    assert call_app(message(), context(), raises(error), MODEL, "a") is None
    assert not said()


def test_what_our_code_raises_in_it_is_said(said: Callable[[], str]) -> None:
    def app(asked: Message, held: Context) -> Message:
        plain_file(held)
        return asked

    assert call_app(message(), context(), app, MODEL, "a") is None
    assert "data in plain text, which its owner has not allowed" in said()


@pytest.mark.parametrize("value", [0.5, 1e300, -1957, [1957]])
def test_no_value_of_an_apps_metrics_is_named(value: float | list[int]) -> None:
    metrics = MetricRecord({"num-examples": value})
    with pytest.raises(ResultRefused) as refused:
        num_examples(Message(RecordDict({"m": metrics}), reply_to=message()), "num-examples")
    assert str(value) not in f"{refused.value}"


@pytest.mark.parametrize(
    "arrays", [{PATIENT: NUMBERS}, {"w": np.zeros(1957, np.float32)}, {"w": np.zeros(2, "U1957")}]
)
def test_no_name_and_no_shape_of_an_apps_model_is_named(
    arrays: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]],
) -> None:
    record = ArrayRecord({name: Array(values) for name, values in arrays.items()})
    reply = Message(RecordDict({"arrays": record}), reply_to=message())

    class Accepted:
        base = MODEL

    with pytest.raises(ResultRefused) as refused:
        trained_payload(reply, Accepted())  # type: ignore[arg-type]
    assert PATIENT not in f"{refused.value}"
    assert "1957" not in f"{refused.value}"


def test_a_mod_that_is_called_around_the_app_is_not_run_again() -> None:
    asked = message()

    def app(given: Message, _context: Context) -> Message:
        return given

    assert confidential()(asked, context(), app).has_error()
    with mod_is_around():
        assert confidential()(asked, context(), app) is asked
    assert confidential()(asked, context(), app).has_error()
