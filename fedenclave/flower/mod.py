"""The client's mod: the app sees nothing before the enclave is appraised, and sends nothing itself.

Rules:
  * A message without FedEnclave's record is refused; so is everything when a check fails.
  * What the app returns is read (app_result.py) and goes no further: its arrays leave sealed, of
    its data a digest where it reports one; its metrics and the text of its exceptions do not leave
    at all (T13).
  * `fedenclave node run` calls it outside of the app's process (app_caller.py); else the app does.
  * A node without a client folder takes part in development federations only, and only where it
    was told so (`fedenclave-insecure=true`) or runs inside Flower's simulation engine.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar

from flwr.app import (
    ConfigRecord,
    Context,
    Error,
    Message,
    MessageType,
    RecordDict,
)

from fedenclave.attestation.result import EvidenceRefused
from fedenclave.client.refusals import HistoryRefused, ManifestRefused
from fedenclave.flower import carrier, told
from fedenclave.flower.app_call import CallNext, call_app
from fedenclave.flower.app_result import data_digest, num_examples, reported, trained_payload
from fedenclave.flower.carrier import BULK, RECORD, Kind
from fedenclave.flower.node import FlowerNode, open_node
from fedenclave.flower.own_lines import say, say_error
from fedenclave.flower.recorded import Record
from fedenclave.protocol.errors import (
    EnclaveRefused,
    FedEnclaveError,
    MalformedMessage,
)
from fedenclave.protocol.exchange import Delivery, LogPart, RoundOffer
from fedenclave.protocol.model import Model
from fedenclave.protocol.training_config import training_config

MOD_FAILED_PRECONDITION = 6
CLIENT_APP_RAISED_EXCEPTION = 2
_ABOUT_THE_HOST = (EnclaveRefused, HistoryRefused, ManifestRefused, MalformedMessage)
_WHY_IS_HERE = "this node sends no update; the reason stays in its own log"
_DEFECT = "this node's confidential mod failed; the reason stays in its own log"
_WITHHELD = "the client app raised an exception; its text stays in the client's own log"

_around = ContextVar("the mod is called around the app already", default=False)


def confidential() -> Callable[[Message, Context, CallNext], Message]:
    """Return the mod. It must be the first in `ClientApp(mods=[...])`: first is outermost."""
    return _mod


@contextlib.contextmanager
def mod_is_around() -> Iterator[None]:
    """Let the app's own mod step aside: another process calls it, around all of the app.

    For a process that has no connection, to whom an app's answer goes in plain text anyway.
    """
    token = _around.set(True)
    try:
        yield
    finally:
        _around.reset(token)


def _mod(message: Message, context: Context, call_next: CallNext) -> Message:
    if _around.get():
        return call_next(message, context)
    with contextlib.ExitStack() as opened:
        return _answer(message, context, call_next, opened)


def _answer(
    message: Message, context: Context, call_next: CallNext, opened: contextlib.ExitStack
) -> Message:
    kept = Record(context)
    try:
        record = message.content.get(RECORD) if message.has_content() else None
        if not isinstance(record, ConfigRecord):
            raise EnclaveRefused(
                "the message carries no offer from an enclave, and was not given to the app",
                hint="wrap the server's strategy: Confidential(...)",
            )
        kind = carrier.text_of(record, "kind")
        kept.asks(kind)
        _check_category(message, kind)
        node = opened.enter_context(contextlib.closing(open_node(context)))
        _take_deliveries(node, record, kept)
        return _HANDLERS[kind](message, context, call_next, node, record, kept)
    except KeyError:
        return _refuse(message, EnclaveRefused("the message is of no known kind"), kept)
    except FedEnclaveError as refusal:
        return _refuse(message, refusal, kept)
    except Exception as error:
        # A defect of ours: its text could carry anything (T13).
        traceback.print_exc()
        kept.defect(error)
        return Message(Error(CLIENT_APP_RAISED_EXCEPTION, _DEFECT), reply_to=message)


def _check_category(message: Message, kind: str) -> None:
    """Refuse a message that would run another function of the app than its kind is for.

    Flower chooses the function by the message's type: training would run without an offer.
    """
    category = message.metadata.message_type.split(".")[0]
    wanted = MessageType.EVALUATE if kind == Kind.EVALUATE else MessageType.TRAIN
    if category != wanted:
        raise EnclaveRefused(
            f"the message is of type {wanted} by its kind, and of another to Flower"
        )


def _refuse(message: Message, refusal: FedEnclaveError, kept: Record) -> Message:
    """Answer with the refusal, and say it in the client's log too."""
    kept.refused(refusal)
    say_error(refusal)
    # What the checks on the host's own bytes found may be told to it. What is known of this node
    # and of its app's result may not: paths, names and numbers stay in the client's log (T13).
    reason = refusal.message if type(refusal) in _ABOUT_THE_HOST else _WHY_IS_HERE
    if isinstance(refusal, EvidenceRefused):
        reason = refusal.for_host
    return Message(Error(MOD_FAILED_PRECONDITION, reason), reply_to=message)


def _take_deliveries(node: FlowerNode, record: ConfigRecord, kept: Record) -> None:
    for data in carrier.bytes_list(record, "deliveries"):
        # A delivery that proves nothing must not keep the client from a round that does.
        try:
            delivery, session = Delivery.from_bytes(data), node.session()
            if not session.awaits(delivery.round):
                continue  # brought again: the answer to the message that brought it was lost
            receipt = session.take_delivery(delivery)
        except FedEnclaveError as refusal:
            say(f"error: {refusal.message}")
            kept.refused(refusal)
        else:
            kept.receipt(receipt)
            say(f"round {receipt.round}: {receipt.verdict.value}; receipt kept")


def _hello(
    message: Message,
    context: Context,
    _call: CallNext,
    node: FlowerNode,
    record: ConfigRecord,
    kept: Record,
) -> Message:
    del record, kept
    reply = ConfigRecord(
        {
            "kind": Kind.HELLO.value,
            "hello": node.signed_hello(_now()),
            "run-config": told.run_digest(context),
        }
    )
    node.keep()
    return Message(RecordDict({RECORD: reply}), reply_to=message)


def _train(
    message: Message,
    context: Context,
    call_next: CallNext,
    node: FlowerNode,
    record: ConfigRecord,
    kept: Record,
) -> Message:
    offer = RoundOffer.from_bytes(carrier.bytes_of(record, "offer"))
    model_file = carrier.read_bulk(message.content, BULK)
    session = node.session_for(offer)
    arrays_key = carrier.text_of(record, "arrays-key")
    run_config = told.run_digest(context)
    how = training_config(message=told.message_digest(message, arrays_key), run=run_config)
    accepted = session.accept(offer, model_file, _now(), training_config=how)
    node.save_model(model_file)
    kept.appraised(accepted)
    if accepted.attestation.insecure:
        say(
            f"insecure: round {accepted.announcement.round} is aggregated in development mode; "
            "no hardware protects the updates"
        )
    for exception in accepted.attestation.excepted:
        say(f"warning: {exception}")
    rules = session.manifest.rules
    reply = call_app(message, context, call_next, accepted.base, arrays_key)
    if reply is None:
        kept.app_failed()
        node.keep()
        return Message(Error(CLIENT_APP_RAISED_EXCEPTION, _WITHHELD), reply_to=message)
    sealed = session.seal(
        accepted,
        trained_payload(reply, accepted),
        num_examples(reply, rules.weighted_by),
        reported(reply, rules.reported),
        data=data_digest(reply),
    )
    kept.sealed(accepted)
    answer = ConfigRecord(
        {
            "kind": Kind.TRAIN.value,
            "hello": session.signed_hello(_now()),
            "run-config": run_config,
        }
    )
    node.keep()
    return Message(
        RecordDict({RECORD: answer, BULK: carrier.bulk_record(sealed)}), reply_to=message
    )


def _evaluate(
    message: Message,
    context: Context,
    call_next: CallNext,
    node: FlowerNode,
    record: ConfigRecord,
    kept: Record,
) -> Message:
    model = _released_model(message, node, record)
    reply = call_app(message, context, call_next, model, carrier.text_of(record, "arrays-key"))
    node.keep()
    if reply is None:
        kept.app_failed()
        return Message(Error(CLIENT_APP_RAISED_EXCEPTION, _WITHHELD), reply_to=message)
    # What the app measured stays here: the manifest releases model parameters and nothing else.
    answer = ConfigRecord({"kind": Kind.EVALUATE.value})
    return Message(RecordDict({RECORD: answer}), reply_to=message)


def _deliver(
    message: Message,
    _: Context,
    _call: CallNext,
    node: FlowerNode,
    record: ConfigRecord,
    kept: Record,
) -> Message:
    _released_model(message, node, record)
    if part := carrier.bytes_of(record, "log"):
        lacking = LogPart.from_bytes(part)
        node.session().take_log(lacking)
        if note := carrier.bytes_of(record, "checkpoint"):
            node.session().take_checkpoint(note, lacking)
    node.keep()
    answer = ConfigRecord({"kind": Kind.DELIVER.value})
    return Message(RecordDict({RECORD: answer}), reply_to=message)


_HANDLERS = {
    Kind.HELLO.value: _hello,
    Kind.TRAIN.value: _train,
    Kind.EVALUATE.value: _evaluate,
    Kind.DELIVER.value: _deliver,
}


def _released_model(message: Message, node: FlowerNode, record: ConfigRecord) -> Model:
    """Return the message's model after its chain of releases has been checked, and keep it."""
    model_file = carrier.read_bulk(message.content, BULK)
    releases = carrier.bytes_list(record, "releases")
    model = node.session().accept_released_model(releases, model_file)
    node.save_model(model_file)
    return model


def _now() -> int:
    return int(time.time())
